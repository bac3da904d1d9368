#include "tests/cluster_sim/copies.h"

#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/record_batch.h"

namespace millrace::sim {
namespace {

using raft::Entry;
using raft::LogIndex;

bool HasRecord(const Entry& entry, raft::Offset offset, const std::string& value) {
  const absl::StatusOr<BatchView> batch = ParseBatch(entry.payload);
  if (!batch.ok()) return false;
  RecordReader reader(*batch);
  while (reader.Next()) {
    if (entry.header.base_offset + reader.index() == offset) return reader.record().value == value;
  }
  return false;
}

}  // namespace

// ---- While it runs

Copies::Held Copies::HeldBy(const FakeLogStore& disk, raft::GroupId group, raft::Offset offset,
                            const std::string& value) {
  const bool async = world_.swarm.async;
  if ((async ? disk.WrittenEnd(group) : disk.SyncedEnd(group)) <= offset) return Held::kNothing;
  const std::optional<Entry> entry = async ? disk.WrittenAt(group, offset) : disk.SyncedAt(group, offset);
  if (!entry) return Held::kTrimmed;
  return HasRecord(*entry, offset, value) ? Held::kRecord : Held::kOther;
}

// With flush=async one of them may have lost it to a power cut since.
std::string Copies::Missing(const Place& place, int64_t offset) {
  const auto image = cluster_.image();
  const auto topic = image == nullptr ? nullptr : image->FindTopic(place.topic);
  const RecordId id = world_.ledger.At(place, offset);
  if (topic == nullptr || id < 0) return "";
  if (place.partition >= static_cast<int32_t>(topic->partitions.size())) return "";
  const server::PartitionInfo& partition = topic->partitions[static_cast<size_t>(place.partition)];
  const std::string value = world_.ledger.ValueOf(id);
  size_t copies = 0;
  std::string others;
  for (const raft::ReplicaId& replica : partition.replicas) {
    const Held held = HeldBy(DiskOf(replica), partition.group, raft::Offset(offset), value);
    if (held == Held::kRecord || held == Held::kTrimmed) ++copies;
    if (held == Held::kOther) absl::StrAppend(&others, "; broker ", replica.broker.value(), " holds something else");
  }
  const size_t lost = world_.swarm.async && world_.swarm.Has(Fault::kPowerCut) ? 1 : 0;
  if (copies + lost > partition.replicas.size() / 2) return "";
  return absl::StrCat("which has ", copies, " of ", partition.replicas.size(), " copies", others);
}

// ---- At the end

std::string Copies::OfEach(const std::function<std::string(const Log&)>& check) {
  const auto image = cluster_.image();
  for (const auto& [name, topic] : image->topics()) {
    for (size_t p = 0; p < topic->partitions.size(); ++p) {
      const server::PartitionInfo& partition = topic->partitions[p];
      std::string wrong = check({absl::StrCat(name, "/", p), partition.group, partition.replicas});
      if (!wrong.empty()) return wrong;
    }
  }
  return check({"metadata", server::kMetadataGroup, image->founders()});
}

std::string Copies::Lagging() {
  return OfEach([this](const Log& log) { return LaggingOf(log); });
}

std::string Copies::LaggingOf(const Log& log) {
  std::optional<raft::LogState> first;
  for (const raft::ReplicaId& replica : log.replicas) {
    const auto state = DiskOf(replica).Open(log.group);
    if (!state.ok()) return absl::StrCat("broker ", replica.broker.value(), " has no log of ", log.name);
    if (!first) first = *state;
    if (state->last_index != first->last_index || state->chain != first->chain ||
        state->log_start != first->log_start) {
      return absl::StrCat("broker ", replica.broker.value(), " has entries to ", state->last_index.value(),
                          " and records from ", state->log_start.value(), " to ", state->log_end.value(), " of ",
                          log.name, " (group ", log.group.value(), "), another has entries to ",
                          first->last_index.value(), " and records from ", first->log_start.value(), " to ",
                          first->log_end.value());
    }
  }
  return "";
}

std::string Copies::Unequal() {
  return OfEach([this](const Log& log) { return UnequalOf(log); });
}

// The chain is a digest of all headers so far and knows nothing of the bytes that lie beside them.
std::string Copies::UnequalOf(const Log& log) {
  std::map<LogIndex, std::pair<raft::BrokerId, Entry>> known;
  for (const raft::ReplicaId& replica : log.replicas) {
    FakeLogStore& disk = DiskOf(replica);
    const auto state = disk.Open(log.group);
    if (!state.ok()) return absl::StrCat("broker ", replica.broker.value(), " has no log of ", log.name);
    const auto entries =
        disk.ReadEntries(log.group, state->first_index, state->last_index, std::numeric_limits<size_t>::max());
    if (!entries.ok()) return absl::StrCat(log.name, ": ", std::string(entries.status().message()));
    for (const Entry& entry : *entries) {
      const auto [found, is_first] = known.try_emplace(entry.header.index, replica.broker, entry);
      const auto& [broker, other] = found->second;
      if (entry.header.chain == other.header.chain && entry.payload == other.payload) continue;
      return absl::StrCat("entry ", entry.header.index.value(), " of ", log.name, " (group ", log.group.value(),
                          "), records from ", entry.header.base_offset.value(), ", is another one at broker ",
                          replica.broker.value(), " than at broker ", broker.value());
    }
  }
  return "";
}

}  // namespace millrace::sim
