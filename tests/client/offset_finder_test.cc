#include "client/offset_finder.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <utility>

#include "client/control.h"
#include "millrace/v1/broker.pb.h"
#include "tests/support/sim_executor.h"

namespace millrace {
namespace {

using client::ControlClient;
using client::FindOffsets;
using std::chrono::seconds;

absl::Cord Bytes(const google::protobuf::Message& message) { return absl::Cord(message.SerializeAsString()); }

// One partition of ten records behind ListOffsets and Read: by time every search begins at offset 4; reads are scripted.
class OnePartition : public ClientTransport {
 public:
  explicit OnePartition(SimExecutor& executor) : executor_(executor) {}

  std::unique_ptr<Stream> OpenStream(const std::string&, const std::string&, StreamHandler*) override {
    return nullptr;
  }

  void Call(const std::string&, const std::string& method, absl::Cord, std::chrono::nanoseconds,
            std::function<void(CallReply)> done) override {
    CallReply reply;
    if (method == client::control::kListOffsets) {
      v1::ListOffsetsResponse listed;
      v1::OffsetResult& result = *listed.add_results();
      result.set_offset(4);
      result.set_high_watermark(10);
      reply.message = Bytes(listed);
    } else {
      reply = std::move(reads.front());
      reads.pop_front();
    }
    executor_.Post([done = std::move(done), reply = std::move(reply)] { done(reply); });
  }

  std::deque<CallReply> reads;

 private:
  SimExecutor& executor_;
};

// Records from `first` on at these times.
CallReply Records(int64_t first, const std::vector<int64_t>& times) {
  v1::ReadResponse read;
  for (const int64_t time : times) {
    v1::PlainRecord& record = *read.add_records();
    record.set_offset(first++);
    record.set_timestamp(time);
  }
  read.set_next_offset(first);
  return {{}, Bytes(read)};
}

CallReply Failure(ErrorCode code) {
  CallReply reply;
  reply.end.status = absl::UnknownError("x");
  reply.end.error = {.code = static_cast<int32_t>(code), .message = "said so"};
  return reply;
}

class OffsetFinderTest : public testing::Test {
 protected:
  OffsetAnswer Find(int64_t time) {
    ControlClient control({executor.clock(), executor, random, transport}, options, {"a:1"});
    std::optional<absl::StatusOr<std::vector<OffsetAnswer>>> found;
    FindOffsets(control, {{.topic = "t", .partition = 0, .at = Position::Time(time)}}, 0, seconds(10),
                [&](absl::StatusOr<std::vector<OffsetAnswer>> answers) { found = std::move(answers); });
    executor.Advance(seconds(20));
    return found && found->ok() ? (*found)->at(0) : OffsetAnswer{.status = absl::InternalError("no answer")};
  }

  SimExecutor executor;
  SimRandom random{1};
  OnePartition transport{executor};
  ClientOptions options;
};

TEST_F(OffsetFinderTest, FirstRecordAtOrAfterTheTime) {
  transport.reads = {Records(4, {100, 110}), Records(6, {120, 130})};
  const OffsetAnswer answer = Find(120);
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.offset, 6);
}

TEST_F(OffsetFinderTest, DamageHidesOnlyWhatItCovers) {
  transport.reads = {Records(4, {100, 110}), Failure(ErrorCode::kCorruptMessage)};
  const OffsetAnswer answer = Find(120);
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.offset, 6);
}

TEST_F(OffsetFinderTest, OtherFailuresAreTold) {
  transport.reads = {Failure(ErrorCode::kUnknownTopicOrPartition)};
  EXPECT_EQ(ErrorFrom(Find(120).status).code, ErrorCode::kUnknownTopicOrPartition);
}

}  // namespace
}  // namespace millrace
