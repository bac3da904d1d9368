// Records between Send() and the I/O thread: the open batch of each partition, and full ones that wait for an in-flight
// slot.
//
// Application threads append under one short mutex, encoding straight into the open batch. The I/O thread takes
// batches, broker by broker. It is woken only when it asked for it: a Take() that finds less than it wants leaves
// behind at how many waiting bytes it wants to be called, so that under load nobody is woken per record.
//
//     switch (accumulator.Append(input, &callback, &refusal)) ...              // application threads
//     for (auto& batch : accumulator.Take(queue, {.min_bytes = 1}).batches) ... // I/O thread
//
// Thread safety: as said at each group of methods. Callbacks of records run in Done() only, without the mutex.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "client/producer_batch.h"
#include "millrace/admin.h"
#include "millrace/options.h"
#include "millrace/producer.h"
#include "proto/wire/record_batch.h"
#include "proto/wire/runtime.h"

namespace millrace::client {

// Partitions with waiting records that have the same broker as their leader.
struct BrokerQueue {
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  // Guarded by the accumulator's mutex.
  std::deque<PartitionQueue*> partitions;  // with something waiting; they take turns
  int64_t waiting_bytes = 0;
  int64_t wake_at_bytes = kNever;  // the I/O thread wants to be woken when so much waits
  bool wake_at_first = false;      // ... or when a batch is opened, whose linger time begins then
  bool awaited = false;            // something waits whose sender waits for it
  bool stands_still = false;       // it takes nothing now: records without key rather go elsewhere
  // ... or with the first record after this, sooner than by a timer
  std::optional<std::chrono::nanoseconds> wake_at_time;
};

struct TopicQueues;

// One partition's waiting records.
struct PartitionQueue {
  TopicQueues* topic = nullptr;
  int32_t partition = 0;

  // Guarded by the accumulator's mutex.
  BrokerQueue* broker = nullptr;  // never null
  std::unique_ptr<ProducerBatch> open;
  std::deque<std::unique_ptr<ProducerBatch>> full;
  int64_t waiting_bytes = 0;
  bool listed = false;          // in broker->partitions
  size_t last_batch_bytes = 0;  // what the next one will probably need
  uint64_t sticky_turn = 0;     // when it last was where records without key go

  // I/O thread only: how many batches Take() may take now.
  int room = 0;
};

struct TopicQueues {
  std::string name;
  // Guarded by the accumulator's mutex.
  bool known = false;
  absl::Status failure;  // the last answer said that it cannot be had
  int32_t partition_count = 0;
  int32_t partitioner = 0;
  int64_t message_bytes_max = 0;
  int64_t batch_bytes_max = 0;  // of records
  int32_t sticky = -1;          // where records without key go now; -1: to be chosen
  int32_t last_sticky = 0;
  uint64_t sticky_turns = 0;
  // Where the next one is to be.
  enum class NextSticky { kAnywhere, kAtSameBroker, kAtOtherBroker } next_sticky = NextSticky::kAnywhere;
  const BrokerQueue* sticky_broker = nullptr;               // that of the last one; compared only
  int64_t sticky_broker_bytes = 0;                          // what it got since it was chosen
  std::vector<std::unique_ptr<PartitionQueue>> partitions;  // grows only
};

class RecordAccumulator {
 public:
  struct Options {
    int64_t batch_size = 0;
    int64_t buffer_memory = 0;
    Codec codec = Codec::kNone;
    std::chrono::nanoseconds linger{0};
    int32_t first_partition = 0;  // where spreading of records without key begins, modulo their number
  };
  using SteadyTime = std::chrono::steady_clock::time_point;

  // wake: called without the mutex, on the thread that appended, when `queue` has what the I/O thread waits for.
  RecordAccumulator(const Options& options, const Clock& clock, std::function<void(BrokerQueue*)> wake);
  ~RecordAccumulator();
  RecordAccumulator(const RecordAccumulator&) = delete;

  // --- Any thread ---

  struct Input {
    std::string_view topic;
    std::optional<int32_t> partition;
    const RecordView& record;
    bool awaited = false;  // the sender does nothing else until it is stored
  };
  enum class Outcome {
    kTaken,
    kRefused,     // `refusal` says why
    kNoMetadata,  // the topic is not known
    kFull,        // buffer.memory
  };
  // callback: may be nullptr; moved from when the record is taken.
  Outcome Append(const Input& input, DeliveryCallback* callback, absl::Status* refusal);

  // Waits until there is room for such a record. False when `deadline` came first.
  bool WaitForRoom(const RecordView& record, SteadyTime deadline);

