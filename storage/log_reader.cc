#include "storage/log_reader.h"

#include <algorithm>
#include <memory>

#include <rocksdb/db.h>

#include "absl/strings/str_cat.h"
#include "proto/wire/write_buffer.h"
#include "raft/damage.h"
#include "storage/keys.h"
#include "storage/rocks_util.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::GroupId;
using raft::LogIndex;
using raft::Offset;

std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

absl::Status Damaged(GroupId group, LogIndex index, std::string_view what) {
  return absl::DataLossError(absl::StrCat("group ", group.value(), " entry ", index.value(), ": ",
                                          absl::string_view(what.data(), what.size())));
}

std::string EntryName(GroupId group, LogIndex index) {
  return absl::StrCat("group ", group.value(), " entry ", index.value());
}

// The entry under an iterator: its key's, its header's and the wanted index agree.
absl::StatusOr<StoredHeader> DecodeEntry(GroupId group, const EntryKey::Parts& key, std::string_view value) {
  absl::StatusOr<StoredHeader> header = DecodeHeader(value);
  if (!header.ok()) return Damaged(group, key.index, ToStd(header.status().message()));
  if (header->entry.index != key.index || header->entry.base_offset != key.base_offset) {
    return Damaged(group, key.index, "its header is another entry's");
  }
  return header;
}

// The first entry in [index, last] that can be read; nothing: none can. Moves the iterator there: it stands on no entry whose
// value it cannot read.
std::optional<EntryKey::Parts> SeekReadable(RangeIterator& it, GroupId group, LogIndex index, LogIndex last) {
  for (; index <= last; ++index) {
    it.Seek(EntryKey(group, index, Offset(0)).view());
    if (!it.Valid()) continue;
    const std::optional<EntryKey::Parts> key = EntryKey::Parse(it.key());
    if (!key) continue;
    if (key->index > last) break;
    return key;
  }
  return std::nullopt;
}

// The one behind the entry that the iterator stands on.
std::optional<EntryKey::Parts> NextReadable(RangeIterator& it, GroupId group, LogIndex index, LogIndex last) {
  it.Next();
  const std::optional<EntryKey::Parts> key = it.Valid() ? EntryKey::Parse(it.key()) : std::nullopt;
  return key ? key : SeekReadable(it, group, index + 1, last);
}

// `damage` of entry `index`, with the offsets that go with it: from `begin` to where the next entry begins that can be found
// (keys carry offsets). Moves the iterator.
absl::Status WithLostOffsets(const absl::Status& damage, GroupId group, LogIndex index, Offset begin,
                             const ReadLimits& limits, RangeIterator& it) {
  const std::optional<EntryKey::Parts> next = SeekReadable(it, group, index + 1, limits.last);
  return raft::DamagedEntry(ToStd(damage.message()), {begin, next ? next->base_offset : limits.end});
}

}  // namespace

absl::StatusOr<LogImage> LogReader::Load(GroupId group) const {
  absl::StatusOr<std::optional<std::string>> limits = GetValue(db_, GroupKey(group));
  if (!limits.ok()) return limits.status();
  if (!limits->has_value()) return absl::NotFoundError(absl::StrCat("no log of group ", group.value()));
  LogImage image;
  absl::StatusOr<raft::SegmentLimits> decoded = DecodeLimits(**limits);
  if (!decoded.ok()) return decoded.status();
  image.limits = *decoded;

  absl::StatusOr<std::optional<std::string>> term_and_vote = GetValue(db_, TermAndVoteKey(group));
  if (!term_and_vote.ok()) return term_and_vote.status();
  if (term_and_vote->has_value()) {
    absl::StatusOr<raft::TermAndVote> state = DecodeTermAndVote(**term_and_vote);
    if (!state.ok()) return state.status();
    image.term_and_vote = *state;
  }
  absl::StatusOr<std::optional<std::string>> log_start = GetValue(db_, LogStartKey(group));
  if (!log_start.ok()) return log_start.status();
  if (log_start->has_value()) {
    absl::StatusOr<LogStart> start = DecodeLogStart(**log_start);
    if (!start.ok()) return start.status();
    image.start = *start;
  }
  if (absl::Status status = LoadSegments(group, image); !status.ok()) return status;
  if (const std::optional<std::string> contradiction = image.Contradiction()) {
    return absl::DataLossError(
        absl::StrCat("the log of group ", group.value(), " contradicts itself: ", *contradiction));
  }
  return image;
}

