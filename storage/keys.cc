#include "storage/keys.h"

#include <cstdint>

#include "proto/wire/check.h"

namespace millrace::storage {
namespace {

using raft::GroupId;
using raft::LogIndex;
using raft::Offset;

// What a key is of: its first byte.
constexpr char kEntryPrefix = 'E';
constexpr char kGroupPrefix = 'G';
constexpr char kBesidePrefix = 'L';
constexpr char kStorePrefix = 'S';

constexpr char kPrefixes[] = {kEntryPrefix, kGroupPrefix, kBesidePrefix, kStorePrefix};

// What lies beside a group's entries: the byte after the group.
constexpr char kTermAndVote = 1;
constexpr char kLogStart = 2;
constexpr char kValue = 3;
constexpr char kSegment = 4;
constexpr char kInterval = 5;

constexpr char kBesideKinds[] = {kTermAndVote, kLogStart, kValue, kSegment, kInterval};

template <size_t n>
constexpr bool AllDistinct(const char (&bytes)[n]) {
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) {
      if (bytes[i] == bytes[j]) return false;
    }
  }
  return true;
}
static_assert(AllDistinct(kPrefixes));
static_assert(AllDistinct(kBesideKinds));

char* PutBigEndian(char* out, int64_t value) {
  MILLRACE_CHECK_GE(value, 0) << "keys would not lie in the order of their numbers";
  const uint64_t swapped = __builtin_bswap64(static_cast<uint64_t>(value));
  __builtin_memcpy(out, &swapped, sizeof(swapped));
  return out + sizeof(swapped);
}

int64_t GetBigEndian(const char* in) {
  uint64_t swapped;
  __builtin_memcpy(&swapped, in, sizeof(swapped));
  return static_cast<int64_t>(__builtin_bswap64(swapped));
}

void Append(std::string& key, int64_t value) {
  char bytes[8];
  PutBigEndian(bytes, value);
  key.append(bytes, sizeof(bytes));
}

std::string Prefixed(char prefix, GroupId group) {
  std::string key(1, prefix);
  Append(key, group.value());
  return key;
}

std::string Beside(GroupId group, char kind) { return Prefixed(kBesidePrefix, group) + kind; }

std::string Beside(GroupId group, char kind, LogIndex index) {
  std::string key = Beside(group, kind);
  Append(key, index.value());
  return key;
}

KeyRange AllBeside(GroupId group, char kind) {
  return {Beside(group, kind), Beside(group, static_cast<char>(kind + 1))};
}

std::string EntriesAt(GroupId group, LogIndex index) {
  std::string key = Prefixed(kEntryPrefix, group);
  Append(key, index.value());
  return key;
}

}  // namespace

EntryKey::EntryKey(GroupId group, LogIndex index, Offset base_offset) {
  bytes_[0] = kEntryPrefix;
  char* out = PutBigEndian(bytes_.data() + 1, group.value());
  out = PutBigEndian(out, index.value());
  PutBigEndian(out, base_offset.value());
}

std::optional<EntryKey::Parts> EntryKey::Parse(std::string_view key) {
  if (key.size() != kBytes || key[0] != kEntryPrefix) return std::nullopt;
  return Parts{.group = GroupId(GetBigEndian(key.data() + 1)),
               .index = LogIndex(GetBigEndian(key.data() + 9)),
               .base_offset = Offset(GetBigEndian(key.data() + 17))};
}

KeyRange EntriesFrom(GroupId group, LogIndex first) {
  return {EntriesAt(group, first), Prefixed(kEntryPrefix, group + 1)};
}
KeyRange Entries(GroupId group, LogIndex first, LogIndex end) {
  return {EntriesAt(group, first), EntriesAt(group, end)};
}

std::optional<GroupId> GroupOf(std::string_view key) {
  if (key.size() < 9 || key[0] == kStorePrefix) return std::nullopt;
  return GroupId(GetBigEndian(key.data() + 1));
}

std::string GroupKey(GroupId group) { return Prefixed(kGroupPrefix, group); }
std::optional<GroupId> ParseGroupKey(std::string_view key) {
  if (key.size() != 9 || key[0] != kGroupPrefix) return std::nullopt;
  return GroupId(GetBigEndian(key.data() + 1));
}
KeyRange AllGroups() { return {std::string(1, kGroupPrefix), std::string(1, kGroupPrefix + 1)}; }

std::string TermAndVoteKey(GroupId group) { return Beside(group, kTermAndVote); }
std::string LogStartKey(GroupId group) { return Beside(group, kLogStart); }
std::string ValueKey(GroupId group, std::string_view name) { return Beside(group, kValue).append(name); }
std::string_view NameOfValueKey(std::string_view key) { return key.substr(1 + 8 + 1); }
KeyRange Values(GroupId group) { return AllBeside(group, kValue); }
std::string SegmentKey(GroupId group, LogIndex first) { return Beside(group, kSegment, first); }
KeyRange Segments(GroupId group) { return AllBeside(group, kSegment); }
std::string IntervalKey(GroupId group, LogIndex first) { return Beside(group, kInterval, first); }
KeyRange IntervalsFrom(GroupId group, LogIndex first) {
  return {IntervalKey(group, first), Beside(group, static_cast<char>(kInterval + 1))};
}
KeyRange Intervals(GroupId group, LogIndex first, LogIndex end) {
  return {IntervalKey(group, first), IntervalKey(group, end)};
}
KeyRange BesideEntries(GroupId group) { return {Prefixed(kBesidePrefix, group), Prefixed(kBesidePrefix, group + 1)}; }

std::string BootIdKey() { return std::string(1, kStorePrefix) + "boot_id"; }
std::string CleanMarkKey() { return std::string(1, kStorePrefix) + "clean"; }
std::string OsCrashKey() { return std::string(1, kStorePrefix) + "os_crash"; }

std::string RemovedGroupsKey(GroupId first, GroupId last, uint64_t sequence) {
  std::string key = AllRemovedGroups().begin;
  Append(key, first.value());
  Append(key, last.value());
  Append(key, static_cast<int64_t>(sequence));
  return key;
}
std::optional<GroupRange> ParseRemovedGroupsKey(std::string_view key) {
  const std::string prefix = AllRemovedGroups().begin;
  if (key.size() != prefix.size() + 24 || !key.starts_with(prefix)) return std::nullopt;
  return GroupRange{GroupId(GetBigEndian(key.data() + prefix.size())),
                    GroupId(GetBigEndian(key.data() + prefix.size() + 8))};
}
KeyRange AllRemovedGroups() {
  const std::string prefix(1, kStorePrefix);
  return {prefix + "removed:", prefix + "removed;"};
}

}  // namespace millrace::storage
