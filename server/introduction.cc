#include "server/introduction.h"

#include <algorithm>
#include <utility>

#include "millrace/internal/v1/formation.pb.h"

namespace millrace::server {
namespace {

namespace wire = millrace::internal::v1;
using Stage = Identity::Stage;

void Fill(wire::Replica& out, raft::ReplicaId id) {
  out.set_broker_id(static_cast<int32_t>(id.broker.value()));
  out.set_incarnation(id.incarnation);
}

raft::ReplicaId ReplicaOf(const wire::Replica& replica) {
  return {raft::BrokerId(replica.broker_id()), replica.incarnation()};
}

template <typename Replicas>
raft::ReplicaSet SetOf(const Replicas& replicas) {
  raft::ReplicaSet set;
  for (const wire::Replica& replica : replicas) set.push_back(ReplicaOf(replica));
  return set;
}

// In the order of the brokers, each once.
template <typename Items, typename Id>
bool IsSet(const Items& items, Id id) {
  return std::ranges::adjacent_find(items, std::ranges::greater_equal(), id) == std::ranges::end(items);
}

}  // namespace

std::string EncodeIntroduction(const Introduction& introduction) {
  wire::Introduction out;
  Fill(*out.mutable_self(), introduction.self);
  for (const ListedBroker& broker : introduction.cluster) {
    wire::ListedBroker& listed = *out.add_cluster();
    listed.set_broker_id(static_cast<int32_t>(broker.id.value()));
    listed.set_address(broker.address);
  }
  out.set_stage(static_cast<wire::Introduction::Stage>(introduction.stage));
  for (raft::ReplicaId founder : introduction.founders) Fill(*out.add_founders(), founder);
  for (raft::ReplicaId seen : introduction.seen) Fill(*out.add_seen(), seen);
  out.set_counts_you(introduction.counts_you);
  return out.SerializeAsString();
}

absl::StatusOr<Introduction> DecodeIntroduction(std::string_view bytes) {
  wire::Introduction in;
  const absl::Status refused = absl::InvalidArgumentError("the broker's introduction cannot be understood");
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      !wire::Introduction::Stage_IsValid(in.stage())) {
    return refused;
  }
  Introduction introduction{.self = ReplicaOf(in.self()),
                            .stage = static_cast<Stage>(in.stage()),
                            .founders = SetOf(in.founders()),
                            .seen = SetOf(in.seen()),
                            .counts_you = in.counts_you()};
  for (const wire::ListedBroker& listed : in.cluster()) {
    introduction.cluster.push_back({raft::BrokerId(listed.broker_id()), listed.address()});
  }
  const bool consistent = IsSet(introduction.cluster, &ListedBroker::id) &&
                          IsSet(introduction.founders, &raft::ReplicaId::broker) &&
                          IsSet(introduction.seen, &raft::ReplicaId::broker) &&
                          introduction.founders.empty() == (introduction.stage == Stage::kNone);
  return consistent ? absl::StatusOr<Introduction>(std::move(introduction)) : refused;
}

}  // namespace millrace::server
