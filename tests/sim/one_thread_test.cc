// Goal: a producer, a broker and a consumer keep their promises over broken connections, stalls of the store, process crashes and
// power cuts.
// Method: the real logic of all three in one thread, on a clock, network and disk that a seed drives. Repeat a run with
// MILLRACE_SEED=N; MILLRACE_SEEDS=N runs more of them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client/consumer_core.h"
#include "client/consumer_reader.h"
#include "client/producer_core.h"
#include "millrace/v1/admin.pb.h"
#include "tests/support/sim_broker.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kTopic[] = "t";
constexpr int32_t kPartitions = 3;

class World : public client::ConsumerReader::Core {
 public:
  explicit World(uint64_t seed)
      : random_(seed),
        disk_([this](FakeLogStore::Task task) { executor_.After(milliseconds(1 + Pick(4)), std::move(task)); }),
        broker_(executor_, network_, disk_) {
    CreateTopic();
    const client::ClientEnvironment env{executor_.clock(), executor_, random_, network_};
    producer_ =
        std::make_unique<client::ProducerCore>(env, producer_options_, std::vector<std::string>{broker_.address()});
    consumer_ = std::make_unique<client::ConsumerCore>(env, consumer_options_,
                                                       std::vector<std::string>{broker_.address()}, queue_);
    reader_ = std::make_unique<client::ConsumerReader>(consumer_options_, queue_, this);
    producer_->EnsureTopic(kTopic);
    Assign();
  }

  ~World() override {
    producer_->Stop();
    producer_.reset();
    reader_.reset();
    consumer_.reset();
    executor_.Advance(seconds(1));
  }

  void Step() {
    switch (Pick(20)) {
      case 0:
        network_.Break(broker_.address());
        break;
      case 1:
        Crash(FakeLogStore::kKeepUnsynced);
        break;
      case 2:
        Crash(FakeLogStore::kLoseUnsynced);
        break;
      case 3:
        Crash(Pick(disk_.unsynced_writes() + 1));
        break;
      case 4:
        executor_.Advance(seconds(Pick(5)));
        break;
      case 5:
        disk_.DropCache();
        break;
      case 6:
        disk_.Stall();
        for (uint64_t n = Pick(8); n > 0; --n) Send();
        executor_.Advance(milliseconds(Pick(200)));
        disk_.EndStall();
        break;
      default:
        for (uint64_t n = Pick(8); n > 0; --n) Send();
        executor_.Advance(milliseconds(Pick(6)));
    }
    Consume();
  }

  // Everything works again; what is under way must come to an end.
  void Settle() {
    for (int i = 0; i < 60; ++i) {
      executor_.Advance(seconds(1));
      Consume();
    }
  }

  void Check() const {
    std::map<int32_t, std::vector<std::string>> stored;
    for (const auto& [partition, records] : consumed_) {
      int64_t expected = 0;
      for (const auto& [offset, value] : records) {
        EXPECT_EQ(offset, expected++) << "partition " << partition << " has a hole or a double";
        stored[partition].push_back(value);
      }
    }
    for (int32_t partition = 0; partition < kPartitions; ++partition) {
      EXPECT_EQ(stored[partition], sent_[partition]) << "partition " << partition;
    }
    EXPECT_EQ(failed_, 0) << "deliveries that failed although the broker came back in time";
    EXPECT_EQ(acked_, total_);
    for (const auto& [where, value] : acked_at_) {
      const auto& records = consumed_.at(where.first);
      ASSERT_LT(static_cast<size_t>(where.second), records.size());
      EXPECT_EQ(records[where.second].second, value) << "acked at an offset that holds something else";
    }
  }

  int64_t acked() const { return acked_; }
  int crashes() const { return crashes_; }

 private:
  uint64_t Pick(uint64_t below) { return random_.Next() % below; }

  void CreateTopic() {
    v1::CreateTopicRequest request;
    request.set_name(kTopic);
    request.set_partitions(kPartitions);
    network_.Call(broker_.address(), "/millrace.v1.Admin/CreateTopic", absl::Cord(request.SerializeAsString()),
                  seconds(10), [](CallReply reply) { EXPECT_TRUE(reply.end.status.ok()) << reply.end.status; });
    executor_.Advance(milliseconds(50));
  }

