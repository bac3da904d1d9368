#include "tests/storage/store_text.h"

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/wire/crc32c.h"
#include "storage/entry_format.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::EntryHeader;
using raft::GroupId;
using raft::LogState;
using raft::Offset;

constexpr size_t kAllBytes = size_t{1} << 40;

std::string TextOf(GroupId group, const LogState& state, const std::vector<raft::SegmentInfo>& segments,
                   const std::vector<Entry>& entries, const std::map<std::string, std::string>& values) {
  uint32_t digest = 0;
  for (const Entry& entry : entries) digest = ChainDigest(digest, entry.header);
  std::string text =
      absl::StrCat("log ", group.value(), ": entries ", state.first_index.value(), "-", state.last_index.value(),
                   " offsets ", state.log_start.value(), "-", state.log_end.value(), " behind ",
                   state.begin.before.term.value(), "/", state.begin.end_offset.value(), "/", state.begin.append_time,
                   "/", absl::Hex(state.begin.chain), " bytes ", state.bytes, " term ", state.last_term.value(),
                   " time ", state.last_append_time, " chain ", absl::Hex(state.chain), " digest ", absl::Hex(digest));
  const raft::TermAndVote& stored = state.term_and_vote;
  absl::StrAppend(&text, "; term ", stored.term.value(), " vote ", stored.voted_for.broker.value(), "/",
                  stored.voted_for.incarnation, " commit ", stored.commit_index.value(),
                  stored.abstaining ? " abstaining" : "", "; segments");
  for (const raft::SegmentInfo& segment : segments) {
    absl::StrAppend(&text, " ", segment.first_index.value(), "/", segment.end_offset.value(), "/",
                    segment.last_append_time, "/", segment.bytes);
  }
  absl::StrAppend(&text, "; values");
  for (const auto& [key, value] : values) absl::StrAppend(&text, " ", key, "=", value);
  return text + "\n";
}

absl::Status Contradiction(GroupId group, const EntryHeader& header, const std::string& what) {
  return absl::DataLossError(absl::StrCat("log ", group.value(), " entry ", header.index.value(), ": ", what));
}

absl::Status CheckEntries(RocksLogStore& store, GroupId group, const LogState& state,
                          const std::vector<Entry>& entries) {
  if (static_cast<int64_t>(entries.size()) != state.last_index - state.first_index + 1) {
    return absl::DataLossError(absl::StrCat("log ", group.value(), " has ", entries.size(), " entries instead of ",
                                            state.last_index - state.first_index + 1));
  }
  for (const Entry& entry : entries) {
    const EntryHeader& header = entry.header;
    const bool has_crc = header.type != raft::EntryType::kMembership;  // made by the core, which knows no checksums
    if (has_crc && Crc32c(0, entry.payload) != header.payload_crc)
      return Contradiction(group, header, "another payload");
    if (header.record_count == 0 || header.base_offset < state.log_start || header.index.value() % 4 != 0) continue;
    const auto found = store.Read(group, header.base_offset, header.end_offset(), 1);
    if (!found.ok()) return found.status();
    if (found->empty() || found->front().header.end_offset() != header.end_offset()) {
      return Contradiction(group, header, "is not found by its offset");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TextOf(RocksLogStore& store, GroupId group) {
  const auto state = store.Open(group);
  if (!state.ok()) return state.status();
  const auto entries = store.ReadEntries(group, state->first_index, state->last_index, kAllBytes);
  if (!entries.ok()) return entries.status();
  if (absl::Status status = CheckEntries(store, group, *state, *entries); !status.ok()) return status;
  const auto values = store.Values(group);
  if (!values.ok()) return values.status();
  return TextOf(group, *state, store.Segments(group), *entries, {values->begin(), values->end()});
}

}  // namespace

std::string TextOf(const Workload::Logs& logs) {
  std::string text;
  for (const auto& [group, log] : logs) {
    const LogState state = log.State();
    const auto entries = log.ReadEntries(state.first_index, state.last_index, kAllBytes);
    text += TextOf(group, state, log.Segments(), *entries, log.values());
  }
  return text;
}

absl::StatusOr<std::string> TextOf(RocksLogStore& store) {
  const auto groups = store.List();
  if (!groups.ok()) return groups.status();
  std::string text;
  for (GroupId group : *groups) {
    absl::StatusOr<std::string> line = TextOf(store, group);
    if (!line.ok()) return line.status();
    text += *line;
  }
  return text;
}

}  // namespace millrace::storage
