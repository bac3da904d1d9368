#include "client/consumer_reader.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "client/status.h"

namespace millrace::client {
namespace {

Position Fixed(Position position, int64_t now) {
  return position.kind() == Position::Kind::kAgo ? Position::Time(now - position.value()) : position;
}

void SetReadFrom(FetchPartition& partition, Position position) {
  partition.read_from = position;
  partition.position = -1;
  partition.skip_older_than.reset();
  if (position.kind() == Position::Kind::kTime) partition.skip_older_than = position.value();
}

ErrorCode CodeOf(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnimplemented ? ErrorCode::kUnsupportedVersion
                                                           : ErrorCode::kCorruptMessage;
}

}  // namespace

ConsumerReader::ConsumerReader(const ConsumerOptions& options, FetchQueue& queue, Core* core)
    : options_(options), queue_(queue), core_(core) {}

ConsumerReader::~ConsumerReader() = default;

// --- What is read ---

void ConsumerReader::Assign(const std::vector<Assignment>& assignments, Partitions partitions, int64_t now,
                            const std::map<TopicPartition, int64_t>& committed) {
  DropReceived(nullptr);
  open_ = false;
  for (auto& partition : partitions) {
    std::optional<Position> from = assignments[partition->assignment].from;
    if (const auto known = committed.find({partition->topic, partition->partition});
        !from && known != committed.end()) {
      from = Position::Offset(known->second);
    }
    SetReadFrom(*partition, Fixed(from.value_or(Fallback()), now));
    if (partition->until == 0) partition->ended = true;
  }
  partitions_ = std::move(partitions);
}

Position ConsumerReader::Fallback() const {
  switch (options_.auto_offset_reset) {
    case AutoOffsetReset::kEarliest:
    case AutoOffsetReset::kNone:
      return Position::Beginning();
    case AutoOffsetReset::kLatest:
      return Position::End();
    case AutoOffsetReset::kByDuration:
      return Position::Ago(options_.auto_offset_reset_duration);
  }
  return Position::Beginning();
}

void ConsumerReader::Open() {
  DropReceived(nullptr);
  partitions_.clear();
  open_ = true;
}

std::shared_ptr<const FetchPartition> ConsumerReader::Add(const TopicPartition& partition, std::optional<Position> from,
                                                          int64_t now) {
  auto added = std::make_shared<FetchPartition>();
  added->topic = partition.topic;
  added->partition = partition.partition;
  SetReadFrom(*added, Fixed(from.value_or(Fallback()), now));
  partitions_.push_back(added);
  core_->Add(added, ++added->read_generation, added->read_from);
  return added;
}

void ConsumerReader::Remove(const TopicPartition& partition) {
  const std::shared_ptr<FetchPartition> removed = Find(partition);
  if (removed == nullptr) return;
  DropReceived(removed.get());
  std::erase(partitions_, removed);
  core_->Remove(removed, ++removed->read_generation);
}

void ConsumerReader::Stop(const TopicPartition& partition) {
  if (const std::shared_ptr<FetchPartition> found = Find(partition)) Halt(found);
}

void ConsumerReader::Rewind(const TopicPartition& partition, int64_t position) {
  if (const std::shared_ptr<FetchPartition> found = Find(partition)) found->position = position;
}

std::shared_ptr<FetchPartition> ConsumerReader::Find(const TopicPartition& partition) const {
  for (const auto& candidate : partitions_) {
    if (candidate->partition == partition.partition && candidate->topic == partition.topic) return candidate;
  }
  return nullptr;
}

absl::StatusOr<ConsumerReader::Partitions> ConsumerReader::FindAll(std::span<const TopicPartition> partitions) const {
  if (partitions.empty()) return partitions_;
  Partitions found;
  for (const TopicPartition& partition : partitions) {
    found.push_back(Find(partition));
    if (found.back() == nullptr) {
      return InvalidRequest("partition " + partition.topic + "[" + std::to_string(partition.partition) +
                            "] is not assigned to this consumer");
    }
  }
  return found;
}

absl::Status ConsumerReader::Seek(const TopicPartition& partition, Position position, int64_t now) {
  absl::StatusOr<Partitions> found = FindAll({&partition, 1});
  if (!found.ok()) return found.status();
  const std::shared_ptr<FetchPartition>& target = found->front();
  SetReadFrom(*target, Fixed(position, now));
  target->ended = false;
  ++target->read_generation;
  DropReceived(target.get());
  if (!target->paused) core_->Reposition(target, target->read_generation, target->read_from);
  return absl::OkStatus();
}

// What a paused partition has in memory is dropped and fetched again later: it must not use up the credit that the
// others need.
absl::Status ConsumerReader::Pause(std::span<const TopicPartition> partitions) {
  absl::StatusOr<Partitions> found = FindAll(partitions);
  if (!found.ok()) return found.status();
  for (const auto& partition : *found) {
    if (std::exchange(partition->paused, true)) continue;
    ++partition->read_generation;
    DropReceived(partition.get());
    core_->Halt(partition, partition->read_generation);
  }
  return absl::OkStatus();
}

absl::Status ConsumerReader::Resume(std::span<const TopicPartition> partitions) {
  absl::StatusOr<Partitions> found = FindAll(partitions);
  if (!found.ok()) return found.status();
  for (const auto& partition : *found) {
    if (!std::exchange(partition->paused, false) || partition->ended) continue;
    core_->Reposition(partition, ++partition->read_generation,
                      partition->position >= 0 ? Position::Offset(partition->position) : partition->read_from);
  }
  return absl::OkStatus();
}

std::vector<PartitionProgress> ConsumerReader::progress() const {
  std::vector<PartitionProgress> all;
  for (const auto& partition : partitions_) {
    all.push_back({.topic = partition->topic,
                   .partition = partition->partition,
                   .position = partition->position,
                   .high_watermark = partition->high_watermark,
                   .log_start_offset = partition->log_start_offset,
                   .until = partition->until,
                   .ended = partition->ended,
                   .paused = partition->paused});
  }
  return all;
}

bool ConsumerReader::AllEnded() const {
  return std::all_of(partitions_.begin(), partitions_.end(), [](const auto& partition) { return partition->ended; });
}

// --- Credit ---

void ConsumerReader::Release(FetchedItem& item) {
  if (!item.credit) return;
  item.credit->held -= item.credit_bytes;
  const int64_t released = item.credit->released += item.credit_bytes;
  if (released >= item.credit->quantum && released - item.credit_bytes < item.credit->quantum) core_->GrantCredit();
  item.credit.reset();
}

void ConsumerReader::FinishBatch() {
  reader_.reset();
  if (batch_) Release(*batch_);
  batch_.reset();
}

void ConsumerReader::DropReceived(const FetchPartition* partition) {
  if (partition == nullptr || (batch_ && batch_->partition.get() == partition)) {
    records_.clear();
    gaps_.clear();
    FinishBatch();
  }
  for (FetchedItem& item : queue_.Remove(partition)) Release(item);
}

// --- What arrived ---

std::optional<absl::StatusOr<PollResult>> ConsumerReader::Next() {
  records_.clear();
  headers_.clear();
  gaps_.clear();
  for (;;) {
    if (reader_) {
      if (absl::Status status = Decode(); !status.ok()) return status;
    } else {
      std::optional<FetchedItem> item = queue_.Pop();
      if (!item) break;
      if (absl::Status status = TakeItem(*std::move(item)); !status.ok()) return status;
    }
    if (!records_.empty() || !gaps_.empty()) return PollResult{.records = records_, .gaps = gaps_, .end = false};
  }
  if (!open_ && !partitions_.empty() && AllEnded()) return PollResult{.records = {}, .gaps = {}, .end = true};
  return std::nullopt;
}

absl::Status ConsumerReader::TakeItem(FetchedItem item) {
  FetchPartition& partition = *item.partition;
  if (item.kind == FetchedItem::Kind::kNewPartition) {
    partitions_.push_back(item.partition);
    return absl::OkStatus();
  }
  if (item.generation != partition.read_generation || partition.ended) {
    Release(item);
    return absl::OkStatus();
  }
  partition.high_watermark = std::max(partition.high_watermark, item.high_watermark);
  partition.log_start_offset = std::max(partition.log_start_offset, item.log_start_offset);
  switch (item.kind) {
    case FetchedItem::Kind::kBatch:
      return TakeBatch(std::move(item));
    case FetchedItem::Kind::kStart:
      TakeStart(item);
      return absl::OkStatus();
    case FetchedItem::Kind::kGap:
      return TakeGap(partition, item.gap.from, item.gap.to, static_cast<Gap::Reason>(item.gap.reason));
    case FetchedItem::Kind::kEnd:
      MarkEnded(partition);
      return absl::OkStatus();
    case FetchedItem::Kind::kError:
      partition.ended = true;
      return ToStatus(item.error);
    case FetchedItem::Kind::kNewPartition:
      break;
  }
  return absl::OkStatus();
}

void ConsumerReader::MarkEnded(FetchPartition& partition) {
  partition.ended = true;
  if (partition.until) partition.position = std::max(partition.position, *partition.until);
}

void ConsumerReader::TakeStart(const FetchedItem& item) {
  FetchPartition& partition = *item.partition;
  partition.position = item.start_offset;
  // Nothing is as late as the time asked for: reading begins at the end, with whatever comes.
  if (item.start_offset >= item.high_watermark) partition.skip_older_than.reset();
  if (partition.until && partition.position >= *partition.until) MarkEnded(partition);
}

absl::Status ConsumerReader::TakeGap(FetchPartition& partition, int64_t from, int64_t to, Gap::Reason reason) {
  gaps_.push_back(
      {.topic = partition.topic, .partition = partition.partition, .from = from, .to = to, .reason = reason});
  counters_.gap_records += to - from;
  partition.position = to;
  return absl::OkStatus();
}

absl::Status ConsumerReader::TakeBatch(FetchedItem item) {
  FetchPartition& partition = *item.partition;
  ++counters_.batches;
  counters_.batch_bytes += item.credit_bytes;
  batch_ = std::move(item);
  const int64_t base = batch_->base_offset;
  const int64_t end = base + batch_->batch.header.record_count;
  if (batch_->unreadable) return BatchDamaged("is no record batch", ErrorCode::kCorruptMessage);
  if (partition.position < 0) partition.position = base;
  if (end <= partition.position) {  // the application has these already
    FinishBatch();
    return absl::OkStatus();
  }
  batch_first_ = partition.position;
  Flatten();
  reader_.emplace(batch_->batch, RecordReader::Options{.check_crc = options_.check_crcs});
  if (base <= partition.position) return absl::OkStatus();

  // Offsets are dense: records are missing that the broker said nothing of.
  if (options_.on_gap == OnGap::kReport) {
    return TakeGap(partition, partition.position, base, Gap::Reason::kUnknown);
  }
  const int64_t expected = partition.position;
  std::shared_ptr<FetchPartition> owner = batch_->partition;
  FinishBatch();
  return StopWith(owner, {.code = ErrorCode::kOffsetOutOfRange,
                          .message = "offsets " + std::to_string(expected) + " to " + std::to_string(base - 1) +
                                     " are missing; Seek() to go on behind them"});
}

// Payloads arrive in the pieces that the network read. RecordReader would allocate for each batch to put them together.
void ConsumerReader::Flatten() {
  absl::Cord& payload = batch_->batch.payload;
  if (payload.TryFlat().has_value()) return;
  const size_t bytes = payload.size();
  if (bytes > flat_bytes_) {
    flat_ = std::make_unique_for_overwrite<char[]>(bytes);
    flat_bytes_ = bytes;
  }
  char* end = flat_.get();
  for (absl::string_view chunk : payload.Chunks()) {
    std::memcpy(end, chunk.data(), chunk.size());
    end += chunk.size();
  }
  payload = absl::MakeCordFromExternal(absl::string_view(flat_.get(), bytes), [] {});  // flat_ outlives the batch
}

// Fills records_ from the current batch.
absl::Status ConsumerReader::Decode() {
  FetchPartition& partition = *batch_->partition;
  const auto limit = static_cast<size_t>(options_.max_poll_records);
  const int64_t until = partition.until.value_or(std::numeric_limits<int64_t>::max());
  while (records_.size() < limit) {
    if (!reader_->Next()) {
      if (!reader_->status().ok()) {
        if (!records_.empty()) return absl::OkStatus();  // the error comes with the next call
        return BatchDamaged(std::string(reader_->status().message()), CodeOf(reader_->status()));
      }
      partition.position =
          std::max(partition.position, std::min(batch_->base_offset + batch_->batch.header.record_count, until));
      // The views live in the reader: it goes with the next call.
      if (!records_.empty()) break;
      FinishBatch();
      break;
    }
    const int64_t offset = batch_->base_offset + reader_->index();
    if (offset < batch_first_) continue;
    if (offset >= until) {
      if (!records_.empty()) break;
      FinishBatch();
      break;
    }
    partition.position = offset + 1;
    const RecordView& record = reader_->record();
    if (partition.skip_older_than && !batch_->log_append_time) {
      if (record.timestamp < *partition.skip_older_than) continue;
      partition.skip_older_than.reset();
    }
    if (!options_.header_filters.empty() && !Passes(record)) {
      ++counters_.filtered_records;
      continue;
    }
    AddRecord(record, offset);
  }
  // Headers moved while they were collected.
  const Header* next = headers_.data();
  if (!headers_.empty()) {
    for (ConsumerRecord& record : records_) {
      record.headers = {next, record.headers.size()};
      next += record.headers.size();
    }
  }
  if (partition.until && partition.position >= until) MarkEnded(partition);
  return absl::OkStatus();
}

void ConsumerReader::AddRecord(const RecordView& record, int64_t offset) {
  ConsumerRecord& out = records_.emplace_back();
  out.topic = batch_->partition->topic;
  out.partition = batch_->partition->partition;
  out.leader_epoch = batch_->leader_epoch;
  out.offset = offset;
  out.timestamp = batch_->log_append_time ? batch_->append_time : record.timestamp;
  out.append_time = batch_->append_time;
  out.key = record.key;
  out.value = record.value;
  ++counters_.records;
  counters_.bytes +=
      static_cast<int64_t>((record.key ? record.key->size() : 0) + (record.value ? record.value->size() : 0));
  if (record.headers.empty()) return;
  for (const HeaderView& header : record.headers) headers_.push_back({.key = header.key, .value = header.value});
  out.headers = {headers_.data(), record.headers.size()};
}

bool ConsumerReader::Passes(const RecordView& record) const {
  return std::all_of(options_.header_filters.begin(), options_.header_filters.end(), [&](const HeaderFilter& filter) {
    return std::any_of(record.headers.begin(), record.headers.end(), [&](const HeaderView& header) {
      return header.key == filter.key && (!filter.value || header.value == *filter.value);
    });
  });
}

// The rest of the current batch cannot be read.
absl::Status ConsumerReader::BatchDamaged(std::string what, ErrorCode code) {
  std::shared_ptr<FetchPartition> partition = batch_->partition;
  const int64_t base = batch_->base_offset;
  const int64_t end = base + batch_->batch.header.record_count;
  FinishBatch();
  if (options_.on_gap == OnGap::kReport && end > base && code == ErrorCode::kCorruptMessage) {
    return TakeGap(*partition, std::max(partition->position, base), end, Gap::Reason::kCorrupt);
  }
  return StopWith(partition,
                  {.code = code,
                   .message = "the batch at offset " + std::to_string(base) + " of " + partition->topic + "[" +
                              std::to_string(partition->partition) + "] cannot be read: " + what +
                              (end > base ? "; Seek() to offset " + std::to_string(end) + " to go on behind it" : "")});
}

void ConsumerReader::Halt(const std::shared_ptr<FetchPartition>& partition) {
  partition->ended = true;
  ++partition->read_generation;
  DropReceived(partition.get());
  core_->Halt(partition, partition->read_generation);
}

absl::Status ConsumerReader::StopWith(const std::shared_ptr<FetchPartition>& partition, Error error) {
  Halt(partition);
  error.topic = partition->topic;
  error.partition = partition->partition;
  return ToStatus(error);
}

}  // namespace millrace::client
