#include "server/placement.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "raft/random.h"

namespace millrace::server {
namespace {

using Placement = std::vector<std::vector<raft::ReplicaId>>;

// The brokers of a placement by number, and what each has by now.
struct Broker {
  raft::ReplicaId id;
  size_t rack;
  int64_t replicas;
  int64_t leads;
  int64_t new_leads = 0;
};

// In the order in which they get replicas. `tie` is drawn anew with every replica, so that equals do not always meet the same
// others: when a broker dies, all of the rest take over from it.
struct BrokerKey {
  int64_t replicas;
  uint64_t tie;
  size_t broker;

  auto operator<=>(const BrokerKey&) const = default;
};

// By how full the rack will be with its next replica: then the brokers of all racks fill up alike (Jefferson's method of
// apportionment, with racks for states).
struct RackKey {
  int64_t replicas_next;
  int64_t brokers;
  uint64_t tie;
  size_t rack;

  bool operator<(const RackKey& other) const {
    const int64_t mine = replicas_next * other.brokers;
    const int64_t others = other.replicas_next * brokers;
    return std::tie(mine, tie, rack) < std::tie(others, other.tie, other.rack);
  }
};

struct Rack {
  int64_t brokers = 0;
  int64_t replicas = 0;
  std::set<BrokerKey> free;  // have no replica of the partition that is being placed
};

class Placer {
 public:
  Placer(const std::vector<BrokerLoad>& live, const NewPartitions& wanted)
      : wanted_(wanted),
        new_leads_max_(2 * wanted.partitions / static_cast<int64_t>(live.size()) + 1),
        led_(live.size()) {
    std::map<std::string, size_t> rack_of;
    for (const BrokerLoad& load : live) {
      const size_t rack = rack_of.emplace(load.rack, rack_of.size()).first->second;
      brokers_.push_back({.id = load.id, .rack = rack, .replicas = load.replicas, .leads = load.leads});
    }
    racks_.resize(rack_of.size());
    for (size_t b = 0; b < brokers_.size(); ++b) {
      Rack& rack = racks_[brokers_[b].rack];
      ++rack.brokers;
      rack.replicas += brokers_[b].replicas;
      rack.free.insert(KeyOfBroker(b));
    }
    for (size_t r = 0; r < racks_.size(); ++r) next_racks_.insert(KeyOfRack(r));
  }

  Placement Place() {
    for (int32_t p = 0; p < wanted_.partitions; ++p) {
      partitions_.push_back(ChooseBrokers());
      ChooseLeader(p);
    }
    BalanceLeads();
    Placement placement;
    for (const std::vector<size_t>& partition : partitions_) {
      auto& replicas = placement.emplace_back();
      for (size_t b : partition) replicas.push_back(brokers_[b].id);
    }
    return placement;
  }

 private:
  uint64_t Tie(size_t of, int64_t turn) const {
    raft::SeededRandom mixed(wanted_.seed + of * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(turn) * 0xbf58476d1ce4e5b9);
    return mixed.Next();
  }
  BrokerKey KeyOfBroker(size_t b) const { return {brokers_[b].replicas, Tie(b, brokers_[b].replicas), b}; }
  RackKey KeyOfRack(size_t r) const {
    const Rack& rack = racks_[r];
    return {rack.replicas + 1, rack.brokers, Tie(~r, rack.replicas), r};
  }

  // One from each rack in turn, as often as it takes.
  std::vector<size_t> ChooseBrokers() {
    std::vector<size_t> chosen;
    std::vector<size_t> used_racks;
    while (chosen.size() < static_cast<size_t>(wanted_.replication_factor)) {
      if (next_racks_.empty()) {
        std::erase_if(used_racks, [this](size_t r) {
          if (racks_[r].free.empty()) return false;
          next_racks_.insert(KeyOfRack(r));
          return true;
        });
      }
      const size_t r = next_racks_.begin()->rack;
      next_racks_.erase(next_racks_.begin());
      used_racks.push_back(r);
      const size_t b = racks_[r].free.begin()->broker;
      racks_[r].free.erase(racks_[r].free.begin());
      ++racks_[r].replicas;
      ++brokers_[b].replicas;
      chosen.push_back(b);
    }
    for (size_t b : chosen) racks_[brokers_[b].rack].free.insert(KeyOfBroker(b));
    for (size_t r : used_racks) next_racks_.insert(KeyOfRack(r));
    return chosen;
  }

  bool MayLeadMore(const Broker& broker) const { return broker.new_leads < new_leads_max_; }

  void ChooseLeader(int32_t p) {
    std::vector<size_t>& replicas = partitions_[p];
    const auto key = [this](size_t b) {
      return std::tuple(!MayLeadMore(brokers_[b]), brokers_[b].leads, Tie(b, brokers_[b].leads));
    };
    const auto leader = std::ranges::min_element(replicas, {}, key);
    std::iter_swap(leader, replicas.begin());
    AddLead(replicas.front(), p, 1);
  }

  void AddLead(size_t b, int32_t p, int64_t count) {
    brokers_[b].leads += count;
    brokers_[b].new_leads += count;
    count > 0 ? void(led_[b].insert(p)) : void(led_[b].erase(p));
  }