absl::Status LogReader::LoadSegments(GroupId group, LogImage& image) const {
  SegmentList segments;
  RangeIterator it(db_, storage::Segments(group));
  for (; it.Valid(); it.Next()) {
    absl::StatusOr<SegmentMeta> segment = DecodeSegment(it.value());
    if (!segment.ok()) return segment.status();
    if (!segments.empty() && segments.back().last.index != segment->before.index) {
      return absl::DataLossError(absl::StrCat("group ", group.value(), " has no segment between entries ",
                                              segments.back().last.index.value(), " and ",
                                              segment->first_index().value()));
    }
    segments.push_back(*segment);
  }
  if (absl::Status status = it.status("segments"); !status.ok()) return status;
  image.last = image.start.before;
  if (!segments.empty()) {
    const SegmentMeta active = segments.back();
    segments.pop_back();
    image.sealed = std::make_shared<SegmentList>(std::move(segments));
    if (absl::Status status = LoadActive(group, active, image); !status.ok()) return status;
  } else {
    RangeIterator entries(db_, EntriesFrom(group, LogIndex(0)));
    if (entries.Valid()) {
      return absl::DataLossError(absl::StrCat("group ", group.value(), " has entries and no segments"));
    }
    if (absl::Status status = entries.status("entries"); !status.ok()) return status;
  }
  return LoadInterval(group, image);
}

absl::Status LogReader::LoadActive(GroupId group, SegmentMeta active, LogImage& image) const {
  RangeIterator it(db_, EntriesFrom(group, LogIndex(0)));
  it.SeekToLast();
  std::optional<StoredHeader> last;
  if (it.Valid()) {
    const std::optional<EntryKey::Parts> key = EntryKey::Parse(it.key());
    if (!key || active.sealed || key->index < active.first_index()) {
      return absl::DataLossError(absl::StrCat("group ", group.value(), " ends with entry ",
                                              key ? key->index.value() : -1, ", which is not in its last segment"));
    }
    if (absl::StatusOr<StoredHeader> header = DecodeEntry(group, *key, it.value()); header.ok()) {
      last = *header;
    } else {
      absl::StatusOr<std::optional<StoredHeader>> good = LastGoodHeader(group, active, key->index);
      if (!good.ok()) return good.status();
      const LogPosition before = good->has_value() ? LogPosition::After(**good) : active.before;
      if (before.index + 1 == key->index) last = MendHeader(it.value(), key->index, key->base_offset, before.chain);
      if (!last) {
        image.read_only = true;
        last = *good;
      }
    }
  } else if (const absl::Status status = it.status("the last entry"); absl::IsDataLoss(status)) {
    image.read_only = true;
    last = LastReadable(group, active);
  } else {
    if (!status.ok()) return status;
    return absl::DataLossError(absl::StrCat("group ", group.value(), " has segments and no entries"));
  }
  if (last) {
    active.last = LogPosition::After(*last);
    active.max_timestamp = last->segment_max_timestamp;
    image.active = active;
  } else if (!image.sealed->empty()) {  // all of the segment is damaged
    image.active = image.sealed->back();
    image.sealed = std::make_shared<SegmentList>(image.sealed->begin(), image.sealed->end() - 1);
  }
  if (image.active) image.last = image.active->last;
  return absl::OkStatus();
}