  void Assign() {
    const std::vector<Assignment> assignments{
        {.topic = kTopic, .partition = std::nullopt, .from = Position::Beginning(), .until = std::nullopt}};
    bool done = false;
    consumer_->Resolve(assignments, [&](absl::StatusOr<client::ConsumerCore::Partitions> partitions) {
      ASSERT_TRUE(partitions.ok()) << partitions.status();
      reader_->Assign(assignments, *partitions, executor_.clock().Wall());
      consumer_->Start(assignments, *partitions);
      done = true;
    });
    executor_.Advance(seconds(1));
    EXPECT_TRUE(done);
  }

  void Send() {
    const int32_t partition = static_cast<int32_t>(Pick(kPartitions));
    const std::string value = "record " + std::to_string(total_);
    RecordView record;
    record.timestamp = executor_.clock().Wall();
    record.value = value;
    DeliveryCallback callback = [this, partition, value](const absl::StatusOr<RecordMetadata>& result) {
      if (!result.ok()) {
        ++failed_;
        ADD_FAILURE() << value << ": " << result.status();
        return;
      }
      ++acked_;
      acked_at_[{partition, result->offset}] = value;
    };
    absl::Status refusal;
    const auto outcome = producer_->accumulator().Append({.topic = kTopic, .partition = partition, .record = record},
                                                         &callback, &refusal);
    ASSERT_EQ(outcome, client::RecordAccumulator::Outcome::kTaken) << refusal;
    sent_[partition].push_back(value);
    ++total_;
  }

  void Consume() {
    executor_.RunUntilIdle();
    while (auto news = reader_->Next()) {
      ASSERT_TRUE(news->ok()) << news->status();
      EXPECT_TRUE((*news)->gaps.empty()) << "nothing durable was ever lost";
      for (const ConsumerRecord& record : (*news)->records) {
        consumed_[record.partition].emplace_back(record.offset, std::string(record.value.value_or("")));
      }
      executor_.RunUntilIdle();
    }
  }

  void Crash(size_t kept) {
    ++crashes_;
    broker_.Crash(kept);
    executor_.Advance(milliseconds(Pick(3000)));
    broker_.Start();
  }

  void Reposition(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation,
                  Position position) override {
    executor_.Post([=, this] { consumer_->Reposition(partition, generation, position); });
  }
  void Halt(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) override {
    executor_.Post([=, this] { consumer_->Halt(partition, generation); });
  }
  void Add(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation, Position position) override {
    executor_.Post([=, this] { consumer_->Add(partition, generation, position); });
  }
  void Remove(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) override {
    executor_.Post([=, this] { consumer_->Remove(partition, generation); });
  }
  void GrantCredit() override {
    executor_.Post([this] { consumer_->GrantCredit(); });
  }

  SimRandom random_;
  SimExecutor executor_;
  SimNetwork network_{executor_};
  FakeLogStore disk_;
  SimBroker broker_;
  ProducerOptions producer_options_;
  ConsumerOptions consumer_options_;
  client::FetchQueue queue_;
  std::unique_ptr<client::ProducerCore> producer_;
  std::unique_ptr<client::ConsumerCore> consumer_;
  std::unique_ptr<client::ConsumerReader> reader_;

  int64_t total_ = 0;
  int64_t acked_ = 0;
  int failed_ = 0;
  int crashes_ = 0;
  std::vector<std::string> sent_[kPartitions];
  std::map<std::pair<int32_t, int64_t>, std::string> acked_at_;
  std::map<int32_t, std::vector<std::pair<int64_t, std::string>>> consumed_;
};

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

TEST(OneThread, NothingAckedIsLostNothingIsTwiceAndOrderHolds) {
  const uint64_t first = FromEnvironment("MILLRACE_SEED", 1);
  const uint64_t count = FromEnvironment("MILLRACE_SEEDS", std::getenv("MILLRACE_SEED") != nullptr ? 1 : 60);
  int64_t acked = 0;
  int crashes = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("repeat with MILLRACE_SEED=" + std::to_string(seed));
    World world(seed);
    for (int step = 0; step < 120; ++step) world.Step();
    world.Settle();
    world.Check();
    acked += world.acked();
    crashes += world.crashes();
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(acked, 0);
  EXPECT_GT(crashes, 0) << "no crash: this proves nothing";
}

}  // namespace
}  // namespace millrace