  // Before asking for a topic: forgets that it could not be had. Gives what to wait beyond.
  uint64_t BeginMetadataWait(std::string_view topic);
  // Waits until the topic is known or failed, or other news came since. The failure, or kOk: try again. `timed_out`
  // when `deadline` came first.
  absl::Status WaitForMetadata(std::string_view topic, uint64_t seen, SteadyTime deadline, bool* timed_out);

  // Names everything appended until now; its batches do not linger any more, once the I/O thread is told.
  uint64_t BeginFlush();
  bool Flushed(uint64_t flush) const;
  // False when `deadline` came first.
  bool WaitForFlush(uint64_t flush, SteadyTime deadline);
  // The first error of a record without callback since the last call.
  absl::Status TakeFirstError();

  // Append() refuses everything from now on.
  void Close();

  ProducerCounters counters() const;

  // --- I/O thread ---

  // Makes a topic known, or updates it. New partitions are on the queue unrouted(), with no room.
  TopicQueues* UpdateTopic(const TopicMetadata& metadata);
  // The topic cannot be had: nullptr, or what was waiting for it.
  TopicQueues* FailTopic(const std::string& topic, absl::Status failure);
  // Other news of metadata: those who wait look again.
  void MetadataChanged();

  // Where partitions without a leader wait.
  BrokerQueue* unrouted() { return &unrouted_; }
  void MoveTo(PartitionQueue* partition, BrokerQueue* broker);
  bool AnyWaits(const BrokerQueue& broker) const;
  void SetStandsStill(BrokerQueue* broker, bool stands_still);

  struct Want {
    int64_t min_bytes = 1;  // waiting; with less nothing is taken, and `wake` is called once there is
    int64_t max_bytes = 0;  // about; at least one batch
    // If something waits already, but less than min_bytes, all of it is wanted then; at once if nothing does, if a sender waits for
    // it, or if batches linger, which keeps requests apart already.
    std::optional<std::chrono::nanoseconds> any_size_at;
  };
  struct Taken {
    bool waited = false;                                  // anything
    std::vector<std::unique_ptr<ProducerBatch>> batches;  // in order for each partition
    std::optional<std::chrono::nanoseconds> due;          // when the oldest one that still waits wants to be taken
  };
  Taken Take(BrokerQueue* queue, Want want);

  // What was opened before `created_before`; `oldest_left` gets when the oldest of the rest was opened.
  std::vector<std::unique_ptr<ProducerBatch>> TakeOlderThan(std::chrono::nanoseconds created_before,
                                                            std::optional<std::chrono::nanoseconds>* oldest_left);
  std::vector<std::unique_ptr<ProducerBatch>> TakeAll(PartitionQueue* partition);

  // A batch is stored or has failed: runs its callbacks, then frees its memory.
  void Done(std::unique_ptr<ProducerBatch> batch, const absl::StatusOr<RecordMetadata>& result);

  void CountRequest(int64_t new_batches, int64_t retried_batches);

 private:
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Lock = std::unique_lock<std::mutex>;

  // All with mutex_ held.
  TopicQueues* FindTopic(std::string_view name);
  TopicQueues* FindOrMakeTopic(std::string_view name);
  static void ChooseSticky(TopicQueues& topic);
  PartitionQueue* PickPartition(const Input& input, TopicQueues& topic, uint32_t key_hash, absl::Status* refusal);
  absl::Status CheckSize(const Input& input, const TopicQueues& topic) const;
  void Seal(PartitionQueue& partition, Lock& lock);
  void OpenBatch(PartitionQueue& partition);
  bool TakesOpen(const PartitionQueue& partition, std::chrono::nanoseconds now) const;
  std::unique_ptr<ProducerBatch> PopReady(PartitionQueue& partition, std::chrono::nanoseconds now);
  static void LeaveSticky(const PartitionQueue& partition);
  std::unique_ptr<ProducerBatch> Detach(PartitionQueue& partition);
  void Account(PartitionQueue& partition, int64_t waiting_bytes);
  bool WakeWanted(BrokerQueue& queue, bool opened);

  const Options options_;
  const Clock& clock_;
  const std::function<void(BrokerQueue*)> wake_;

  mutable std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable metadata_;
  std::condition_variable flushed_;
  // Guarded by mutex_.
  std::unordered_map<std::string, std::unique_ptr<TopicQueues>, TextHash, std::equal_to<>> topics_;
  TopicQueues* last_topic_ = nullptr;  // of the last Append(); saves looking for it
  BrokerQueue unrouted_;
  bool closed_ = false;
  uint64_t metadata_version_ = 0;
  int64_t buffered_bytes_ = 0;
  int room_waiters_ = 0;
  uint64_t epoch_ = 1;                            // of batches opened now; BeginFlush() cuts
  std::map<uint64_t, int64_t> pending_by_epoch_;  // batches not done
  absl::Status first_error_;
  ProducerCounters counters_;
};

}  // namespace millrace::client