// Before what the log ends in, which cannot be read.
std::optional<StoredHeader> LogReader::LastReadable(GroupId group, const SegmentMeta& active) const {
  std::optional<StoredHeader> last;
  for (RangeIterator it(db_, EntriesFrom(group, active.first_index())); it.Valid(); it.Next()) {
    const std::optional<EntryKey::Parts> key = EntryKey::Parse(it.key());
    if (!key) continue;
    if (absl::StatusOr<StoredHeader> header = DecodeEntry(group, *key, it.value()); header.ok()) last = *header;
  }
  return last;
}

absl::StatusOr<std::optional<StoredHeader>> LogReader::LastGoodHeader(GroupId group, const SegmentMeta& active,
                                                                      LogIndex below) const {
  for (LogIndex index = below - 1; index > active.before.index; index = index - 1) {
    absl::StatusOr<StoredHeader> header = HeaderAt(group, index);
    if (header.ok()) return *header;
    if (!absl::IsDataLoss(header.status())) return header.status();
  }
  return std::nullopt;
}

absl::Status LogReader::LoadInterval(GroupId group, LogImage& image) const {
  absl::StatusOr<std::optional<IntervalMeta>> closed = IntervalAt(group, image.last.index);
  if (!closed.ok()) return closed.status();
  image.BeginInterval(image.active ? image.active->before : image.last);
  if (closed->has_value() && (*closed)->last_index > image.last.index) {
    image.BeginInterval(image.last);  // it was closed by a damaged entry
  } else if (closed->has_value() && (*closed)->last_index >= image.interval.first_index) {
    const IntervalMeta& interval = **closed;
    image.interval.first_index = interval.last_index + 1;
    image.interval_begin_bytes = interval.end_log_bytes;
    image.interval.first_offset = interval.end_offset;
  }
  image.interval.last_index = image.last.index;
  if (image.active) image.interval.max_timestamp = image.active->max_timestamp;
  return absl::OkStatus();
}

absl::StatusOr<StoredHeader> LogReader::HeaderAt(GroupId group, LogIndex index) const {
  RangeIterator it(db_, Entries(group, index, index + 1));
  if (!it.Valid()) {
    if (absl::Status status = it.status(EntryName(group, index)); !status.ok()) return status;
    return Damaged(group, index, "it is missing");
  }
  const std::optional<EntryKey::Parts> key = EntryKey::Parse(it.key());
  return key ? DecodeEntry(group, *key, it.value()) : Damaged(group, index, "its key cannot be read");
}

absl::StatusOr<std::optional<IntervalMeta>> LogReader::IntervalAt(GroupId group, LogIndex index) const {
  RangeIterator it(db_, IntervalsFrom(group, LogIndex(0)));
  it.SeekForPrev(IntervalKey(group, index));
  if (it.Valid()) return DecodeInterval(it.value());
  if (absl::Status status = it.status("intervals"); !status.ok()) return status;
  return std::nullopt;
}

absl::StatusOr<LogIndex> LogReader::Find(GroupId group, const LogImage& image, Offset offset) const {
  // Of several entries that begin at an offset (those without records), the last one holds it.
  const SegmentMeta& segment = image.SegmentOf(offset);
  LogIndex low = segment.first_index();
  LogIndex high = segment.last.index;
  RangeIterator intervals(db_, storage::Intervals(group, segment.first_index(), segment.last.index + 1));
  while (low < high) {  // the entry is in [low, high]
    const LogIndex middle = low + (high - low + 1) / 2;
    intervals.SeekForPrev(IntervalKey(group, middle));
    if (!intervals.Valid()) break;
    absl::StatusOr<IntervalMeta> interval = DecodeInterval(intervals.value());
    if (!interval.ok()) return interval.status();
    if (interval->first_index <= low) break;  // the search has come down to one interval
    if (interval->first_offset <= offset) {
      low = interval->first_index;
    } else {
      high = interval->first_index - 1;
    }
  }
  if (absl::Status status = intervals.status("intervals"); !status.ok()) return status;

  RangeIterator entries(db_, storage::Entries(group, low, high + 1));
  const LogIndex first = low;
  std::optional<LogIndex> found;
  while (low <= high) {
    const LogIndex middle = low + (high - low) / 2;
    const std::optional<EntryKey::Parts> key = SeekReadable(entries, group, middle, high);
    if (key && key->base_offset <= offset) {
      found = key->index;
      low = key->index + 1;
    } else {
      high = middle - 1;
    }
  }
  if (found) return *found;
  if (!SeekReadable(entries, group, first, first)) return first;  // who reads there is told
  return Damaged(group, first, absl::StrCat("no entry holds offset ", offset.value()));
}

