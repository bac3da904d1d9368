// The application's half of a consumer: takes what the I/O half queued and makes records of it, a batch at a time.
//
// Records are decoded into one array that is used again and again; their keys and values point into the received
// buffers. Nothing is allocated per record.
//
//     while (auto result = reader.Next()) ...   // nullopt: nothing is there now
//
// Application thread only; waits for nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/fetch_queue.h"
#include "millrace/consumer.h"
#include "millrace/options.h"
#include "proto/wire/record_batch.h"

namespace millrace::client {

class ConsumerReader {
 public:
  // What the reader asks of the I/O half; called on the application's thread.
  class Core {
   public:
    virtual ~Core() = default;
    virtual void Reposition(const std::shared_ptr<FetchPartition>& partition, uint64_t generation,
                            Position position) = 0;
    virtual void Halt(const std::shared_ptr<FetchPartition>& partition, uint64_t generation) = 0;
    virtual void Add(const std::shared_ptr<FetchPartition>& partition, uint64_t generation, Position position) = 0;
    virtual void Remove(const std::shared_ptr<FetchPartition>& partition, uint64_t generation) = 0;
    virtual void GrantCredit() = 0;
  };
  using Partitions = std::vector<std::shared_ptr<FetchPartition>>;

  ConsumerReader(const ConsumerOptions& options, FetchQueue& queue, Core* core);
  ~ConsumerReader();
  ConsumerReader(const ConsumerReader&) = delete;

  // Before ConsumerCore::Start(): from now on only these count. assignments: what they were resolved from.
  // `committed`: where those begin that are assigned without a position, if the group has come somewhere.
  void Assign(const std::vector<Assignment>& assignments, Partitions partitions, int64_t now,
              const std::map<TopicPartition, int64_t>& committed = {});

  // From now on partitions come and go one by one, and there is no end.
  void Open();
  // nullopt: from where options say. The partition is not there yet.
  std::shared_ptr<const FetchPartition> Add(const TopicPartition& partition, std::optional<Position> from, int64_t now);
  // What was received of it is dropped.
  void Remove(const TopicPartition& partition);
  // Nothing of it until Seek().
  void Stop(const TopicPartition& partition);
  // Of what Next() gave last, what is behind this was not wanted.
  void Rewind(const TopicPartition& partition, int64_t position);

  // The next news, if there is any. Frees what the last one pointed to.
  std::optional<absl::StatusOr<PollResult>> Next();

  absl::Status Seek(const TopicPartition& partition, Position position, int64_t now);
  absl::Status Pause(std::span<const TopicPartition> partitions);
  absl::Status Resume(std::span<const TopicPartition> partitions);

  bool assigned() const { return open_ || !partitions_.empty(); }
  std::vector<PartitionProgress> progress() const;
  const Partitions& partitions() const { return partitions_; }
  const ConsumerCounters& counters() const { return counters_; }

 private:
  std::shared_ptr<FetchPartition> Find(const TopicPartition& partition) const;
  absl::StatusOr<Partitions> FindAll(std::span<const TopicPartition> partitions) const;
  void DropReceived(const FetchPartition* partition);
  void Release(FetchedItem& item);
  void FinishBatch();
  absl::Status TakeItem(FetchedItem item);
  void TakeStart(const FetchedItem& item);
  absl::Status TakeBatch(FetchedItem item);
  absl::Status TakeGap(FetchPartition& partition, int64_t from, int64_t to, Gap::Reason reason);
  absl::Status BatchDamaged(std::string what, ErrorCode code);
  void Flatten();
  absl::Status Decode();
  void AddRecord(const RecordView& record, int64_t offset);
  bool Passes(const RecordView& record) const;
  Position Fallback() const;
  void Halt(const std::shared_ptr<FetchPartition>& partition);
  absl::Status StopWith(const std::shared_ptr<FetchPartition>& partition, Error error);
  void MarkEnded(FetchPartition& partition);
  bool AllEnded() const;

  const ConsumerOptions options_;
  FetchQueue& queue_;
  Core* const core_;
  Partitions partitions_;
  bool open_ = false;
  ConsumerCounters counters_;

  // The batch being given out.
  std::optional<FetchedItem> batch_;
  std::optional<RecordReader> reader_;
  int64_t batch_first_ = 0;       // records below it are before the position
  std::unique_ptr<char[]> flat_;  // its payload in one piece; used again for the next one
  size_t flat_bytes_ = 0;

  // What the last Next() gave.
  std::vector<ConsumerRecord> records_;
  std::vector<Header> headers_;
  std::vector<Gap> gaps_;
};

}  // namespace millrace::client
