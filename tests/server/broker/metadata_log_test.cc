#include "server/metadata_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "tests/server/broker/metadata_cluster.h"
#include "tests/server/broker/metadata_records.h"
#include "tests/server/broker/seeds.h"

namespace millrace::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Node = MetadataCluster::Node;

MetadataRecords NewTopic(const std::string& name, uint64_t id) {
  MetadataRecords records;
  *records.add_records() = TopicRecord(id, name);
  return records;
}

// What becomes of a proposal.
std::shared_ptr<std::optional<absl::Status>> Propose(Node& node, const MetadataRecords& records) {
  auto outcome = std::make_shared<std::optional<absl::Status>>();
  node.log->Propose(records, [outcome](const absl::Status& status) {
    EXPECT_FALSE(outcome->has_value()) << "answered twice";
    *outcome = status;
  });
  return outcome;
}

// Topics with numbers from `first` on, one entry each.
void Fill(MetadataCluster& cluster, uint64_t first, int count) {
  for (int i = 0; i < count; ++i) {
    const uint64_t id = first + static_cast<uint64_t>(i);
    const auto outcome = Propose(cluster.AwaitController(), NewTopic("t" + std::to_string(id), id));
    cluster.Settle();
    ASSERT_TRUE(outcome->has_value() && (*outcome)->ok());
  }
}

size_t SavedPieces(Node& node) {
  size_t pieces = 0;
  const auto values = node.disk.Values(kMetadataGroup);
  for (const auto& [key, value] : *values) pieces += key.starts_with("metadata.snapshot.") ? 1 : 0;
  return pieces;
}

TEST(MetadataLog, AProposalIsAnsweredWhenItIsInTheImage) {
  MetadataCluster cluster(3, {});
  Node& controller = cluster.AwaitController();
  const auto outcome = Propose(controller, NewTopic("t", 7));
  EXPECT_FALSE(outcome->has_value());
  EXPECT_EQ(controller.image().FindTopic("t"), nullptr);
  cluster.Settle();
  ASSERT_TRUE(outcome->has_value());
  EXPECT_TRUE((*outcome)->ok()) << **outcome;
  EXPECT_NE(controller.image().FindTopic("t"), nullptr);
  cluster.Tick();
  cluster.ExpectEqualImages();
}

TEST(MetadataLog, OneBrokerIsItsOwnMajority) {
  MetadataCluster cluster(1, {});
  Fill(cluster, 1, 3);
  EXPECT_EQ(cluster.node(1).image().topics().size(), 3u);
}