absl::StatusOr<std::vector<Entry>> LogReader::Read(GroupId group, LogIndex first, const ReadLimits& limits) const {
  std::vector<Entry> entries;
  absl::Status damage;
  size_t bytes = 0;
  LogIndex expected = first;
  Offset damage_begin = limits.from;
  RangeIterator it(db_, storage::Entries(group, first, limits.last + 1));
  for (; it.Valid(); it.Next()) {
    const std::optional<EntryKey::Parts> parts = EntryKey::Parse(it.key());
    if (!parts || parts->index != expected) {
      damage = Damaged(group, expected, "it is missing");
      break;
    }
    const EntryKey::Parts key = *parts;
    if (key.index == first && limits.from >= Offset(0) && key.base_offset > limits.from) break;
    absl::StatusOr<StoredHeader> header = DecodeEntry(group, key, it.value());
    if (!header.ok()) {
      damage = header.status();
      damage_begin = std::max(key.base_offset, limits.from);
      break;
    }
    expected = key.index + 1;
    if (header->entry.end_offset() <= limits.from) continue;
    bytes += sizeof(raft::EntryHeader) + header->payload_bytes;
    if (header->entry.end_offset() > limits.end || (!entries.empty() && bytes > limits.bytes_max)) break;
    absl::StatusOr<absl::Cord> payload = Payload(key, *header, it.value());
    if (!payload.ok()) {
      expected = key.index;
      damage = payload.status();
      damage_begin = std::max(key.base_offset, limits.from);
      break;
    }
    entries.push_back({header->entry, *std::move(payload)});
  }
  if (!entries.empty()) return entries;
  if (damage.ok()) damage = it.status(EntryName(group, expected));
  if (absl::IsDataLoss(damage) && damage_begin >= Offset(0)) {
    return WithLostOffsets(damage, group, expected, damage_begin, limits, it);
  }
  if (!damage.ok()) return damage;
  if (expected == first) return absl::NotFoundError(EntryName(group, first));
  return entries;
}

// An iterator keeps memtables and tables, and not the WAL files of a memtable: the payload may have been moved meanwhile, and its file
// gone.
absl::StatusOr<absl::Cord> LogReader::Payload(const EntryKey::Parts& key, const StoredHeader& header,
                                              std::string_view value) const {
  absl::StatusOr<absl::Cord> payload = PayloadIn(key, header, value);
  std::string last(value);
  while (!payload.ok()) {
    absl::StatusOr<std::optional<std::string>> now =
        GetValue(db_, EntryKey(key.group, key.index, key.base_offset).view());
    if (!now.ok() || !now->has_value() || **now == last) break;
    absl::StatusOr<StoredHeader> new_header = DecodeEntry(key.group, key, **now);
    if (!new_header.ok() || new_header->entry.chain != header.entry.chain) break;  // another entry in its place
    last = **std::move(now);
    payload = PayloadIn(key, *new_header, last);
  }
  return payload;
}

