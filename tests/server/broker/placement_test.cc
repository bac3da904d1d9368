#include "server/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/server/broker/metadata_records.h"

namespace millrace::server {
namespace {

using raft::BrokerId;
using raft::ReplicaId;
using Placement = std::vector<std::vector<ReplicaId>>;

std::vector<BrokerLoad> Brokers(const std::vector<std::string>& racks) {
  std::vector<BrokerLoad> brokers;
  for (const std::string& rack : racks) {
    const auto number = static_cast<int64_t>(brokers.size()) + 1;
    brokers.push_back({.id = {BrokerId(number), 100u + static_cast<uint64_t>(number)}, .rack = rack});
  }
  return brokers;
}

// With what was placed.
std::vector<BrokerLoad> Loaded(std::vector<BrokerLoad> brokers, const Placement& placement) {
  for (const auto& replicas : placement) {
    for (ReplicaId replica : replicas) {
      const auto broker = std::ranges::find(brokers, replica, &BrokerLoad::id);
      ++broker->replicas;
      if (replica == replicas.front()) ++broker->leads;
    }
  }
  return brokers;
}

int64_t Spread(const std::vector<BrokerLoad>& brokers, int64_t BrokerLoad::*load) {
  const auto [least, most] = std::ranges::minmax(brokers, {}, load);
  return most.*load - least.*load;
}

std::map<std::string, int> CountRacks(const std::vector<BrokerLoad>& brokers) {
  std::map<std::string, int> racks;
  for (const BrokerLoad& broker : brokers) ++racks[broker.rack];
  return racks;
}

// Each partition takes as many of a rack as of any other, as long as the rack has that many brokers.
void ExpectSpreadOverRacks(const std::vector<BrokerLoad>& brokers, const std::vector<ReplicaId>& replicas) {
  const std::map<std::string, int> sizes = CountRacks(brokers);
  std::map<std::string, int> used;
  for (ReplicaId replica : replicas) ++used[std::ranges::find(brokers, replica, &BrokerLoad::id)->rack];
  int most = 0;
  for (const auto& [rack, count] : used) most = std::max(most, count);
  for (const auto& [rack, size] : sizes) EXPECT_GE(used[rack], std::min(size, most - 1)) << "rack " << rack;
}

struct Case {
  std::vector<BrokerLoad> brokers;
  NewPartitions wanted;
  bool racks_allow_balance = false;
};

Case RandomCase(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto up_to = [&random](int bound) { return static_cast<int>(random() % static_cast<uint64_t>(bound)); };
  const int brokers = 1 + up_to(12);
  const int racks = 1 + up_to(4);
  std::vector<std::string> names;
  for (int b = 0; b < brokers; ++b) names.push_back(std::string(1, static_cast<char>('a' + up_to(racks))));
  Case c{Brokers(names)};
  c.wanted = {.partitions = 1 + up_to(100), .replication_factor = 1 + up_to(std::min(brokers, 6)), .seed = random()};
  const auto sizes = CountRacks(c.brokers);
  const int factor = c.wanted.replication_factor;
  c.racks_allow_balance =
      sizes.size() == 1 ||
      (factor <= static_cast<int>(sizes.size()) &&
       std::ranges::all_of(sizes, [&](const auto& rack) { return rack.second * factor <= brokers; }));
  return c;
}

TEST(Placement, SpreadsReplicasAndLeadersOverBrokersAndRacks) {
  int balanced = 0;
  for (uint64_t seed = 1; seed <= 1500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const Case c = RandomCase(seed);
    const auto placed = PlaceReplicas(c.brokers, c.wanted);
    ASSERT_TRUE(placed.ok()) << placed.status();
    ASSERT_EQ(placed->size(), static_cast<size_t>(c.wanted.partitions));
    for (const auto& replicas : *placed) {
      EXPECT_EQ(std::set(replicas.begin(), replicas.end()).size(), static_cast<size_t>(c.wanted.replication_factor));
      ExpectSpreadOverRacks(c.brokers, replicas);
    }
    if (!c.racks_allow_balance) continue;
    ++balanced;
    const auto loaded = Loaded(c.brokers, *placed);
    EXPECT_LE(Spread(loaded, &BrokerLoad::replicas), 1);
    EXPECT_LE(Spread(loaded, &BrokerLoad::leads), 1);
    // And topic by topic.
    const auto again = PlaceReplicas(loaded, c.wanted);
    EXPECT_LE(Spread(Loaded(loaded, *again), &BrokerLoad::replicas), 1);
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(balanced, 500);
}

TEST(Placement, TopicsOfOnePartitionAreBalancedToo) {
  auto brokers = Brokers({"a", "a", "b", "b", "c", "c"});
  for (uint64_t topic = 0; topic < 600; ++topic) {
    const auto placed = PlaceReplicas(brokers, {.partitions = 1, .replication_factor = 3, .seed = topic});
    brokers = Loaded(brokers, *placed);
    EXPECT_LE(Spread(brokers, &BrokerLoad::replicas), 1) << topic;
    EXPECT_LE(Spread(brokers, &BrokerLoad::leads), 2) << topic << ": earlier topics keep their leaders";
  }
}

TEST(Placement, EqualInputGivesEqualOutputInWhateverOrderBrokersCome) {
  std::mt19937_64 random(7);
  int differ = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Case c = RandomCase(seed);
    const auto placed = PlaceReplicas(c.brokers, c.wanted);
    std::ranges::shuffle(c.brokers, random);
    EXPECT_EQ(*PlaceReplicas(c.brokers, c.wanted), *placed) << "seed " << seed;
    ++c.wanted.seed;
    differ += *PlaceReplicas(c.brokers, c.wanted) != *placed ? 1 : 0;
  }
  EXPECT_GT(differ, 50) << "another seed decides otherwise between equals";
}

// When a broker dies, the leaderships that it had go to all others, not to the same two.
TEST(Placement, ABrokerMeetsAllOthers) {
  const auto placed = PlaceReplicas(Brokers({"", "", "", "", "", ""}), {.partitions = 60, .replication_factor = 3});
  std::map<ReplicaId, std::set<ReplicaId>> met;
  for (const auto& replicas : *placed) {
    for (ReplicaId a : replicas) met[a].insert(replicas.begin(), replicas.end());
  }
  for (const auto& [broker, others] : met) EXPECT_EQ(others.size(), 6u) << broker;
}

TEST(Placement, ANewBrokerFillsUpButDoesNotLeadAWholeTopic) {
  auto brokers = Brokers({"", "", "", ""});
  for (int b = 0; b < 3; ++b) brokers[b].replicas = brokers[b].leads = 1000;
  const auto placed = PlaceReplicas(brokers, {.partitions = 64, .replication_factor = 3});
  const auto loaded = Loaded(brokers, *placed);
  EXPECT_EQ(loaded[3].replicas, 64) << "one of each partition";
  EXPECT_GE(loaded[3].leads, 32) << "twice its even share";
  EXPECT_LE(loaded[3].leads, 33);
  EXPECT_LE(Spread({loaded.begin(), loaded.begin() + 3}, &BrokerLoad::leads), 1);
}

TEST(Placement, DeadBrokersGetNothing) {
  auto brokers = Brokers({"a", "b", "c", "d"});
  brokers[2].alive = false;
  const auto placed = PlaceReplicas(brokers, {.partitions = 20, .replication_factor = 3});
  EXPECT_EQ(Loaded(brokers, *placed)[2].replicas, 0);
}

absl::Status Refused(int brokers, int dead, int32_t replicas) {
  auto loads = Brokers(std::vector<std::string>(static_cast<size_t>(brokers)));
  for (int b = 0; b < dead; ++b) loads[b].alive = false;
  return PlaceReplicas(loads, {.partitions = 1, .replication_factor = replicas}).status();
}

TEST(Placement, RefusesMoreReplicasThanBrokers) {
  const auto refused = [](int brokers, int dead, int32_t replicas) {
    const absl::Status status = Refused(brokers, dead, replicas);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(refused(1, 0, 3), "asked for 3 replicas, but the cluster has 1 broker; use --replication-factor 1");
  EXPECT_EQ(refused(4, 0, 5), "asked for 5 replicas, but the cluster has 4 brokers; use --replication-factor 3");
  EXPECT_EQ(refused(3, 1, 4), "asked for 4 replicas, but the cluster has 3 brokers; use --replication-factor 3");
  EXPECT_EQ(refused(3, 0, -1), "a partition has at least 1 replica, asked for -1; leave it out for the default");
}

// Another factor would not be what was wanted, and they come back.
TEST(Placement, WaitsForBrokersThatAreDown) {
  const auto unavailable = [](int brokers, int dead, int32_t replicas) {
    const absl::Status status = Refused(brokers, dead, replicas);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    return std::string(status.message());
  };
  EXPECT_EQ(unavailable(3, 1, 3),
            "replication factor 3 takes 3 brokers, but the cluster has 2 of 3 alive; start the brokers that are down "
            "(millrace cluster status shows them) and try again");
  EXPECT_EQ(unavailable(2, 2, 1),
            "replication factor 1 takes 1 broker, but the cluster has 0 of 2 alive; start the brokers that are down "
            "(millrace cluster status shows them) and try again");
  EXPECT_EQ(unavailable(0, 0, 1), "the cluster has no broker yet; try again");
}

TEST(Placement, TheDefaultIsThreeReplicasWhereThereAreThreeBrokers) {
  EXPECT_EQ(DefaultReplicationFactor(1), 1);
  EXPECT_EQ(DefaultReplicationFactor(2), 1);
  EXPECT_EQ(DefaultReplicationFactor(3), 3);
  EXPECT_EQ(DefaultReplicationFactor(100), 3);
}

TEST(Placement, CountsWhatBrokersHave) {
  const ReplicaId one{BrokerId(1), 11}, two{BrokerId(2), 22}, gone{BrokerId(3), 33};
  const auto image =
      After(MetadataImage(TopicConfig()),
            {BrokerRecord(1, 11, "r"), BrokerRecord(2, 22), TopicRecord(1, "a"), PartitionRecord(1, 0, 10, {one, two}),
             PartitionRecord(1, 1, 11, {one, gone}), PartitionRecord(1, 2, 12, {gone, two})});
  const auto loads = LoadsOf(*image);
  ASSERT_EQ(loads.size(), 2u);
  EXPECT_EQ(loads[0].id, one);
  EXPECT_EQ(loads[0].rack, "r");
  EXPECT_EQ(loads[0].replicas, 2);
  EXPECT_EQ(loads[0].leads, 2);
  EXPECT_EQ(loads[1].replicas, 2);
  EXPECT_EQ(loads[1].leads, 0);
}

}  // namespace
}  // namespace millrace::server