  // A leader is chosen before it is known who leads the partitions that follow, so brokers can end up two apart.
  void BalanceLeads() {
    std::vector<bool> settled(brokers_.size());
    for (;;) {
      std::optional<size_t> most;
      for (size_t b = 0; b < brokers_.size(); ++b) {
        if (!settled[b] && (!most || brokers_[b].leads > brokers_[*most].leads)) most = b;
      }
      if (!most) return;
      PassOneLeadOn(*most, settled);
    }
  }

  // Along a chain of brokers, each of which gives a partition to the next and gets one from the one before, to a broker that leads
  // at least two less. If there is no chain from any broker, no choice of leaders is more even. `settled`: have none.
  void PassOneLeadOn(size_t from, std::vector<bool>& settled) {
    struct Step {
      size_t from;
      int32_t partition;
    };
    std::vector<std::optional<Step>> came_by(brokers_.size());
    std::vector<size_t> reached = {from};
    for (size_t i = 0; i < reached.size(); ++i) {
      for (int32_t p : led_[reached[i]]) {
        for (size_t to : partitions_[p]) {
          if (to == from || came_by[to]) continue;
          came_by[to] = Step{reached[i], p};
          reached.push_back(to);
          if (brokers_[to].leads > brokers_[from].leads - 2 || !MayLeadMore(brokers_[to])) continue;
          for (size_t b = to; b != from; b = came_by[b]->from) Hand(came_by[b]->partition, b);
          return settled.assign(brokers_.size(), false);
        }
      }
    }
    // Whoever was reached leads no more than `from`, or has been tried before it, and reaches no others.
    for (size_t b : reached) settled[b] = true;
  }

  void Hand(int32_t p, size_t to) {
    std::vector<size_t>& replicas = partitions_[p];
    AddLead(replicas.front(), p, -1);
    std::iter_swap(std::ranges::find(replicas, to), replicas.begin());
    AddLead(to, p, 1);
  }

  const NewPartitions wanted_;
  const int64_t new_leads_max_;
  std::vector<Broker> brokers_;
  std::vector<Rack> racks_;
  std::set<RackKey> next_racks_;                 // have given no replica to the partition in this turn
  std::vector<std::vector<size_t>> partitions_;  // brokers, the leader first
  std::vector<std::set<int32_t>> led_;           // by broker: which of partitions_
};

std::string Count(size_t n, absl::string_view what) { return absl::StrCat(n, " ", what, n == 1 ? "" : "s"); }

// An even number of replicas outlives no more of them than the odd number below.
size_t LargestOdd(size_t n) { return n % 2 == 0 ? n - 1 : n; }

// Who is down comes back: only where there are too few brokers is another factor the answer.
absl::Status TooMany(int32_t asked, size_t live, size_t all) {
  if (all == 0) return absl::UnavailableError("the cluster has no broker yet; try again");
  if (static_cast<size_t>(asked) <= all) {
    return absl::UnavailableError(absl::StrCat("replication factor ", asked, " takes ",
                                               Count(static_cast<size_t>(asked), "broker"), ", but the cluster has ",
                                               live, " of ", all,
                                               " alive; start the brokers that are down (millrace cluster status shows "
                                               "them) and try again"));
  }
  return absl::InvalidArgumentError(absl::StrCat("asked for ", asked, " replicas, but the cluster has ",
                                                 Count(all, "broker"), "; use --replication-factor ", LargestOdd(all)));
}

}  // namespace

int32_t DefaultReplicationFactor(size_t brokers) { return brokers < 3 ? 1 : 3; }

std::vector<BrokerLoad> LoadsOf(const MetadataImage& image) {
  std::vector<BrokerLoad> loads;
  std::map<raft::BrokerId, size_t> place;
  for (const auto& [id, broker] : image.brokers()) {
    place[id] = loads.size();
    loads.push_back({.id = broker.id, .rack = broker.rack});
  }
  for (raft::ReplicaId founder : image.Unregistered()) loads.push_back({.id = founder, .alive = false});
  for (const auto& [name, topic] : image.topics()) {
    for (const PartitionInfo& partition : topic->partitions) {
      for (raft::ReplicaId replica : partition.replicas) {
        const auto broker = place.find(replica.broker);
        if (broker == place.end()) continue;
        ++loads[broker->second].replicas;
        if (replica == partition.replicas.front()) ++loads[broker->second].leads;
      }
    }
  }
  return loads;
}

absl::StatusOr<Placement> PlaceReplicas(const std::vector<BrokerLoad>& brokers, const NewPartitions& wanted) {
  if (wanted.replication_factor < 1) {
    return absl::InvalidArgumentError(absl::StrCat("a partition has at least 1 replica, asked for ",
                                                   wanted.replication_factor, "; leave it out for the default"));
  }
  std::vector<BrokerLoad> live = brokers;
  std::erase_if(live, [](const BrokerLoad& broker) { return !broker.alive; });
  if (live.size() < static_cast<size_t>(wanted.replication_factor)) {
    return TooMany(wanted.replication_factor, live.size(), brokers.size());
  }
  std::ranges::sort(live, {}, &BrokerLoad::id);
  return Placer(live, wanted).Place();
}

}  // namespace millrace::server
