// What lies between the I/O thread, which receives frames, and the application's, which reads records.
//
// Each partition has a generation, which counts its seeks: what was received under an older one is dropped, wherever it
// is met.
//
// Thread safety: FetchQueue and FetchCredit are made for both threads; the fields of FetchPartition say whose they are.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "millrace/consumer.h"
#include "millrace/error.h"
#include "proto/wire/frames.h"
#include "proto/wire/record_batch.h"
#include "proto/wire/runtime.h"

namespace millrace::client {

class FetchSession;

// One partition as it is being read.
struct FetchPartition {
  // Set at construction.
  std::string topic;
  int32_t partition = 0;
  size_t assignment = 0;  // which of the Assign() call's entries it came from
  std::optional<int64_t> until;

  // I/O thread.
  uint64_t generation = 0;
  bool wanted = false;  // to be fetched
  FetchSession* session = nullptr;
  uint64_t subscription = 0;              // on the session; 0: none
  Position from = Position::Beginning();  // where to subscribe while next_offset is not known
  int64_t next_offset = -1;               // what the broker sends next
  int32_t leader_epoch = 0;               // of the record before next_offset; 0: not known
  Executor::TimerId pause = 0;            // before the next attempt
  int failures = 0;                       // since the last frame
  std::optional<Trouble> trouble;         // the last of them

  // Application thread.
  uint64_t read_generation = 0;
  Position read_from = Position::Beginning();
  int64_t position = -1;                   // of the record that is given next; -1: not known
  std::optional<int64_t> skip_older_than;  // until the first record that is not
  bool ended = false;
  bool paused = false;
  int64_t high_watermark = -1;
  int64_t log_start_offset = -1;
};

// Bytes of one stream that are in the application's hands, as the broker counts them.
struct FetchCredit {
  std::atomic<int64_t> held{0};
  std::atomic<int64_t> released{0};  // since the I/O thread was last told
  std::atomic<int64_t> quantum{1};   // tell it when so much was released
};

struct FetchedItem {
  enum class Kind { kBatch, kStart, kGap, kEnd, kError, kNewPartition };
  Kind kind = Kind::kBatch;
  std::shared_ptr<FetchPartition> partition;
  uint64_t generation = 0;
  int64_t high_watermark = -1;
  int64_t log_start_offset = -1;

  // kBatch
  BatchView batch;
  bool unreadable = false;  // it is no RecordBatch at all
  int64_t base_offset = 0;
  int32_t leader_epoch = 0;
  int64_t append_time = 0;
  bool log_append_time = false;
  int64_t credit_bytes = 0;
  std::shared_ptr<FetchCredit> credit;

  int64_t start_offset = 0;  // kStart
  GapFrame gap;              // kGap
  Error error;               // kError
};

class FetchQueue {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;

  // I/O thread.
  void Push(std::vector<FetchedItem> items);

  // Application thread.
  std::optional<FetchedItem> Pop();
  // Takes out all items of one partition, or of all.
  std::vector<FetchedItem> Remove(const FetchPartition* partition);
  // Until there is an item, or Wake(), or Nudge(), or the deadline. True: woken.
  bool Wait(SteadyTime deadline);
  // Takes back a Wake() that nobody waited for.
  bool TakeWake();

  // Any thread.
  void Wake();
  // Ends a Wait() that is under way, or else the next: there is something to look at beside the items.
  void Nudge();

 private:
  std::mutex mutex_;
  std::condition_variable news_;
  std::deque<FetchedItem> items_;  // guarded by mutex_
  bool woken_ = false;             // guarded by mutex_
  bool nudged_ = false;            // guarded by mutex_
  bool waiting_ = false;           // guarded by mutex_
};

}  // namespace millrace::client
