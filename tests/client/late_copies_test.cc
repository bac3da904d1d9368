// One partition's sender against the table that brokers judge it by, with everything between them at its worst: streams break,
// copies of batches stay on the way for as long as they like and arrive in any order, batches are given up on, leaders change
// and lose what was not committed. From a seed; MILLRACE_SEEDS says how many.

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client/partition_sender.h"
#include "client/record_accumulator.h"
#include "millrace/v1/error.pb.h"
#include "server/producer_table.h"
#include "tests/support/sim_executor.h"

namespace millrace::client {
namespace {

using server::ProducerTable;

class LateCopies {
 public:
  explicit LateCopies(uint64_t seed)
      : random_(seed),
        giving_up_(OneIn(2) ? 10 + Below(100) : 1'000'000),
        sender_(&queue_, {}, Backoff(random_, std::chrono::milliseconds(1), std::chrono::milliseconds(1))) {}

  void Run() {
    for (int i = 0; i < 400 && !testing::Test::HasFailure(); ++i) Step();
    for (int i = 0; i < 1000 && !sender_.unacked().empty(); ++i) Heal();
    EXPECT_TRUE(sender_.unacked().empty()) << "still trying " << sender_.last_error().message;
    CommitAll();
    for (const int64_t batch : log_) EXPECT_FALSE(failed_.contains(batch)) << batch << " was said not to be stored";
    for (const int64_t batch : acked_) EXPECT_TRUE(std::ranges::count(log_, batch) == 1) << batch << " was acked";
  }

  static int64_t epochs_raised;

 private:
  struct Copy {
    ProducerBatch* batch;  // null: nobody waits for the answer
    int64_t number;
    BatchHeader header;
  };
  struct Reply {
    Copy copy;
    ErrorFrame error = {};
  };

