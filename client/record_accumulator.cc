#include "client/record_accumulator.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "client/status.h"
#include "proto/wire/check.h"
#include "proto/wire/partitioner.h"

namespace millrace::client {
namespace {

using std::chrono::nanoseconds;

// Partitioner 1 of TopicMetadata: murmur2 of the key, as Kafka.
constexpr int32_t kMurmur2 = 1;
// What a batch's header takes at most besides its records.
constexpr int64_t kBatchHeaderBytesMax = 200;
// The first batch of a partition; later ones go by their predecessor.
constexpr size_t kFirstReserve = 4096;
// Under load, records without key stay with a broker for so long: what would be small requests to all brokers at a time is larger
// ones to one after the other: 36 to 51 CPU s/GB at 25 MB/s instead of 50 to 63 (three runs each).
constexpr int64_t kStickyBytes = 64 << 10;
constexpr int32_t kStickyLooksMax = 16;  // for its next partition

}  // namespace

RecordAccumulator::RecordAccumulator(const Options& options, const Clock& clock, std::function<void(BrokerQueue*)> wake)
    : options_(options), clock_(clock), wake_(std::move(wake)) {
  unrouted_.stands_still = true;
}

RecordAccumulator::~RecordAccumulator() = default;

TopicQueues* RecordAccumulator::FindTopic(std::string_view name) {
  if (last_topic_ != nullptr && last_topic_->name == name) return last_topic_;
  auto it = topics_.find(name);
  if (it == topics_.end()) return nullptr;
  return last_topic_ = it->second.get();
}

TopicQueues* RecordAccumulator::FindOrMakeTopic(std::string_view name) {
  if (TopicQueues* topic = FindTopic(name)) return topic;
  auto topic = std::make_unique<TopicQueues>();
  topic->name = name;
  topic->last_sticky = options_.first_partition;
  return topics_.emplace(topic->name, std::move(topic)).first->second.get();
}

RecordAccumulator::Outcome RecordAccumulator::Append(const Input& input, DeliveryCallback* callback,
                                                     absl::Status* refusal) {
  const RecordView& record = input.record;
  const uint32_t key_hash = record.key && !input.partition ? Murmur2(*record.key) : 0;
  const auto bytes = static_cast<int64_t>(BatchBuilder::SizeBound(record));

  Lock lock(mutex_);
  if (closed_) {
    *refusal = InvalidRequest("the producer is closed");
    return Outcome::kRefused;
  }
  TopicQueues* topic = FindTopic(input.topic);
  if (topic == nullptr || !topic->known) return Outcome::kNoMetadata;
  if (bytes + kBatchHeaderBytesMax > topic->message_bytes_max) {
    *refusal = CheckSize(input, *topic);
    if (!refusal->ok()) return Outcome::kRefused;
  }
  if (buffered_bytes_ + bytes > options_.buffer_memory && buffered_bytes_ > 0) return Outcome::kFull;
  BrokerQueue* to_wake = nullptr;
  PartitionQueue* partition = nullptr;
  for (;;) {
    partition = PickPartition(input, *topic, key_hash, refusal);
    if (partition == nullptr) return Outcome::kRefused;
    if (!partition->open || partition->open->payload_bytes() + bytes <= topic->batch_bytes_max) break;
    Seal(*partition, lock);
    if (options_.linger.count() > 0 && WakeWanted(*partition->broker, false)) to_wake = partition->broker;
  }
  const bool opens = !partition->open;
  if (opens) OpenBatch(*partition);
  ProducerBatch& batch = *partition->open;
  const int64_t before = batch.payload_bytes();
  batch.Add(record, callback);
  const int64_t added = batch.payload_bytes() - before;
  batch.buffered_bytes += added;
  buffered_bytes_ += added;
  Account(*partition, added);
  if (input.awaited) partition->broker->awaited = true;
  ++counters_.records_sent;
  counters_.bytes_sent +=
      static_cast<int64_t>((record.key ? record.key->size() : 0) + (record.value ? record.value->size() : 0));
  const bool counts = options_.linger.count() == 0 || opens;
  if (counts && WakeWanted(*partition->broker, opens)) to_wake = partition->broker;
  lock.unlock();
  if (to_wake != nullptr) wake_(to_wake);
  return Outcome::kTaken;
}

// A wake-up is given once: the I/O thread asks for the next one.
bool RecordAccumulator::WakeWanted(BrokerQueue& queue, bool opened) {
  const bool first = opened && queue.wake_at_first;
  const bool enough = queue.waiting_bytes >= queue.wake_at_bytes && (options_.linger.count() == 0 || !opened);
  const bool late = queue.wake_at_time && (queue.awaited || clock_.Monotonic() >= *queue.wake_at_time);
  if (!first && !enough && !late) return false;
  queue.wake_at_first = false;
  queue.wake_at_time.reset();
  queue.wake_at_bytes = BrokerQueue::kNever;
  return true;
}

absl::Status RecordAccumulator::CheckSize(const Input& input, const TopicQueues& topic) const {
  BatchBuilder alone(BatchBuilder::SizeBound(input.record));
  alone.Add(input.record);
  const auto size = static_cast<int64_t>(alone.Finish({}).size());
  if (size <= topic.message_bytes_max) return absl::OkStatus();
  return ToStatus({.code = ErrorCode::kMessageTooLarge,
                   .message = "a record for topic '" + topic.name + "' takes " + std::to_string(size) +
                              " bytes, its max.message.bytes is " + std::to_string(topic.message_bytes_max) +
                              "; send smaller records or raise the topic's setting",
                   .topic = topic.name,
                   .limit = topic.message_bytes_max,
                   .size = size});
}

// Of the next partitions the one that waits longest for its turn; before that counts whether its broker takes what it is sent,
// whether it is the one that is wanted, and how much waits for it.
void RecordAccumulator::ChooseSticky(TopicQueues& topic) {
  using Next = TopicQueues::NextSticky;
  const auto rank = [&topic](const PartitionQueue& partition) {
    const BrokerQueue& broker = *partition.broker;
    const bool other = &broker != topic.sticky_broker;
    const bool unwanted = topic.next_sticky != Next::kAnywhere && other != (topic.next_sticky == Next::kAtOtherBroker);
    return std::tuple(broker.stands_still, unwanted, broker.waiting_bytes / kStickyBytes, partition.sticky_turn);
  };
  PartitionQueue* best = nullptr;
  for (int32_t i = 1; i <= std::min(kStickyLooksMax, topic.partition_count); ++i) {
    PartitionQueue* candidate =
        topic.partitions[static_cast<size_t>((topic.last_sticky + i) % topic.partition_count)].get();
    if (best == nullptr || rank(*candidate) < rank(*best)) best = candidate;
  }
  best->sticky_turn = ++topic.sticky_turns;
  topic.sticky = topic.last_sticky = best->partition;
}

PartitionQueue* RecordAccumulator::PickPartition(const Input& input, TopicQueues& topic, uint32_t key_hash,
                                                 absl::Status* refusal) {
  int32_t number = 0;
  if (input.partition) {
    number = *input.partition;
    if (number < 0 || number >= topic.partition_count) {
      *refusal = ToStatus({.code = ErrorCode::kUnknownTopicOrPartition,
                           .message = "topic '" + topic.name + "' has no partition " + std::to_string(number) +
                                      ", it has " + std::to_string(topic.partition_count),
                           .topic = topic.name,
                           .partition = number});
      return nullptr;
    }
  } else if (input.record.key) {
    if (topic.partitioner != kMurmur2) {
      *refusal = ToStatus({.code = ErrorCode::kUnsupportedVersion,
                           .message = "topic '" + topic.name + "' places keys by partitioner " +
                                      std::to_string(topic.partitioner) +
                                      ", which this client does not know; use a newer one, or name the partition",
                           .topic = topic.name});
      return nullptr;
    }
    number = static_cast<int32_t>((key_hash & 0x7fffffff) % static_cast<uint32_t>(topic.partition_count));
  } else {
    if (topic.sticky < 0) ChooseSticky(topic);
    number = topic.sticky;
  }
  return topic.partitions[static_cast<size_t>(number)].get();
}

void RecordAccumulator::OpenBatch(PartitionQueue& partition) {
  const auto limit = static_cast<size_t>(partition.topic->batch_bytes_max);
  const size_t reserve = partition.last_batch_bytes == 0 ? kFirstReserve : partition.last_batch_bytes;
  partition.open =
      std::make_unique<ProducerBatch>(&partition, options_.codec, clock_.Monotonic(), epoch_, std::min(reserve, limit));
  ++pending_by_epoch_[epoch_];
}

void RecordAccumulator::Account(PartitionQueue& partition, int64_t waiting_bytes) {
  partition.waiting_bytes += waiting_bytes;
  partition.broker->waiting_bytes += waiting_bytes;
  if (!partition.listed) {
    partition.listed = true;
    partition.broker->partitions.push_back(&partition);
  }
}

// A batch of one record is no load: single records go to all partitions in turn, so that consumers share them.
void RecordAccumulator::LeaveSticky(const PartitionQueue& partition) {
  using Next = TopicQueues::NextSticky;
  TopicQueues& topic = *partition.topic;
  topic.sticky = -1;
  if (topic.sticky_broker != partition.broker || topic.next_sticky != Next::kAtSameBroker)
    topic.sticky_broker_bytes = 0;
  topic.sticky_broker = partition.broker;
  topic.sticky_broker_bytes += partition.open->payload_bytes();
  topic.next_sticky = partition.open->record_count() <= 1        ? Next::kAnywhere
                      : topic.sticky_broker_bytes < kStickyBytes ? Next::kAtSameBroker
                                                                 : Next::kAtOtherBroker;
}

// The open batch is not open any more.
std::unique_ptr<ProducerBatch> RecordAccumulator::Detach(PartitionQueue& partition) {
  partition.last_batch_bytes = static_cast<size_t>(partition.open->payload_bytes()) + 64;
  if (partition.topic->sticky == partition.partition) LeaveSticky(partition);
  return std::move(partition.open);
}

void RecordAccumulator::Seal(PartitionQueue& partition, Lock& lock) {
  ProducerBatch* batch = partition.full.emplace_back(Detach(partition)).get();
  if (options_.codec == Codec::kNone) {
    batch->ready = true;
    return;
  }
  // The place in the queue is taken; the long work is done here, on the sender's thread, without the lock.
  lock.unlock();
  batch->Compress();
  lock.lock();
  batch->ready = true;
}

bool RecordAccumulator::WaitForRoom(const RecordView& record, SteadyTime deadline) {
  const auto bytes = static_cast<int64_t>(BatchBuilder::SizeBound(record));
  // A sender that had to wait goes on only when a quarter is free: one wake-up for many batches.
  const int64_t limit = std::min(options_.buffer_memory - bytes, options_.buffer_memory / 4 * 3);
  Lock lock(mutex_);
  ++room_waiters_;
  const bool room =
      room_.wait_until(lock, deadline, [&] { return closed_ || buffered_bytes_ == 0 || buffered_bytes_ <= limit; });
  --room_waiters_;
  return room;
}

uint64_t RecordAccumulator::BeginMetadataWait(std::string_view topic) {
  Lock lock(mutex_);
  FindOrMakeTopic(topic)->failure = absl::OkStatus();
  return metadata_version_;
}

absl::Status RecordAccumulator::WaitForMetadata(std::string_view topic, uint64_t seen, SteadyTime deadline,
                                                bool* timed_out) {
  Lock lock(mutex_);
  const TopicQueues* queues = FindOrMakeTopic(topic);
  *timed_out = !metadata_.wait_until(
      lock, deadline, [&] { return closed_ || queues->known || !queues->failure.ok() || metadata_version_ != seen; });
  return queues->failure;
}

uint64_t RecordAccumulator::BeginFlush() {
  Lock lock(mutex_);
  return epoch_++;
}

bool RecordAccumulator::Flushed(uint64_t flush) const {
  Lock lock(mutex_);
  return pending_by_epoch_.empty() || pending_by_epoch_.begin()->first > flush;
}

bool RecordAccumulator::WaitForFlush(uint64_t flush, SteadyTime deadline) {
  Lock lock(mutex_);
  return flushed_.wait_until(lock, deadline,
                             [&] { return pending_by_epoch_.empty() || pending_by_epoch_.begin()->first > flush; });
}

absl::Status RecordAccumulator::TakeFirstError() {
  Lock lock(mutex_);
  return std::exchange(first_error_, absl::OkStatus());
}

void RecordAccumulator::Close() {
  Lock lock(mutex_);
  closed_ = true;
  room_.notify_all();
  metadata_.notify_all();
}

ProducerCounters RecordAccumulator::counters() const {
  Lock lock(mutex_);
  ProducerCounters counters = counters_;
  counters.buffered_bytes = buffered_bytes_;
  return counters;
}

TopicQueues* RecordAccumulator::UpdateTopic(const TopicMetadata& metadata) {
  Lock lock(mutex_);
  TopicQueues* topic = FindOrMakeTopic(metadata.name);
  topic->known = !metadata.partitions.empty();
  topic->failure = absl::OkStatus();
  topic->partitioner = metadata.partitioner;
  topic->partition_count = static_cast<int32_t>(metadata.partitions.size());
  topic->message_bytes_max = metadata.max_message_bytes;
  topic->batch_bytes_max = std::min(options_.batch_size, metadata.max_message_bytes - kBatchHeaderBytesMax);
  if (topic->sticky >= topic->partition_count) topic->sticky = -1;
  while (topic->partitions.size() < metadata.partitions.size()) {
    auto partition = std::make_unique<PartitionQueue>();
    partition->topic = topic;
    partition->partition = static_cast<int32_t>(topic->partitions.size());
    partition->broker = &unrouted_;
    topic->partitions.push_back(std::move(partition));
  }
  return topic;
}

TopicQueues* RecordAccumulator::FailTopic(const std::string& name, absl::Status failure) {
  Lock lock(mutex_);
  TopicQueues* topic = FindTopic(name);
  if (topic == nullptr) return nullptr;
  topic->known = false;
  topic->failure = std::move(failure);
  return topic;
}

void RecordAccumulator::MetadataChanged() {
  Lock lock(mutex_);
  ++metadata_version_;
  metadata_.notify_all();
}

void RecordAccumulator::MoveTo(PartitionQueue* partition, BrokerQueue* broker) {
  Lock lock(mutex_);
  if (partition->broker == broker) return;
  if (partition->listed) {
    std::erase(partition->broker->partitions, partition);
    partition->broker->waiting_bytes -= partition->waiting_bytes;
    broker->partitions.push_back(partition);
    broker->waiting_bytes += partition->waiting_bytes;
    broker->awaited |= partition->broker->awaited;
  }
  partition->broker = broker;
}

bool RecordAccumulator::AnyWaits(const BrokerQueue& broker) const {
  Lock lock(mutex_);
  return broker.waiting_bytes > 0;
}

// What is open there stays; what comes next goes elsewhere.
void RecordAccumulator::SetStandsStill(BrokerQueue* broker, bool stands_still) {
  Lock lock(mutex_);
  if (std::exchange(broker->stands_still, stands_still) || !stands_still) return;
  for (auto& [name, topic] : topics_) {
    if (topic->sticky >= 0 && topic->partitions[static_cast<size_t>(topic->sticky)]->broker == broker)
      topic->sticky = -1;
  }
}

bool RecordAccumulator::TakesOpen(const PartitionQueue& partition, nanoseconds now) const {
  const ProducerBatch& open = *partition.open;
  return options_.linger.count() == 0 || open.flush_epoch < epoch_ || now >= open.created + options_.linger;
}

std::unique_ptr<ProducerBatch> RecordAccumulator::PopReady(PartitionQueue& partition, nanoseconds now) {
  std::unique_ptr<ProducerBatch> batch;
  if (!partition.full.empty()) {
    if (!partition.full.front()->ready) return nullptr;
    batch = std::move(partition.full.front());
    partition.full.pop_front();
  } else if (partition.open && TakesOpen(partition, now)) {
    batch = Detach(partition);
  } else {
    return nullptr;
  }
  partition.waiting_bytes -= batch->buffered_bytes;
  partition.broker->waiting_bytes -= batch->buffered_bytes;
  return batch;
}

RecordAccumulator::Taken RecordAccumulator::Take(BrokerQueue* queue, Want want) {
  const nanoseconds now = clock_.Monotonic();
  Taken taken;
  Lock lock(mutex_);
  taken.waited = queue->waiting_bytes > 0;
  queue->wake_at_bytes = BrokerQueue::kNever;
  queue->wake_at_first = false;
  queue->wake_at_time.reset();
  // Whoever flushes sends nothing more that could wake anybody.
  const bool flushing = !pending_by_epoch_.empty() && pending_by_epoch_.begin()->first < epoch_;
  const bool any_size = !taken.waited || flushing || queue->awaited || options_.linger.count() > 0;
  if (want.any_size_at && (any_size || now >= *want.any_size_at)) want.min_bytes = 1;
  int64_t bytes = 0;
  const bool enough = queue->waiting_bytes >= want.min_bytes;
  if (enough) queue->awaited = false;
  for (size_t turns = enough ? queue->partitions.size() : 0; turns > 0 && bytes < want.max_bytes; --turns) {
    PartitionQueue& partition = *queue->partitions.front();
    queue->partitions.pop_front();
    for (int room = partition.room; room > 0 && bytes < want.max_bytes; --room) {
      std::unique_ptr<ProducerBatch> batch = PopReady(partition, now);
      if (!batch) break;
      bytes += batch->buffered_bytes;
      taken.batches.push_back(std::move(batch));
    }
    partition.listed = partition.open || !partition.full.empty();
    if (partition.listed) queue->partitions.push_back(&partition);
  }
  if (options_.linger.count() > 0) {
    for (const PartitionQueue* partition : queue->partitions) {
      if (!partition->open || TakesOpen(*partition, now)) continue;
      const nanoseconds due = partition->open->created + options_.linger;
      taken.due = taken.due ? std::min(*taken.due, due) : due;
    }
  }
  if (taken.batches.empty()) {
    // What waits now cannot be taken, or is too little: call when there is more.
    queue->wake_at_bytes = (enough ? queue->waiting_bytes : 0) + want.min_bytes;
    if (want.any_size_at && taken.waited && !enough) taken.due = queue->wake_at_time = want.any_size_at;
    queue->wake_at_first = options_.linger.count() > 0 && !taken.due;
  }
  return taken;
}

std::vector<std::unique_ptr<ProducerBatch>> RecordAccumulator::TakeOlderThan(nanoseconds created_before,
                                                                             std::optional<nanoseconds>* oldest_left) {
  std::vector<std::unique_ptr<ProducerBatch>> batches;
  Lock lock(mutex_);
  for (auto& [name, topic] : topics_) {
    for (auto& partition : topic->partitions) {
      auto take = [&](std::unique_ptr<ProducerBatch> batch) {
        partition->waiting_bytes -= batch->buffered_bytes;
        partition->broker->waiting_bytes -= batch->buffered_bytes;
        batches.push_back(std::move(batch));
      };
      auto& full = partition->full;
      while (!full.empty() && full.front()->ready && full.front()->created < created_before) {
        take(std::move(full.front()));
        full.pop_front();
      }
      if (full.empty() && partition->open && partition->open->created < created_before) take(Detach(*partition));
      const ProducerBatch* left = !full.empty() ? full.front().get() : partition->open.get();
      if (left != nullptr && (!*oldest_left || left->created < **oldest_left)) *oldest_left = left->created;
      if (left == nullptr && partition->listed) {
        partition->listed = false;
        std::erase(partition->broker->partitions, partition.get());
      }
    }
  }
  return batches;
}

std::vector<std::unique_ptr<ProducerBatch>> RecordAccumulator::TakeAll(PartitionQueue* partition) {
  std::vector<std::unique_ptr<ProducerBatch>> batches;
  Lock lock(mutex_);
  while (!partition->full.empty() && partition->full.front()->ready) {
    batches.push_back(std::move(partition->full.front()));
    partition->full.pop_front();
  }
  if (partition->full.empty() && partition->open) batches.push_back(Detach(*partition));
  for (const auto& batch : batches) {
    partition->waiting_bytes -= batch->buffered_bytes;
    partition->broker->waiting_bytes -= batch->buffered_bytes;
  }
  if (partition->listed && partition->full.empty()) {
    partition->listed = false;
    std::erase(partition->broker->partitions, partition);
  }
  return batches;
}

void RecordAccumulator::Done(std::unique_ptr<ProducerBatch> batch, const absl::StatusOr<RecordMetadata>& result) {
  const bool all_told = batch->Deliver(result);
  Lock lock(mutex_);
  (result.ok() ? counters_.records_acked : counters_.records_failed) += batch->record_count();
  if (!result.ok() && !all_told && first_error_.ok()) first_error_ = result.status();
  buffered_bytes_ -= batch->buffered_bytes;
  if (room_waiters_ > 0 && buffered_bytes_ <= options_.buffer_memory / 4 * 3) room_.notify_all();
  auto pending = pending_by_epoch_.find(batch->flush_epoch);
  MILLRACE_CHECK(pending != pending_by_epoch_.end());
  if (--pending->second == 0) {
    pending_by_epoch_.erase(pending);
    flushed_.notify_all();
  }
  lock.unlock();  // before the batch's memory is freed
}

void RecordAccumulator::CountRequest(int64_t new_batches, int64_t retried_batches) {
  Lock lock(mutex_);
  ++counters_.requests_sent;
  counters_.batches_sent += new_batches;
  counters_.batches_retried += retried_batches;
}

}  // namespace millrace::client
