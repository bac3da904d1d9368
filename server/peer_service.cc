#include "server/peer_service.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/metadata.pb.h"
#include "server/errors.h"
#include "server/unary_call.h"

namespace millrace::server {
namespace {

using internal::v1::IntroduceRequest;
using internal::v1::IntroduceResponse;
using internal::v1::RegisterRequest;
using internal::v1::RegisterResponse;

constexpr char kIntroduceMethod[] = "/millrace.internal.v1.Peer/Introduce";
constexpr char kRegisterMethod[] = "/millrace.internal.v1.Peer/Register";

std::string ProofOf(const PeerSecret& secret, const IntroduceRequest& request) {
  return secret.ProofOf("millrace peer introduce 1", {request.nonce(), request.introduction()});
}

std::string ProofOf(const PeerSecret& secret, const IntroduceResponse& response, const std::string& nonce) {
  return secret.ProofOf("millrace peer introduced 1", {nonce, response.introduction()});
}

std::string ProofOf(const PeerSecret& secret, const RegisterRequest& request) {
  return secret.ProofOf("millrace peer register 1", {request.nonce(), request.cluster_id(), request.broker()});
}

ErrorFrame NotAuthorized() {
  return MakeError(v1::Error::CLUSTER_AUTHORIZATION_FAILED,
                   "brokers of this cluster share a secret: ask with the one in the others' --peer-secret-file");
}

absl::StatusOr<Introduction> Read(const CallReply& reply, const PeerSecret& secret, const std::string& nonce,
                                  const std::string& address) {
  if (!reply.end.status.ok()) return reply.end.status;
  IntroduceResponse response;
  if (!response.ParseFromString(std::string(reply.message))) {
    return absl::InternalError(absl::StrCat(address, " answers with something that is no IntroduceResponse"));
  }
  if (!secret.Accepts(response.proof(), ProofOf(secret, response, nonce))) {
    return absl::UnauthenticatedError(
        absl::StrCat("the broker at ", address,
                     " does not know this broker's secret: start both with the same content in --peer-secret-file"));
  }
  return DecodeIntroduction(response.introduction());
}

}  // namespace

void AddPeerService(PeerGate& gate, std::function<PeerSink&(Executor&)> sink_of, ServiceRegistry& services) {
  services.Add("/millrace.internal.v1.Peer/Link", [&gate, sink_of = std::move(sink_of)](Executor& executor) {
    return std::make_unique<PeerCall>(gate, sink_of(executor));
  });
}

void AddIntroduceService(PeerSecret secret, Executor& home,
                         std::function<Introduction(const Introduction& asker)> answer, ServiceRegistry& services) {
  services.Add(kIntroduceMethod, Unary<IntroduceRequest, IntroduceResponse>(
                                     nullptr, [secret = std::move(secret), &home, answer = std::move(answer)](
                                                  const IntroduceRequest& request, auto reply, Executor& executor) {
                                       if (!secret.Accepts(request.proof(), ProofOf(secret, request))) {
                                         return reply.Fail(NotAuthorized());
                                       }
                                       const auto asker = DecodeIntroduction(request.introduction());
                                       if (!asker.ok()) return reply.Fail(ErrorFromStatus(asker.status()));
                                       RunOn(home, [=, &executor, asker = *asker, nonce = request.nonce()] {
                                         IntroduceResponse response;
                                         response.set_introduction(EncodeIntroduction(answer(asker)));
                                         response.set_proof(ProofOf(secret, response, nonce));
                                         RunOn(executor, [reply, response] { reply.Send(response); });
                                       });
                                     }));
}

void AddRegisterService(PeerGate& gate, RegisterHandler handler, ServiceRegistry& services) {
  services.Add(kRegisterMethod, Unary<RegisterRequest, RegisterResponse>(nullptr, [&gate, handler = std::move(handler)](
                                                                                      const RegisterRequest& request,
                                                                                      auto reply, Executor& executor) {
                 if (!gate.secret().Accepts(request.proof(), ProofOf(gate.secret(), request))) {
                   return reply.Fail(NotAuthorized());
                 }
                 internal::v1::BrokerRecord record;
                 if (request.cluster_id() != gate.self().cluster_id || !record.ParseFromString(request.broker())) {
                   return reply.Fail(MakeError(v1::Error::INVALID_REQUEST,
                                               absl::StrCat("this broker belongs to cluster ", gate.self().cluster_id,
                                                            ", the one that registers to ", request.cluster_id())));
                 }
                 handler(
                     FromRecord(record),
                     [reply](const ErrorFrame& error, raft::BrokerId id) {
                       if (!error.ok()) return reply.Fail(error);
                       RegisterResponse response;
                       response.set_broker_id(static_cast<int32_t>(id.value()));
                       reply.Send(response);
                     },
                     executor);
               }));
}

bool IsFinal(const ErrorFrame& refusal) {
  return refusal.code == v1::Error::INVALID_REQUEST || refusal.code == v1::Error::UNSUPPORTED_VERSION ||
         refusal.code == v1::Error::CLUSTER_AUTHORIZATION_FAILED;
}

std::string PeerAsker::NewNonce() {
  std::string nonce;
  for (int i = 0; i < 4; ++i) {
    const uint64_t word = random_.Next();
    nonce.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  return nonce;
}

void PeerAsker::Introduce(const std::string& address, const Introduction& mine,
                          std::function<void(absl::StatusOr<Introduction>)> done) {
  IntroduceRequest request;
  request.set_nonce(NewNonce());
  request.set_introduction(EncodeIntroduction(mine));
  request.set_proof(ProofOf(secret_, request));
  transport_.Call(address, kIntroduceMethod, absl::Cord(request.SerializeAsString()), kTimeout,
                  [secret = secret_, nonce = request.nonce(), address, done = std::move(done)](const CallReply& reply) {
                    done(Read(reply, secret, nonce, address));
                  });
}

void PeerAsker::Register(const std::string& address, const std::string& cluster_id, const BrokerInfo& broker,
                         RegisterDone done) {
  RegisterRequest request;
  request.set_nonce(NewNonce());
  request.set_cluster_id(cluster_id);
  internal::v1::BrokerRecord record;
  FillRecord(record, broker);
  request.set_broker(record.SerializeAsString());
  request.set_proof(ProofOf(secret_, request));
  transport_.Call(address, kRegisterMethod, absl::Cord(request.SerializeAsString()), kTimeout,
                  [done = std::move(done)](const CallReply& reply) {
                    RegisterResponse response;
                    if (reply.end.error.code != 0) return done(reply.end.error, kNoBrokerId);
                    if (!reply.end.status.ok()) {
                      return done(MakeError(v1::Error::LEADER_NOT_AVAILABLE, ToStdString(reply.end.status.message())),
                                  kNoBrokerId);
                    }
                    if (!response.ParseFromString(std::string(reply.message))) {
                      return done(MakeError(v1::Error::INTERNAL, "not a RegisterResponse"), kNoBrokerId);
                    }
                    done({}, raft::BrokerId(response.broker_id()));
                  });
}

}  // namespace millrace::server
