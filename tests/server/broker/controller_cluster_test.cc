// The controller of several brokers, on a log that does what the test says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "server/controller.h"
#include "server/errors.h"
#include "server/identity.h"
#include "tests/server/broker/metadata_records.h"
#include "tests/support/sim_executor.h"

namespace millrace::server {
namespace {

using raft::BrokerId;
using raft::ReplicaId;
using ::testing::HasSubstr;
using v1::Error;

class ScriptedMetadata : public MetadataProposer {
 public:
  const std::shared_ptr<const MetadataImage>& image() const override { return image_; }

  void Propose(const MetadataRecords& records, Done done) override {
    ++proposals;
    if (!refuse.ok()) return done(refuse);
    if (hold) {
      held = [this, records, done](const absl::Status& status) { Finish(records, done, status); };
    } else {
      Finish(records, done, absl::OkStatus());
    }
  }

  int proposals = 0;
  absl::Status refuse;
  bool hold = false;
  Done held;

 private:
  void Finish(const MetadataRecords& records, const Done& done, const absl::Status& status) {
    if (status.ok()) image_ = After(*image_, {records.records().begin(), records.records().end()});
    done(status);
  }

  std::shared_ptr<const MetadataImage> image_ = std::make_shared<const MetadataImage>(TopicConfig());
};

class ControllerOfSeveral : public ::testing::Test {
 protected:
  static ReplicaId Disk(int64_t broker) { return {BrokerId(broker), 100u + static_cast<uint64_t>(broker)}; }
  static BrokerInfo Info(ReplicaId id, const std::string& rack = "") {
    return {id, "host" + std::to_string(id.broker.value()) + ":9470", rack, kFeatureLevels, "0.1.0"};
  }

  void Begin() {
    controller_.Begin({"abc", {Disk(1), Disk(2), Disk(3)}}, [](const ErrorFrame& error) { EXPECT_TRUE(error.ok()); });
  }
  ErrorFrame Register(const BrokerInfo& broker, BrokerId* id = nullptr) {
    ErrorFrame result;
    controller_.RegisterBroker(broker, [&](const ErrorFrame& error, BrokerId registered) {
      result = error;
      if (id != nullptr) *id = registered;
    });
    return result;
  }
  void RegisterThree() {
    for (int64_t broker = 1; broker <= 3; ++broker) EXPECT_TRUE(Register(Info(Disk(broker))).ok());
  }
  ErrorFrame Create(const std::string& name, int32_t partitions = 1, int32_t replicas = 0) {
    ErrorFrame result;
    result.code = -1;
    controller_.CreateTopic({.name = name, .partitions = partitions, .replication_factor = replicas},
                            [&](const ErrorFrame& error, const CreatedTopic&) { result = error; });
    return result;
  }

