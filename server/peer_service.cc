#include "server/peer_service.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/unary_call.h"

namespace millrace::server {

using internal::v1::IdentifyRequest;
using internal::v1::IdentifyResponse;

namespace {

constexpr char kIdentifyMethod[] = "/millrace.internal.v1.Peer/Identify";

absl::StatusOr<PeerIdentity> Read(const CallReply& reply, const PeerSecret& secret, const std::string& nonce,
                                  const std::string& address) {
  if (!reply.end.status.ok()) return reply.end.status;
  IdentifyResponse response;
  if (!response.ParseFromString(std::string(reply.message))) {
    return absl::InternalError(absl::StrCat(address, " answers with something that is no IdentifyResponse"));
  }
  if (!secret.Accepts(response.proof(), secret.ProofOf(response, nonce))) {
    return absl::UnauthenticatedError(
        absl::StrCat("the broker at ", address,
                     " does not know this broker's secret: start both with the same content in --peer-secret-file"));
  }
  PeerIdentity identity{.life = {.replica = FromProto(response.replica()), .session = response.session()},
                        .cluster_id = response.cluster_id(),
                        .protocol_min = response.protocol_min(),
                        .protocol_max = response.protocol_max(),
                        .build = response.build()};
  for (const internal::v1::ReplicaId& founder : response.founders()) identity.founders.push_back(FromProto(founder));
  return identity;
}

}  // namespace

void AddPeerService(PeerGate& gate, std::function<PeerSink&(Executor&)> sink_of, ServiceRegistry& services) {
  services.Add("/millrace.internal.v1.Peer/Link", [&gate, sink_of = std::move(sink_of)](Executor& executor) {
    return std::make_unique<PeerCall>(gate, sink_of(executor));
  });
  services.Add(
      kIdentifyMethod,
      Unary<IdentifyRequest, IdentifyResponse>(nullptr, [&gate](const IdentifyRequest& request, auto reply, Executor&) {
        const auto response = gate.Identify(request);
        if (response.ok()) return reply.Send(*response);
        reply.Fail(MakeError(v1::Error::CLUSTER_AUTHORIZATION_FAILED, ToStdString(response.status().message())));
      }));
}

void Identify(ClientTransport& transport, const std::string& address, const PeerSecret& secret, Random& random,
              std::chrono::nanoseconds timeout, std::function<void(absl::StatusOr<PeerIdentity>)> done) {
  IdentifyRequest request;
  for (int i = 0; i < 4; ++i) {
    const uint64_t word = random.Next();
    request.mutable_nonce()->append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  request.set_proof(secret.ProofOf(request));
  transport.Call(address, kIdentifyMethod, absl::Cord(request.SerializeAsString()), timeout,
                 [secret, nonce = request.nonce(), address, done = std::move(done)](const CallReply& reply) {
                   done(Read(reply, secret, nonce, address));
                 });
}

}  // namespace millrace::server