  uint64_t Below(uint64_t n) { return random_.Next() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  void Step() {
    switch (Below(8)) {
      case 0:
      case 1:
        if (sender_.room() > 0) Send({sender_.Start(NewBatch(), identity_)});
        break;
      case 2:
        if (!late_.empty()) ArriveLate();
        break;
      case 3:
        CommitAll();
        break;
      case 4:
        if (OneIn(4)) BreakStream();
        break;
      case 5:
        if (OneIn(8)) ChangeLeader();
        break;
      default:
        Arrive(!OneIn(10));
    }
    if (OneIn(giving_up_) && !sender_.unacked().empty()) GiveUp();
    Retry();
  }

  void Heal() {
    Arrive(true);
    CommitAll();
    Retry();
  }

  std::unique_ptr<ProducerBatch> NewBatch() {
    auto batch = std::make_unique<ProducerBatch>(&queue_, Codec::kNone, std::chrono::nanoseconds(0), 0, 100);
    const int64_t records = 1 + static_cast<int64_t>(Below(3));
    for (int64_t i = 0; i < records; ++i) {
      batch->Add({.timestamp = next_number_, .key = std::nullopt, .value = "v", .headers = {}}, nullptr);
    }
    ++next_number_;
    return batch;
  }

  void Send(const std::vector<ProducerBatch*>& batches) {
    for (ProducerBatch* batch : batches) {
      const BatchHeader header = ParseBatch(batch->bytes())->header;
      epochs_raised += header.producer_epoch > highest_epoch_ ? 1 : 0;
      highest_epoch_ = std::max(highest_epoch_, header.producer_epoch);
      stream_.push_back({batch, header.base_timestamp, header});
    }
  }

  // In one request, or in the next of several.
  void Retry() {
    if (!sender_.restarting() && (!sender_.retry_wanted() || sender_.in_flight() > 0)) return;
    if (sender_.refused_identity()) ADD_FAILURE() << "the id is known";
    Send(sender_.Restart(identity_, 1 + Below(400)));
  }

  // The next of the present stream, judged or refused for another reason.
  void Arrive(bool judged) {
    if (stream_.empty()) return;
    const Copy copy = stream_.front();
    stream_.pop_front();
    if (judged) return Judge(copy);
    Answer(copy, {.code = v1::Error::NOT_LEADER_OR_FOLLOWER, .retriable = true});
  }

  void ArriveLate() {
    const size_t i = Below(late_.size());
    Copy copy = late_[i];
    late_.erase(late_.begin() + static_cast<int64_t>(i));
    Judge(copy);
  }

  void Judge(const Copy& copy) {
    const ProducerTable::Verdict verdict = table_.Check(copy.header);
    ErrorFrame error{.producer_epoch = verdict.current_epoch, .expected_sequence = verdict.expected_sequence};
    switch (verdict.kind) {
      case ProducerTable::Verdict::kAppend:
        EXPECT_LT(log_.empty() ? 0 : log_.back(), copy.number) << "stored behind a later one, or twice";
        log_.push_back(copy.number);
        table_.Update(copy.header, raft::Offset(static_cast<int64_t>(log_.size())), 0);
        [[fallthrough]];
      case ProducerTable::Verdict::kDuplicate:
        return waiting_.push_back({copy});
      case ProducerTable::Verdict::kOldDuplicate:
        error.code = v1::Error::DUPLICATE_SEQUENCE_NUMBER;
        break;
      case ProducerTable::Verdict::kOutOfOrder:
        error.code = v1::Error::OUT_OF_ORDER_SEQUENCE_NUMBER;
        break;
      case ProducerTable::Verdict::kFenced:
        error.code = v1::Error::INVALID_PRODUCER_EPOCH;
        break;
      case ProducerTable::Verdict::kUnknown:
        error.code = v1::Error::UNKNOWN_PRODUCER_ID;
        break;
    }
    waiting_.push_back({copy, error});  // for what it rests on to be committed
  }

  void Answer(const Copy& copy, const ErrorFrame& error) {
    if (copy.batch == nullptr) return;
    switch (sender_.OnAnswer(copy.batch, error)) {
      case PartitionSender::Verdict::kStored:
        acked_.insert(copy.number);
        sender_.Remove(copy.batch);
        break;
      case PartitionSender::Verdict::kFailed:
        if (!sender_.last_error().may_have_happened) failed_.insert(copy.number);
        sender_.Remove(copy.batch);
        break;
      case PartitionSender::Verdict::kRetry:
        break;
    }
  }

  void CommitAll() {
    committed_log_ = log_;
    committed_table_ = table_;
    for (const Reply& ack : std::exchange(waiting_, {})) Answer(ack.copy, ack.error);
  }

  void ChangeLeader() {
    log_ = committed_log_;
    table_ = committed_table_;
    BreakStream();
  }

  // What was on it may arrive all the same, even what had arrived before the leader changed.
  void BreakStream() {
    for (Reply& ack : std::exchange(waiting_, {})) Lose(ack.copy);
    for (const Copy& copy : std::exchange(stream_, {})) Lose(copy);
  }

  void Lose(Copy copy) {
    ProducerBatch* const batch = std::exchange(copy.batch, nullptr);
    if (!OneIn(3)) late_.push_back(copy);
    if (batch != nullptr) sender_.OnLost(batch, {.code = ErrorCode::kNetworkException, .retriable = true});
  }

  void GiveUp() {
    ProducerBatch* const batch = sender_.unacked().front().get();
    const int64_t number = ParseBatch(batch->bytes())->header.base_timestamp;
    if (!batch->maybe_stored && !batch->in_flight) failed_.insert(number);
    for (Copy& copy : stream_) {
      if (copy.batch == batch) copy.batch = nullptr;
    }
    for (Reply& ack : waiting_) {
      if (ack.copy.batch == batch) ack.copy.batch = nullptr;
    }
    sender_.Remove(batch);
  }

  SimRandom random_;
  const uint64_t giving_up_;
  PartitionQueue queue_;
  PartitionSender sender_;
  const control::ProducerIdentity identity_{.id = 7, .epoch = 0};
  int32_t highest_epoch_ = 0;
  int64_t next_number_ = 1;

  ProducerTable table_, committed_table_;
  std::vector<int64_t> log_, committed_log_;
  std::deque<Copy> stream_;
  std::vector<Copy> late_;
  std::vector<Reply> waiting_;
  std::set<int64_t> acked_, failed_;
};

int64_t LateCopies::epochs_raised = 0;

TEST(LateCopies, NothingIsStoredTwiceOrBehindWhatWasSentLater) {
  const char* const seeds = std::getenv("MILLRACE_SEEDS");
  const int64_t count = seeds != nullptr ? std::atoll(seeds) : 16'000;
  for (int64_t seed = 1; seed <= count && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    LateCopies(static_cast<uint64_t>(seed)).Run();
  }
  EXPECT_GT(LateCopies::epochs_raised, count / 2) << "hardly anything was tried";
}

}  // namespace
}  // namespace millrace::client
