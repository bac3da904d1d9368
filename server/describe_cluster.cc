#include "server/describe_cluster.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "server/group_counts.h"
#include "server/shares.h"

namespace millrace::server {
namespace {

constexpr std::chrono::seconds kTimeout{1};

void AddDisk(Broker& broker, v1::BrokerStatus& status) {
  status.set_start_time(broker.options().start_time);
  const DiskSpace disk = broker.options().disk_space();
  status.set_disk_free_bytes(disk.free_bytes);
  status.set_disk_total_bytes(disk.total_bytes);
  status.set_disk_full(broker.disk_floor().reached());
}

// One call: asks the other brokers and counts here, and answers when the last has told. Lives on the call's executor, as long as
// somebody is asked.
class ClusterDescriber : public std::enable_shared_from_this<ClusterDescriber> {
 public:
  ClusterDescriber(Broker& broker, Reply<v1::DescribeClusterResponse> reply, Executor& executor)
      : broker_(broker), reply_(std::move(reply)), executor_(executor) {}

  void Ask(Routing routing) {
    broker_.pool().Submit([self = shared_from_this(), routing] {
      RunOn(self->executor_, [self, routing, shares = SharesIn(self->broker_.view())] {
        self->AddKnown(shares, routing);
        self->AskAll(routing);
      });
    });
  }

 private:
  bool IsSelf(const v1::BrokerStatus& status) const {
    return status.broker_id() == static_cast<int32_t>(broker_.options().self.broker.value());
  }

  void AddKnown(const Shares& shares, Routing routing) {
    const auto image = broker_.image();
    response_.set_cluster_id(image->cluster_id());
    response_.set_controller(ControllerOf(broker_));
    response_.set_leaderless(shares.leaderless);
    for (const auto& [id, known] : image->brokers()) {
      const bool self = id == broker_.options().self.broker;
      if (!self && routing == Routing::kLeaderOnly) continue;
      const auto found = shares.of.find(id);
      const Share share = found == shares.of.end() ? Share() : found->second;
      v1::BrokerStatus& status = *response_.add_brokers();
      status.set_broker_id(static_cast<int32_t>(id.value()));
      status.set_address(known.address);
      status.set_rack(known.rack);
      status.set_alive(broker_.view().IsAlive(id));
      status.set_version(known.build);
      status.set_partitions(share.replicas);
      status.set_leaders(share.leads);
      if (self) AddDisk(broker_, status);
    }
    for (raft::ReplicaId founder : image->Unregistered()) {
      if (routing == Routing::kLeaderOnly) break;
      v1::BrokerStatus& status = *response_.add_brokers();
      status.set_broker_id(static_cast<int32_t>(founder.broker.value()));
      status.set_address(broker_.view().PeerAddressOf(founder.broker));
    }
    std::ranges::sort(*response_.mutable_brokers(), {}, &v1::BrokerStatus::broker_id);
  }

  void AskAll(Routing routing) {
    for (const auto& shard : broker_.shards()) {
      ++asked_;
      RunOn(shard->executor, [self = shared_from_this(), &shard = *shard] {
        const GroupCounts counts = CountGroups(shard.groups, self->broker_.view().Reachable());
        RunOn(self->executor_, [self, counts] {
          self->AddUnderReplicated(counts.under_replicated);
          self->OneAnswered();
        });
      });
    }
    for (int i = 0; routing == Routing::kAny && i < response_.brokers_size(); ++i) {
      if (response_.brokers(i).alive() && !IsSelf(response_.brokers(i))) AskThere(i);
    }
    OneAnswered();
  }

  void AskThere(int at) {
    ++asked_;
    const raft::BrokerId id(response_.brokers(at).broker_id());
    broker_.ShardOf(executor_).forward.Call(
        broker_.view().PeerAddressOf(id), "/millrace.v1.Admin/DescribeCluster", "", kTimeout,
        [self = shared_from_this(), at](const ErrorFrame& error, const std::string& reply) {
          v1::DescribeClusterResponse theirs;
          if (error.ok() && theirs.ParseFromString(reply)) self->Take(at, theirs);
          self->OneAnswered();
        });
  }

  void Take(int at, const v1::DescribeClusterResponse& theirs) {
    v1::BrokerStatus& status = *response_.mutable_brokers(at);
    if (theirs.brokers_size() != 1 || theirs.brokers(0).broker_id() != status.broker_id()) return;
    status = theirs.brokers(0);
    AddUnderReplicated(theirs.under_replicated());
  }

  void AddUnderReplicated(int32_t partitions) {
    response_.set_under_replicated(response_.under_replicated() + partitions);
  }

  void OneAnswered() {
    if (--asked_ == 0) reply_.Send(response_);
  }

  Broker& broker_;
  const Reply<v1::DescribeClusterResponse> reply_;
  Executor& executor_;
  v1::DescribeClusterResponse response_;
  int asked_ = 1;
};

}  // namespace

int32_t ControllerOf(const Broker& broker) {
  const auto leader = broker.view().LeaderOf(kMetadataGroup);
  return leader ? static_cast<int32_t>(leader->broker.value()) : -1;
}

void DescribeCluster(Broker& broker, Reply<v1::DescribeClusterResponse> reply, Executor& executor, Routing routing) {
  std::make_shared<ClusterDescriber>(broker, std::move(reply), executor)->Ask(routing);
}

}  // namespace millrace::server
