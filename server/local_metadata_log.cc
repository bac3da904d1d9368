#include "server/local_metadata_log.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/metadata.pb.h"
#include "proto/wire/check.h"
#include "proto/wire/crc32c.h"

namespace millrace::server {
namespace {

using millrace::internal::v1::MetadataRecord;
using millrace::internal::v1::MetadataRecords;

constexpr size_t kReplayBytes = 1 << 20;
constexpr raft::Term kTerm{1};

}  // namespace

LocalMetadataLog::LocalMetadataLog(const TopicConfig& defaults, raft::LogStore& store, LogWriter& writer,
                                   const Clock& clock, ImageListener listener)
    : store_(store),
      writer_(writer),
      clock_(clock),
      listener_(std::move(listener)),
      image_(std::make_shared<const MetadataImage>(defaults)) {}

absl::Status LocalMetadataLog::Load() {
  absl::StatusOr<raft::LogState> state = store_.Open(kMetadataGroup);
  if (state.status().code() == absl::StatusCode::kNotFound) {
    if (absl::Status status = store_.Create(kMetadataGroup, {}); !status.ok()) return status;
    state = store_.Open(kMetadataGroup);
  }
  if (!state.ok()) return state.status();
  if (state->read_only) {
    return absl::DataLossError(absl::StrCat(
        "the last change of the metadata log, entry ", state->last_index.value() + 1,
        ", is damaged: which topics there are is not known for sure; restore the data directory from a backup"));
  }
  tail_ = LogTail(*state);
  for (raft::LogIndex next = state->first_index; next <= state->last_index;) {
    auto entries = store_.ReadEntries(kMetadataGroup, next, state->last_index, kReplayBytes);
    if (!entries.ok()) return entries.status();
    if (entries->empty()) return absl::DataLossError("the metadata log ends before its last entry");
    for (const raft::Entry& entry : *entries) {
      if (absl::Status status = Replay(entry); !status.ok()) return status;
      next = entry.header.index + 1;
    }
  }
  listener_(image_);
  return absl::OkStatus();
}

absl::Status LocalMetadataLog::Replay(const raft::Entry& entry) {
  MetadataRecords records;
  // A flipped bit may parse as another group, and the real one's log would be removed as nobody's.
  if (Crc32c(0, entry.payload) != entry.header.payload_crc || !records.ParseFromString(std::string(entry.payload))) {
    return absl::DataLossError(absl::StrCat("entry ", entry.header.index.value(), " of the metadata log is damaged"));
  }
  MetadataImage::Builder next(*image_);
  for (const MetadataRecord& record : records.records()) {
    if (absl::Status status = next.Replay(record); !status.ok()) return status;
  }
  next.SetVersion(entry.header.index);
  image_ = std::move(next).Build();
  return absl::OkStatus();
}

void LocalMetadataLog::Propose(const MetadataRecords& records, Done done) {
  raft::Entry entry = tail_.Next(raft::EntryType::kRecords, kTerm, clock_.Wall());
  entry.header.record_count = 1;
  entry.payload = absl::Cord(records.SerializeAsString());
  entry.header.payload_crc = Crc32c(0, entry.payload);
  tail_.Advance(entry.header);
  writer_.round().Append(kMetadataGroup, entry);
  writer_.OnDurable([this, entry = std::move(entry), done = std::move(done)] {
    const absl::Status status = Replay(entry);
    MILLRACE_CHECK(status.ok()) << "decided a record that cannot be replayed: " << status.ToString();
    listener_(image_);
    done(absl::OkStatus());
  });
}

}  // namespace millrace::server
