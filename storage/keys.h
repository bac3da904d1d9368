// Every key of the store: the only code that builds or parses one.
//
//     EntryKey key(group, index, base_offset);        // batch.Put(key.view(), ...)
//     EntryKey::Parse(bytes)->base_offset             // what a binary search by offset looks at
//     KeyRange doomed = EntriesFrom(group, index);    // [begin, end), for DeleteRange and iterator bounds
//
// A key begins with one byte that says what it is of. Integers in keys are big-endian, so keys lie in the order of their
// numbers. README.md has the table.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "raft/types.h"

namespace millrace::storage {

// begin inclusive, end exclusive.
struct KeyRange {
  std::string begin;
  std::string end;

  bool Contains(std::string_view key) const { return begin <= key && key < end; }
};

// 'E' group index base_offset
class EntryKey {
 public:
  static constexpr size_t kBytes = 1 + 3 * 8;

  EntryKey(raft::GroupId group, raft::LogIndex index, raft::Offset base_offset);
  std::string_view view() const { return {bytes_.data(), bytes_.size()}; }

  struct Parts {
    raft::GroupId group;
    raft::LogIndex index;
    raft::Offset base_offset;
  };
  static std::optional<Parts> Parse(std::string_view key);

 private:
  std::array<char, kBytes> bytes_;
};

// Entries of a group with an index >= `first`.
KeyRange EntriesFrom(raft::GroupId group, raft::LogIndex first);
// Entries of a group with first <= index < end.
KeyRange Entries(raft::GroupId group, raft::LogIndex first, raft::LogIndex end);

// The group that a key is of; nothing if it is of none.
std::optional<raft::GroupId> GroupOf(std::string_view key);

// One for each group that exists.
std::string GroupKey(raft::GroupId group);
std::optional<raft::GroupId> ParseGroupKey(std::string_view key);
KeyRange AllGroups();

// What is kept beside a group's entries.
std::string TermAndVoteKey(raft::GroupId group);
std::string LogStartKey(raft::GroupId group);
std::string ValueKey(raft::GroupId group, std::string_view name);
std::string_view NameOfValueKey(std::string_view key);
KeyRange Values(raft::GroupId group);
std::string SegmentKey(raft::GroupId group, raft::LogIndex first);
KeyRange Segments(raft::GroupId group);
std::string IntervalKey(raft::GroupId group, raft::LogIndex first);
// Intervals of a group whose first index is >= `first`, or also < `end`.
KeyRange IntervalsFrom(raft::GroupId group, raft::LogIndex first);
KeyRange Intervals(raft::GroupId group, raft::LogIndex first, raft::LogIndex end);
// All of the above.
KeyRange BesideEntries(raft::GroupId group);

// Of the store as a whole.
std::string BootIdKey();
std::string CleanMarkKey();
std::string OsCrashKey();  // what the last stop may have cost, while nobody has acted on it: a digit (database.cc)

// Groups first to last were removed; their entries may still be in tables. `sequence`: of no other removal, as ids may be used again.
std::string RemovedGroupsKey(raft::GroupId first, raft::GroupId last, uint64_t sequence);
struct GroupRange {
  raft::GroupId first;
  raft::GroupId last;
};
std::optional<GroupRange> ParseRemovedGroupsKey(std::string_view key);
KeyRange AllRemovedGroups();

}  // namespace millrace::storage
