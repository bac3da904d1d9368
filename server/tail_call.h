// Reads of plain records that may wait: one Tail stream, or one Read with max_wait_ms.
#pragma once

#include <memory>
#include <string>

#include "millrace/v1/broker.pb.h"
#include "server/broker.h"
#include "server/call.h"
#include "server/plain_records.h"
#include "server/reads.h"
#include "server/write_deadline.h"

namespace millrace::server {

// Sends ReadResponses from a position on. Once: one, as soon as there is a record or the time is over; otherwise until the
// client cancels.
class TailCall : public Call {
 public:
  enum class Mode { kOnce, kFollow };

  TailCall(Broker& broker, Executor& executor, Mode mode);
  ~TailCall() override;

  void Start(Stream& stream) override;
  void OnMessage(absl::Cord message) override;
  void OnWritten() override;
  void OnClosed(CallEnd end) override;

 private:
  struct Page;

  bool ParseOnce(const absl::Cord& message, PositionSpec* spec);
  bool ParseFollow(const absl::Cord& message, PositionSpec* spec);
  void LimitTo(int64_t records_bytes, int64_t reply_bytes);
  void Read();
  void OnRead(ReadOutcome outcome);
  void OnPage(Page& page);
  bool SendGap(const std::optional<Loss>& loss, const PartitionBounds& bounds);
  void Send(v1::ReadResponse response, const PartitionBounds& bounds);
  void Fail(ErrorFrame error);

  Broker& broker_;
  Executor& executor_;
  Shard& shard_;
  const Mode mode_;
  Stream* stream_ = nullptr;
  bool busy_ = false;  // reading, unpacking or writing
  std::shared_ptr<Partition> partition_;
  std::shared_ptr<WakeOn> link_;
  raft::Offset next_;
  std::string topic_;
  Routing routing_ = Routing::kAny;
  int32_t partition_number_ = 0;
  int64_t wait_ms_ = 0;
  PlainLimits limits_;
  Executor::TimerId deadline_ = 0;
  bool deadline_passed_ = false;
  WriteDeadline write_deadline_;
  std::shared_ptr<TailCall*> self_;
};

}  // namespace millrace::server