  SimExecutor executor_;
  SimRandom random_{1};
  DiskFloor disk_floor_{executor_.clock(), [] { return DiskSpace{}; }, 0};
  ScriptedMetadata metadata_;
  std::set<BrokerId> dead_;
  Controller controller_{
      {.is_alive = [this](ReplicaId id) { return !dead_.contains(id.broker); }}, metadata_, random_, disk_floor_};
};

TEST_F(ControllerOfSeveral, TheFirstOneWritesWhichClusterItIs) {
  Begin();
  EXPECT_EQ(metadata_.image()->cluster_id(), "abc");
  EXPECT_EQ(metadata_.image()->founders(), raft::ReplicaSet({Disk(1), Disk(2), Disk(3)}));
  EXPECT_EQ(metadata_.image()->feature_level(), kFeatureLevels.max);
  const int proposals = metadata_.proposals;
  Begin();
  EXPECT_EQ(metadata_.proposals, proposals) << "a later one finds it";
}

TEST_F(ControllerOfSeveral, ABrokerIsRegisteredOnce) {
  Begin();
  EXPECT_TRUE(Register(Info(Disk(2), "r1")).ok());
  const int proposals = metadata_.proposals;
  EXPECT_TRUE(Register(Info(Disk(2), "r1")).ok());
  EXPECT_EQ(metadata_.proposals, proposals);
  EXPECT_TRUE(Register(Info(Disk(2), "r2")).ok());
  EXPECT_EQ(metadata_.image()->FindBroker(BrokerId(2))->rack, "r2");
}

TEST_F(ControllerOfSeveral, ABrokerWithAnotherDiskIsNotTakenByItself) {
  Begin();
  RegisterThree();
  const ErrorFrame error = Register(Info({BrokerId(2), 999}));
  EXPECT_EQ(error.code, Error::INVALID_REQUEST);
  EXPECT_THAT(error.message, HasSubstr("broker 2 is known with another disk, at host2:9470"));
  EXPECT_THAT(error.message, HasSubstr(kLostDiskRemedy));
  EXPECT_TRUE(metadata_.image()->Counts(Disk(2)));
}

TEST_F(ControllerOfSeveral, AnOlderCopyOfABrokersDirectoryIsNotTaken) {
  Begin();
  BrokerInfo broker = Info(Disk(2));
  broker.session = 51;
  broker.starts = 7;
  EXPECT_TRUE(Register(broker).ok());
  EXPECT_TRUE(Register(broker).ok());
  broker.session = 52;
  const ErrorFrame refused = Register(broker);
  EXPECT_EQ(refused.code, Error::INVALID_REQUEST);
  EXPECT_THAT(refused.message, HasSubstr("is an older copy of what it was"));
  broker.starts = 8;
  EXPECT_TRUE(Register(broker).ok());
}

TEST_F(ControllerOfSeveral, ABrokerWithoutANumberGetsOneAndKeepsIt) {
  Begin();
  EXPECT_TRUE(Register(Info(Disk(1))).ok());
  BrokerId first, again, second;
  EXPECT_TRUE(Register(Info({kNoBrokerId, 555}), &first).ok());
  EXPECT_EQ(first, BrokerId(4)) << "above the founders, registered or not";
  EXPECT_TRUE(Register(Info({kNoBrokerId, 555}), &again).ok());
  EXPECT_EQ(again, first) << "the answer may have been lost";
  EXPECT_TRUE(Register(Info({kNoBrokerId, 556}), &second).ok());
  EXPECT_EQ(second, BrokerId(5));
  EXPECT_TRUE(metadata_.image()->Counts({first, 555}));
}

TEST_F(ControllerOfSeveral, ABrokerThatDoesNotSpeakTheClustersLevelIsRefused) {
  Begin();
  BrokerInfo newer = Info(Disk(2));
  newer.feature_levels = {kFeatureLevels.max + 1, kFeatureLevels.max + 1};
  EXPECT_EQ(Register(newer).code, Error::UNSUPPORTED_VERSION);
}

// A founder that has not registered yet is one of them: a topic that is made meanwhile would never get its third replica.
TEST_F(ControllerOfSeveral, ATopicHasThreeReplicasWhereThereAreThreeBrokers) {
  Begin();
  EXPECT_TRUE(Register(Info(Disk(1))).ok());
  EXPECT_TRUE(Register(Info(Disk(2))).ok());
  EXPECT_EQ(Create("two").code, Error::NOT_ENOUGH_REPLICAS);
  EXPECT_TRUE(Register(Info(Disk(3))).ok());
  EXPECT_TRUE(Create("three", 6).ok());
  const auto topic = metadata_.image()->FindTopic("three");
  EXPECT_EQ(topic->replication_factor, 3);
  std::map<ReplicaId, int> leads;
  for (const PartitionInfo& partition : topic->partitions) {
    EXPECT_EQ(std::set(partition.replicas.begin(), partition.replicas.end()), std::set({Disk(1), Disk(2), Disk(3)}));
    ++leads[partition.replicas.front()];
  }
  EXPECT_EQ(leads.size(), 3u);
}

TEST_F(ControllerOfSeveral, MoreReplicasThanLivingBrokersAreRefused) {
  Begin();
  RegisterThree();
  ErrorFrame error = Create("t", 1, 4);
  EXPECT_EQ(error.code, Error::INVALID_REPLICATION_FACTOR);
  EXPECT_EQ(error.topic, "t");
  EXPECT_EQ(error.message, "asked for 4 replicas, but the cluster has 3 brokers; use --replication-factor 3");
  dead_ = {BrokerId(2)};
  error = Create("t");
  EXPECT_EQ(error.code, Error::NOT_ENOUGH_REPLICAS);
  EXPECT_TRUE(error.retriable);
  EXPECT_THAT(error.message, HasSubstr("the cluster has 2 of 3 alive; start the brokers that are down"));
  EXPECT_EQ(metadata_.image()->FindTopic("t"), nullptr);
  EXPECT_TRUE(Create("t", 4, 1).ok());
  for (const PartitionInfo& partition : metadata_.image()->FindTopic("t")->partitions) {
    EXPECT_NE(partition.replicas.front(), Disk(2));
  }
}

TEST_F(ControllerOfSeveral, NewPartitionsHaveAsManyReplicasAsTheOthers) {
  Begin();
  RegisterThree();
  EXPECT_TRUE(Create("t", 2, 2).ok());
  controller_.AddPartitions("t", 5, [](const ErrorFrame& error) { EXPECT_TRUE(error.ok()) << error.message; });
  const auto topic = metadata_.image()->FindTopic("t");
  ASSERT_EQ(topic->partitions.size(), 5u);
  for (const PartitionInfo& partition : topic->partitions) EXPECT_EQ(partition.replicas.size(), 2u);
}

TEST_F(ControllerOfSeveral, SaysWhetherAFailedChangeMayHaveHappened) {
  Begin();
  RegisterThree();
  const std::vector<std::pair<absl::Status, ErrorCode>> refusals = {
      {absl::FailedPreconditionError("not the controller"), Error::NOT_LEADER_OR_FOLLOWER},
      {absl::UnavailableError("being handed over"), Error::LEADER_NOT_AVAILABLE},
      {absl::ResourceExhaustedError("too much"), Error::NOT_ENOUGH_REPLICAS}};
  for (const auto& [status, code] : refusals) {
    metadata_.refuse = status;
    const ErrorFrame error = Create("t");
    EXPECT_EQ(error.code, code) << status;
    EXPECT_TRUE(error.retriable);
    EXPECT_FALSE(error.may_have_happened);
  }
  metadata_.refuse = absl::UnknownError("the leadership was lost");
  const ErrorFrame error = Create("t");
  EXPECT_EQ(error.code, Error::REQUEST_TIMED_OUT);
  EXPECT_TRUE(error.may_have_happened);
}

TEST_F(ControllerOfSeveral, EachDecisionRestsOnTheOneBefore) {
  Begin();
  RegisterThree();
  metadata_.hold = true;
  std::vector<ErrorCode> results;
  const auto create = [&](const std::string& name) {
    controller_.CreateTopic({.name = name}, [&](const ErrorFrame& error, const CreatedTopic&) {
      results.push_back(static_cast<ErrorCode>(error.code));
    });
  };
  create("t");
  create("t");
  EXPECT_TRUE(results.empty()) << "the second waits for the first";
  metadata_.held(absl::OkStatus());
  EXPECT_EQ(results, std::vector<ErrorCode>({Error::NONE, Error::TOPIC_ALREADY_EXISTS}));
  create("u");
  create("u");
  metadata_.hold = false;
  metadata_.held(absl::UnknownError("lost"));
  EXPECT_EQ(results.back(), Error::NONE) << "the second found that the first has not happened";
}

// Thousands may wait when the leadership goes, and each is refused at once.
TEST_F(ControllerOfSeveral, ALongQueueIsAnsweredInALoop) {
  Begin();
  RegisterThree();
  metadata_.hold = true;
  int failed = 0;
  for (int i = 0; i < 100'000; ++i) {
    controller_.CreateTopic({.name = "t" + std::to_string(i)},
                            [&](const ErrorFrame& error, const CreatedTopic&) { failed += error.ok() ? 0 : 1; });
  }
  metadata_.refuse = absl::FailedPreconditionError("not the controller");
  metadata_.held(absl::UnknownError("lost"));
  EXPECT_EQ(failed, 100'000);
}

TEST_F(ControllerOfSeveral, ANewControllerGivesOutOtherProducerIds) {
  Begin();
  int64_t before = 0, after = 0;
  controller_.NewProducerId([&](const ErrorFrame&, int64_t id) { before = id; });
  Begin();
  controller_.NewProducerId([&](const ErrorFrame&, int64_t id) { after = id; });
  EXPECT_GE(after, before + 999) << "another broker may have used the rest of the block";
}

struct Given {
  ErrorFrame error;
  int64_t id = 0;
  int32_t epoch = 0;
  bool operator==(const Given& other) const { return id == other.id && epoch == other.epoch; }
};

class ProducerNames : public ControllerOfSeveral {
 protected:
  ProducerNames() { Begin(); }
  Given Init(const std::string& name, uint64_t session, const Given& latest = {}) {
    Given given;
    controller_.InitNamedProducer({name, session, latest.id, latest.epoch},
                                  [&given](const ErrorFrame& error, int64_t id, int32_t epoch) {
                                    given = {error, id, epoch};
                                  });
    return given;
  }
};

TEST_F(ProducerNames, ARepeatedRequestChangesNothing) {
  const Given first = Init("n", 1);
  EXPECT_EQ(first.epoch, kEpochsRaised);
  const int proposals = metadata_.proposals;
  EXPECT_EQ(Init("n", 1), first);
  EXPECT_EQ(metadata_.proposals, proposals);
  const Given next = Init("n", 1, first);
  EXPECT_EQ(next, (Given{{}, first.id, 2 * kEpochsRaised})) << "it has used up its own";
  EXPECT_EQ(Init("n", 1, first), next) << "and asked again";
  EXPECT_EQ(Init("n", 0).epoch, 3 * kEpochsRaised);
  EXPECT_EQ(Init("n", 0).epoch, 4 * kEpochsRaised) << "without a session each is another producer";
}

TEST_F(ProducerNames, ANewControllerGoesOnWhereTheLastOneEnded) {
  const Given first = Init("n", 1);
  Begin();
  EXPECT_EQ(Init("n", 2), (Given{{}, first.id, 2 * kEpochsRaised}));
  EXPECT_EQ(Init("n", 1, first).error.code, Error::INVALID_PRODUCER_EPOCH);
}

TEST_F(ProducerNames, WhoeverHadTheLastEpochOfAnIdIsFenced) {
  const Given first = Init("n", 1);
  Given last = first;
  uint64_t session = 1;
  for (Given next = first; next.id == first.id; next = Init("n", ++session)) last = next;
  EXPECT_GT(last.epoch, 1 << 30);
  ASSERT_NE(metadata_.image()->EpochOfNamed(first.id), nullptr);
  EXPECT_GT(*metadata_.image()->EpochOfNamed(first.id) / kEpochsRaised, last.epoch / kEpochsRaised);
  EXPECT_EQ(Init("n", ++session).epoch, 2 * kEpochsRaised) << "of the new id";
  EXPECT_NE(metadata_.image()->EpochOfNamed(first.id), nullptr) << "as long as the name is known";
}

TEST_F(ProducerNames, TheOneUsedLongestAgoIsForgotten) {
  const auto name = [](size_t i) { return "n" + std::to_string(i); };
  std::vector<Given> given;
  for (size_t i = 0; i < Controller::kProducerNamesMax; ++i) given.push_back(Init(name(i), i + 1));
  EXPECT_EQ(Init(name(0), 1'000'000).epoch, 2 * kEpochsRaised);
  EXPECT_EQ(Init("one more", 1).epoch, kEpochsRaised);
  EXPECT_EQ(metadata_.image()->named_producers().size(), Controller::kProducerNamesMax);
  EXPECT_EQ(metadata_.image()->EpochOfNamed(given[1].id), nullptr);
  EXPECT_NE(metadata_.image()->EpochOfNamed(given[0].id), nullptr);
}

}  // namespace
}  // namespace millrace::server
