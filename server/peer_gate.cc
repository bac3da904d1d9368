#include "server/peer_gate.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/identity.h"
#include "server/log.h"

namespace millrace::server {
namespace {

using internal::v1::Hello;
using internal::v1::Refusal;

constexpr int kNonceWords = 4;
// Whoever is refused chooses part of the sentence.
constexpr size_t kLoggedMax = 20;

Refusal Refuse(Refusal::Reason reason, std::string message) {
  Refusal refusal;
  refusal.set_reason(reason);
  refusal.set_message(std::move(message));
  return refusal;
}

std::string Name(const Hello& hello) {
  return absl::StrCat("broker ", hello.from().broker_id(), hello.build().empty() ? "" : " (build ", hello.build(),
                      hello.build().empty() ? "" : ")");
}

std::optional<Refusal> CheckProtocol(const Hello& hello, const PeerIdentity& self) {
  if (hello.protocol_min() <= self.protocol_max && hello.protocol_max() >= self.protocol_min) return std::nullopt;
  return Refuse(
      Refusal::UNSUPPORTED_PROTOCOL,
      absl::StrCat(Name(hello), " speaks versions ", hello.protocol_min(), " to ", hello.protocol_max(),
                   " of the brokers' protocol, broker ", self.life.replica.broker.value(), " (build ", self.build,
                   ") versions ", self.protocol_min, " to ", self.protocol_max, ": upgrade the older of the two"));
}

std::optional<Refusal> CheckProof(const Hello& hello, const PeerSecret& secret, std::string_view nonce) {
  if (secret.Accepts(hello.proof(), secret.ProofOf(hello, nonce))) return std::nullopt;
  return Refuse(Refusal::UNAUTHENTICATED,
                hello.proof().empty()
                    ? absl::StrCat(Name(hello),
                                   " does not prove that it knows the cluster's secret: start it with "
                                   "--peer-secret-file and the file that the other brokers have")
                    : absl::StrCat(Name(hello),
                                   " has another secret than this broker: start all brokers with the same "
                                   "content in --peer-secret-file"));
}

std::optional<Refusal> CheckCluster(const Hello& hello, const PeerIdentity& self) {
  const int64_t here = self.life.replica.broker.value();
  if (self.cluster_id.empty()) {
    return Refuse(Refusal::NO_CLUSTER, absl::StrCat("broker ", here, " belongs to no cluster yet"));
  }
  if (hello.cluster_id() == self.cluster_id) return std::nullopt;
  return Refuse(Refusal::WRONG_CLUSTER,
                absl::StrCat(Name(hello), " belongs to cluster '", hello.cluster_id(), "', broker ", here,
                             " to cluster '", self.cluster_id,
                             "': one of them has the wrong addresses in --cluster, or the data directory of another "
                             "cluster"));
}

std::optional<Refusal> CheckTarget(const Hello& hello, const PeerLife& self) {
  if (hello.to().broker_id() != self.replica.broker.value()) {
    return Refuse(Refusal::WRONG_BROKER,
                  absl::StrCat(Name(hello), " expects broker ", hello.to().broker_id(), " where broker ",
                               self.replica.broker.value(), " is: check the addresses in --cluster and --advertise"));
  }
  if (hello.to().incarnation() == 0 || hello.to().incarnation() == self.replica.incarnation) return std::nullopt;
  return Refuse(
      Refusal::WRONG_INCARNATION,
      absl::StrCat(Name(hello), " expects disk ", hello.to().incarnation(), " at broker ", self.replica.broker.value(),
                   ", which has disk ", self.replica.incarnation, ": ", kLostDiskRemedy));
}

std::optional<Refusal> CheckSender(const Hello& hello, const PeerLife& self, const PeerPresence& presence) {
  if (hello.from().broker_id() == self.replica.broker.value()) {
    return Refuse(Refusal::DUPLICATE_BROKER, absl::StrCat("two brokers have the id ", self.replica.broker.value(),
                                                          ": give each a --broker-id of its own"));
  }
  if (!presence.IsTaken({.replica = FromProto(hello.from()), .session = hello.session()})) return std::nullopt;
  return Refuse(Refusal::DUPLICATE_BROKER,
                absl::StrCat("another process is connected as broker ", hello.from().broker_id(),
                             ": stop one of the two, or give each a --broker-id and a --data-dir of its own"));
}

std::optional<Refusal> CheckCopy(const Hello& hello, const std::vector<BrokerInfo>& brokers) {
  const auto known = std::ranges::find(brokers, FromProto(hello.from()), &BrokerInfo::id);
  if (known == brokers.end() || !IsOldCopy(hello.session(), hello.starts(), *known)) return std::nullopt;
  return Refuse(Refusal::OLD_COPY, OldCopySentence(known->id.broker, hello.starts(), known->starts));
}

}  // namespace

PeerGate::PeerGate(PeerIdentity self, PeerSecret secret, PeerPresence& presence, Random& random)
    : secret_(std::move(secret)), presence_(presence), self_(std::move(self)), random_(random) {}

void PeerGate::SetCluster(std::string cluster_id, raft::ReplicaId self) {
  std::lock_guard lock(mutex_);
  self_.life.replica = self;
  self_.cluster_id = std::move(cluster_id);
}

void PeerGate::SetBrokers(std::vector<BrokerInfo> brokers) {
  std::lock_guard lock(mutex_);
  brokers_ = std::move(brokers);
}

PeerIdentity PeerGate::self() const {
  std::lock_guard lock(mutex_);
  return self_;
}

std::string PeerGate::NewNonce() {
  std::lock_guard lock(mutex_);
  std::string nonce;
  for (int i = 0; i < kNonceWords; ++i) {
    const uint64_t word = random_.Next();
    nonce.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  return nonce;
}

// Whether they understand each other, then whether the sender may know anything at all.
std::optional<Refusal> PeerGate::Check(const Hello& hello, std::string_view nonce) const {
  const PeerIdentity self = this->self();
  if (auto refusal = CheckProtocol(hello, self)) return refusal;
  if (auto refusal = CheckProof(hello, secret_, nonce)) return refusal;
  if (auto refusal = CheckCluster(hello, self)) return refusal;
  if (auto refusal = CheckTarget(hello, self.life)) return refusal;
  if (hello.from().broker_id() < 0 ||
      (hello.lane() != internal::v1::LANE_CONTROL && hello.lane() != internal::v1::LANE_BULK)) {
    return Refuse(Refusal::MALFORMED, "the Hello names no broker, or no lane that is known");
  }
  if (auto refusal = CheckSender(hello, self.life, presence_)) return refusal;
  std::lock_guard lock(mutex_);
  return CheckCopy(hello, brokers_);
}

void PeerGate::LogRefusal(const Refusal& refusal) {
  std::lock_guard lock(mutex_);
  if (logged_.size() >= kLoggedMax || !logged_.insert(refusal.message()).second) return;
  MILLRACE_LOG(kWarning, "refused a peer", {"reason", Refusal::Reason_Name(refusal.reason())},
               {"why", refusal.message()});
}

void PeerGate::ForgetRefusals() {
  std::lock_guard lock(mutex_);
  logged_.clear();
}

}  // namespace millrace::server