absl::StatusOr<absl::Cord> LogReader::PayloadIn(const EntryKey::Parts& key, const StoredHeader& header,
                                                std::string_view value) const {
  if (!header.placed) return internal::WriteBuffer::CopyToCord(value.substr(kStoredHeaderBytes));
  absl::StatusOr<PayloadPlace> place = DecodePlace(value);
  if (!place.ok()) return Damaged(key.group, key.index, ToStd(place.status().message()));
  internal::WriteBuffer payload(header.payload_bytes);
  char* const end = payload.Reserve(header.payload_bytes);
  const rocksdb::IOStatus status = payloads_.Read(*place, header.payload_bytes, end);
  if (!status.ok()) return ReadError(EntryName(key.group, key.index), status);
  payload.SetEnd(end + header.payload_bytes);
  return std::move(payload).ToCord();
}

absl::StatusOr<Offset> LogReader::OffsetForTime(GroupId group, const LogImage& image, int64_t timestamp) const {
  SegmentList segments = *image.sealed;
  if (image.active) segments.push_back(*image.active);
  for (const SegmentMeta& segment : segments) {
    if (segment.max_timestamp < timestamp || segment.last.end_offset <= image.start.offset) continue;
    RangeIterator it(db_, storage::Intervals(group, segment.first_index(), segment.last.index + 1));
    for (; it.Valid(); it.Next()) {
      absl::StatusOr<IntervalMeta> interval = DecodeInterval(it.value());
      if (!interval.ok()) return interval.status();
      if (interval->max_timestamp < timestamp) continue;
      auto found = TimeInInterval(group, image, *interval, timestamp);
      if (!found.ok()) return found.status();
      if (found->has_value()) return **found;
    }
    if (absl::Status status = it.status("intervals"); !status.ok()) return status;
  }
  if (image.interval.max_timestamp >= timestamp) {
    auto found = TimeInInterval(group, image, image.interval, timestamp);
    if (!found.ok()) return found.status();
    if (found->has_value()) return **found;
  }
  return image.last.end_offset;
}

absl::StatusOr<std::optional<Offset>> LogReader::TimeInInterval(GroupId group, const LogImage& image,
                                                                const IntervalMeta& interval, int64_t timestamp) const {
  RangeIterator it(db_, storage::Entries(group, interval.first_index, interval.last_index + 1));
  for (auto key = SeekReadable(it, group, interval.first_index, interval.last_index); key;
       key = NextReadable(it, group, key->index, interval.last_index)) {
    absl::StatusOr<StoredHeader> header = DecodeEntry(group, *key, it.value());
    if (!header.ok()) continue;  // of when it was is not known; who reads there is told that it is damaged
    const raft::EntryHeader& entry = header->entry;
    if (entry.record_count > 0 && entry.end_offset() > image.start.offset && entry.max_timestamp >= timestamp) {
      return std::max(entry.base_offset, image.start.offset);
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<GroupId>> LogReader::Groups() const {
  std::vector<GroupId> groups;
  RangeIterator it(db_, AllGroups());
  for (; it.Valid(); it.Next()) {
    if (auto group = ParseGroupKey(it.key())) groups.push_back(*group);
  }
  if (absl::Status status = it.status("the list of logs"); !status.ok()) return status;
  return groups;
}

absl::StatusOr<std::vector<std::string>> LogReader::RemovedGroupsKeys() const {
  std::vector<std::string> keys;
  RangeIterator it(db_, AllRemovedGroups());
  for (; it.Valid(); it.Next()) keys.emplace_back(it.key());
  if (absl::Status status = it.status("the list of removed logs"); !status.ok()) return status;
  return keys;
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> LogReader::Values(GroupId group) const {
  std::vector<std::pair<std::string, std::string>> values;
  RangeIterator it(db_, storage::Values(group));
  for (; it.Valid(); it.Next()) values.emplace_back(NameOfValueKey(it.key()), it.value());
  if (absl::Status status = it.status("values"); !status.ok()) return status;
  return values;
}

}  // namespace millrace::storage