TEST(MetadataLog, OnlyTheControllerTakesProposals) {
  MetadataCluster cluster(3, {});
  Node& controller = cluster.AwaitController();
  for (int broker = 1; broker <= 3; ++broker) {
    EXPECT_EQ(cluster.node(broker).log->leader(), controller.id);
    if (&cluster.node(broker) == &controller) continue;
    const auto outcome = Propose(cluster.node(broker), NewTopic("t", 7));
    ASSERT_TRUE(outcome->has_value());
    EXPECT_EQ((*outcome)->code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_FALSE(MayHaveHappened(**outcome));
  }
  cluster.Tick(5);
  EXPECT_TRUE(controller.image().topics().empty());
}

TEST(MetadataLog, WhoLosesItsMajorityDoesNotKnowTheOutcome) {
  MetadataCluster cluster(3, {});
  Node& old = cluster.AwaitController();
  old.cut_off = true;
  const auto outcome = Propose(old, NewTopic("lost", 7));
  Node& next = cluster.AwaitController();
  ASSERT_NE(&next, &old);
  cluster.Tick(30);
  ASSERT_TRUE(outcome->has_value());
  EXPECT_TRUE(MayHaveHappened(**outcome)) << **outcome;
  EXPECT_THAT(old.controller, ElementsAre(true, false));
  Fill(cluster, 1, 2);
  old.cut_off = false;
  cluster.Tick(30);
  cluster.ExpectEqualImages();
  EXPECT_EQ(old.image().FindTopic("lost"), nullptr);
  EXPECT_EQ(old.image().topics().size(), 2u);
}

// Decisions rest on the image: it has to have all that earlier controllers decided.
TEST(MetadataLog, ANewControllerHasAppliedWhatEarlierOnesDecided) {
  MetadataCluster cluster(3, {});
  Node& old = cluster.AwaitController();
  const auto outcome = Propose(old, NewTopic("t", 7));
  // Written everywhere and committed nowhere.
  for (int pass = 0; pass < 2; ++pass) cluster.Pass([](int) { return false; });
  cluster.Crash(old, FakeLogStore::kKeepUnsynced);
  EXPECT_FALSE(outcome->has_value()) << "its owner is gone, and so is who asked";
  Node& next = cluster.AwaitController();
  EXPECT_NE(next.image().FindTopic("t"), nullptr);
}

TEST(MetadataLog, TheLogIsReplacedByASnapshot) {
  MetadataCluster cluster(3, {.entries_per_snapshot = 20});
  Fill(cluster, 100, 50);
  cluster.Tick(3);
  for (int broker = 1; broker <= 3; ++broker) {
    Node& node = cluster.node(broker);
    EXPECT_EQ(SavedPieces(node), 1u);
    EXPECT_EQ(node.state().log_end, raft::Offset(50));
    EXPECT_GE(node.state().log_start, raft::Offset(30));
    EXPECT_GT(node.state().first_index, raft::LogIndex(20));
    const raft::LogIndex version = node.image().version();
    cluster.Crash(node, FakeLogStore::kKeepUnsynced);
    ASSERT_TRUE(cluster.Start(node).ok());
    EXPECT_GE(node.log->applied(), raft::LogIndex(30)) << "from the snapshot";
    EXPECT_LE(node.log->applied(), version);
  }
  cluster.AwaitController();
  cluster.Tick(3);
  cluster.ExpectEqualImages();
  EXPECT_EQ(cluster.node(1).image().topics().size(), 50u);
}

TEST(MetadataLog, WhoWasAwayGetsTheImage) {
  MetadataCluster cluster(3, {.entries_per_snapshot = 10});
  Node& controller = cluster.AwaitController();
  Node& away = cluster.node(controller.id.broker.value() == 1 ? 2 : 1);
  Fill(cluster, 1, 3);
  away.cut_off = true;
  Fill(cluster, 100, 60);
  ASSERT_GT(controller.state().first_index, away.state().last_index + 1) << "what it lacks is gone";
  away.cut_off = false;
  cluster.Tick(40);
  EXPECT_GE(away.installs, 1);
  cluster.ExpectEqualImages();
  EXPECT_EQ(away.image().topics().size(), 63u);
  EXPECT_EQ(SavedPieces(away), SavedPieces(controller));

  cluster.Crash(away, FakeLogStore::kLoseUnsynced);
  ASSERT_TRUE(cluster.Start(away).ok());
  EXPECT_GT(away.image().topics().size(), 50u) << "it has kept what it got";
  cluster.AwaitController();
  cluster.Tick(3);
  cluster.ExpectEqualImages();
}

TEST(MetadataLog, ASmallerSnapshotLeavesNothingOfALargerOne) {
  MetadataCluster cluster(1, {.entries_per_snapshot = 5});
  Node& node = cluster.AwaitController();
  MetadataRecords records = NewTopic("large", 1);
  for (int32_t p = 0; p < 20'000; ++p)
    *records.add_records() = PartitionRecord(1, p, 2 + p, {{raft::BrokerId(1), ~0u}});
  Propose(node, records);
  cluster.Settle();
  Fill(cluster, 10, 8);
  EXPECT_GT(SavedPieces(node), 1u);
  records.Clear();
  *records.add_records() = RemoveTopic(1);
  Propose(node, records);
  cluster.Settle();
  Fill(cluster, 20, 8);
  EXPECT_EQ(SavedPieces(node), 1u);
  cluster.Crash(node, FakeLogStore::kKeepUnsynced);
  ASSERT_TRUE(cluster.Start(node).ok());
  EXPECT_EQ(node.image().FindTopic("large"), nullptr);
  EXPECT_EQ(node.image().next_group(), raft::GroupId(20'002));
}

TEST(MetadataLog, ADamagedSnapshotIsNotTakenForTheMetadata) {
  MetadataCluster cluster(1, {.entries_per_snapshot = 5});
  Fill(cluster, 1, 10);
  Node& node = cluster.node(1);
  cluster.Crash(node, FakeLogStore::kKeepUnsynced);
  ASSERT_TRUE(node.disk.Open(kMetadataGroup).ok());
  const auto values = node.disk.Values(kMetadataGroup);
  for (const auto& [key, value] : *values) {
    if (!key.starts_with("metadata.snapshot.")) continue;
    std::string damaged = value;
    damaged[damaged.size() / 2] ^= 1;
    const auto round = node.disk.NewRound();
    round->PutValue(kMetadataGroup, key, damaged);
    ASSERT_TRUE(node.disk.Write(*round).ok());
  }
  EXPECT_EQ(cluster.Start(node).code(), absl::StatusCode::kDataLoss);
}

TEST(MetadataLog, ALostSnapshotIsNotTakenForAnEmptyCluster) {
  MetadataCluster cluster(1, {.entries_per_snapshot = 5});
  Fill(cluster, 1, 10);
  Node& node = cluster.node(1);
  node.driver->SetLogStart(node.state().log_end);
  cluster.Settle();
  cluster.Crash(node, FakeLogStore::kKeepUnsynced);
  ASSERT_TRUE(node.disk.Open(kMetadataGroup).ok());
  const auto round = node.disk.NewRound();
  round->DeleteValue(kMetadataGroup, "metadata.snapshot.000000");
  ASSERT_TRUE(node.disk.Write(*round).ok());
  EXPECT_EQ(cluster.Start(node).code(), absl::StatusCode::kDataLoss);
}

TEST(MetadataLog, VersionsCountEntriesWithoutRecordsToo) {
  MetadataCluster cluster(3, {});
  cluster.AwaitController();
  cluster.Tick();
  for (int broker = 1; broker <= 3; ++broker) {
    EXPECT_EQ(cluster.node(broker).image().version(), cluster.node(broker).driver->applied_index());
  }
}

// Where the log starts is an offset, and a segment that ends with entries without records may go as a whole.
TEST(MetadataLog, TheLogMayBeginBehindEntriesWithoutRecordsThatFollowTheSnapshot) {
  FakeLogStore store;
  SimExecutor executor;
  ASSERT_TRUE(MakeMetadataLog(store, {{raft::BrokerId(1), 7}}).ok());
  MetadataImage::Builder image{MetadataImage(TopicConfig())};
  image.SetVersion(raft::LogIndex(5));
  const auto round = store.NewRound();
  round->PutValue(kMetadataGroup, "metadata.snapshot.000000",
                  std::string(EncodeSnapshot({std::move(image).Build(), raft::Offset(3)})));
  round->Reset(kMetadataGroup, {.before = {raft::Term(2), raft::LogIndex(6)}, .end_offset = raft::Offset(3)});
  ASSERT_TRUE(store.Write(*round).ok());
  const auto log = MetadataLog::Load(store, executor.clock(), {});
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ((*log)->applied(), raft::LogIndex(6));

  round->Reset(kMetadataGroup, {.before = {raft::Term(2), raft::LogIndex(6)}, .end_offset = raft::Offset(4)});
  ASSERT_TRUE(store.Write(*round).ok());
  EXPECT_EQ(MetadataLog::Load(store, executor.clock(), {}).status().code(), absl::StatusCode::kDataLoss)
      << "there was a record in it";
}

TEST(MetadataLog, StopsAtWhatANewerReleaseWrote) {
  MetadataCluster cluster(3, {});
  Fill(cluster, 1, 2);
  Node& controller = cluster.AwaitController();
  MetadataRecords records = NewTopic("t", 7);
  records.add_records();  // of a kind that is not known here
  const auto outcome = Propose(controller, records);
  cluster.Settle();
  cluster.Tick();
  ASSERT_TRUE(outcome->has_value());
  EXPECT_TRUE(MayHaveHappened(**outcome));
  for (int broker = 1; broker <= 3; ++broker) {
    Node& node = cluster.node(broker);
    EXPECT_EQ(node.fatal.code(), absl::StatusCode::kUnimplemented) << broker;
    EXPECT_THAT(std::string(node.fatal.message()), HasSubstr("start that release"));
    EXPECT_EQ(node.image().FindTopic("t"), nullptr) << "all of an entry or nothing";
    EXPECT_EQ(node.image().topics().size(), 2u);
    EXPECT_FALSE(node.log->is_controller());
  }
}

TEST(MetadataLog, StopsAtADamagedEntry) {
  MetadataCluster cluster(1, {});
  Fill(cluster, 1, 3);
  Node& node = cluster.node(1);
  const raft::LogIndex last = node.image().version();
  cluster.Crash(node, FakeLogStore::kKeepUnsynced);
  node.disk.ChangePayload(kMetadataGroup, last, [](std::string& payload) { payload[3] ^= 1; });
  ASSERT_TRUE(cluster.Start(node).ok());
  cluster.Tick(40);
  EXPECT_EQ(node.fatal.code(), absl::StatusCode::kDataLoss) << node.fatal;
  EXPECT_EQ(node.image().version(), last - 1);
}

TEST(MetadataLog, IsMadeOnce) {
  FakeLogStore store;
  const raft::ReplicaSet members = {{raft::BrokerId(1), 7}};
  ASSERT_TRUE(MakeMetadataLog(store, members).ok());
  EXPECT_TRUE(MakeMetadataLog(store, members).ok()) << "a crash came in between";
  const auto round = store.NewRound();
  round->SetTermAndVote(kMetadataGroup, {.term = raft::Term(1)});
  ASSERT_TRUE(store.Write(*round).ok());
  EXPECT_EQ(MakeMetadataLog(store, members).code(), absl::StatusCode::kFailedPrecondition);
}

// ---- Lives of brokers that crash, lose what they did not sync, are cut off, and save snapshots all the while.

class RandomLife {
 public:
  explicit RandomLife(uint64_t seed)
      : random_(seed), cluster_(3, {.entries_per_snapshot = 1 + random_.UpTo(30), .seed = seed}) {}

  void Run() {
    for (int step = 0; step < 1000; ++step) Step();
    for (int broker = 1; broker <= cluster_.size(); ++broker) {
      Node& node = cluster_.node(broker);
      node.cut_off = false;
      if (!node.running()) Start(node);
    }
    cluster_.Tick(40);  // who was cut off may still think that it leads
    Node& controller = cluster_.AwaitController();
    const auto outcome = Propose(controller, random_.Step(controller.image()));
    cluster_.Tick(40);
    EXPECT_TRUE(outcome->has_value() && (*outcome)->ok())
        << outcome->value_or(absl::UnavailableError("no answer")) << "\n"
        << controller.driver->core().Dump();
    cluster_.ExpectEqualImages();
    CheckOutcomes(controller.image());
    for (int broker = 1; broker <= cluster_.size(); ++broker) installs += cluster_.node(broker).installs;
  }

  int crashes = 0;
  int installs = 0;
  int acked = 0;
  int unknown = 0;

 private:
  Node& Any() { return cluster_.node(1 + random_.UpTo(cluster_.size())); }

  void Step() {
    Node& node = Any();
    const int32_t choice = random_.UpTo(100);
    if (!node.running()) {
      if (choice < 20) Start(node);
    } else if (choice < 2) {
      ++crashes;
      deciding_.erase(&node);
      cluster_.Crash(node, static_cast<size_t>(random_.UpTo(4)));
    } else if (choice < 4) {
      node.cut_off = true;
    } else if (choice < 12) {
      node.cut_off = false;
    } else if (choice < 25) {
      node.driver->core().Tick();
    } else if (choice < 35) {
      cluster_.Tick(1);
    } else if (choice < 37) {
      node.disk.DropCache();
    } else {
      if (node.log->is_controller()) Decide(node);
      cluster_.Pass([this](int) { return random_.UpTo(3) > 0; });
    }
  }

  void Start(Node& node) {
    const absl::Status status = cluster_.Start(node);
    EXPECT_TRUE(status.ok()) << node.id << ": " << status;
  }

  // One at a time, as each rests on the image. Each has its own mark, besides what it changes.
  void Decide(Node& node) {
    if (!deciding_.insert(&node).second) return;
    MetadataRecords records = random_.Step(node.image());
    const std::string mark = "mark" + std::to_string(marks_.size());
    *records.add_records() = TopicRecord(1'000'000'000 + marks_.size(), mark);
    const size_t number = marks_.size();
    marks_.emplace_back(mark, std::nullopt);
    node.log->Propose(records, [this, number, &node](const absl::Status& status) {
      deciding_.erase(&node);
      EXPECT_FALSE(marks_[number].second.has_value()) << "answered twice";
      marks_[number].second = status;
    });
  }

  // Marks may be removed as any topic. Their group of changes is not looked for, but that a change that failed never appears.
  void CheckOutcomes(const MetadataImage& image) {
    for (const auto& [mark, status] : marks_) {
      if (!status || MayHaveHappened(*status)) {
        ++unknown;
      } else if (status->ok()) {
        ++acked;
      } else {
        EXPECT_EQ(image.FindTopic(mark), nullptr) << *status;
      }
    }
  }

  RandomMetadata random_;
  MetadataCluster cluster_;
  std::set<const Node*> deciding_;
  std::vector<std::pair<std::string, std::optional<absl::Status>>> marks_;
};

TEST(MetadataLog, RandomLivesEndWithTheSameImage) {
  int crashes = 0, installs = 0, acked = 0, unknown = 0;
  for (uint64_t seed : Seeds(60)) {
    SCOPED_TRACE(testing::Message() << "MILLRACE_SEED=" << seed);
    RandomLife life(seed);
    life.Run();
    if (HasFailure()) return;
    crashes += life.crashes;
    installs += life.installs;
    acked += life.acked;
    unknown += life.unknown;
  }
  std::cout << crashes << " crashes, " << installs << " snapshots sent, " << acked << " acked, " << unknown
            << " unknown\n";
  EXPECT_GT(crashes, 100);
  EXPECT_GT(installs, 0);
  EXPECT_GT(acked, 500);
  EXPECT_GT(unknown, 0);
}

}  // namespace
}  // namespace millrace::server
