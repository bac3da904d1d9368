#include "server/metadata_log.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "millrace/internal/v1/metadata.pb.h"
#include "proto/wire/check.h"
#include "proto/wire/crc32c.h"
#include "raft/persisted_state.h"
#include "server/log.h"

namespace millrace::server {
namespace {

using millrace::internal::v1::MetadataRecord;
using millrace::internal::v1::MetadataRecords;

// Segments go whole, so small ones let the log go soon after a snapshot.
constexpr raft::SegmentLimits kSegmentLimits{.bytes_max = 1 << 20};
constexpr std::string_view kSnapshotKey = "metadata.snapshot.";
constexpr size_t kPieceBytes = 256 << 10;

// Keys of pieces sort as the pieces.
std::string PieceKey(size_t piece) {
  return absl::StrCat(absl::string_view(kSnapshotKey.data(), kSnapshotKey.size()), absl::Dec(piece, absl::kZeroPad6));
}

absl::Status Replay(const raft::Entry& entry, MetadataImage::Builder& image) {
  MetadataRecords records;
  // A flipped bit may parse as another group, whose log would then be removed as nobody's.
  if (Crc32c(0, entry.payload) != entry.header.payload_crc || !records.ParseFromString(std::string(entry.payload))) {
    return absl::DataLossError("it is damaged");
  }
  for (const MetadataRecord& record : records.records()) {
    if (absl::Status status = image.Replay(record); !status.ok()) return status;
  }
  return absl::OkStatus();
}

struct Saved {
  MetadataSnapshot snapshot;
  size_t pieces = 0;
};

absl::StatusOr<Saved> ReadSaved(raft::LogStore& store, const TopicConfig& defaults) {
  auto values = store.Values(kMetadataGroup);
  if (!values.ok()) return values.status();
  std::ranges::sort(*values);
  absl::Cord bytes;
  Saved saved{{std::make_shared<const MetadataImage>(defaults), raft::Offset()}};
  for (auto& [key, value] : *values) {
    if (!key.starts_with(kSnapshotKey)) continue;
    bytes.Append(std::move(value));
    ++saved.pieces;
  }
  if (saved.pieces == 0) return saved;
  auto snapshot = DecodeSnapshot(bytes, defaults);
  if (!snapshot.ok()) return snapshot.status();
  saved.snapshot = *std::move(snapshot);
  return saved;
}

}  // namespace

absl::Status MakeMetadataLog(raft::LogStore& store, const raft::ReplicaSet& members) {
  if (absl::Status status = store.Create(kMetadataGroup, kSegmentLimits);
      !status.ok() && !absl::IsAlreadyExists(status)) {
    return status;
  }
  auto state = store.Open(kMetadataGroup);
  if (!state.ok()) return state.status();
  if (state->term_and_vote != raft::TermAndVote() || state->last_index > raft::LogIndex(0)) {
    return absl::FailedPreconditionError("the store has a metadata log that is in use");
  }
  const auto round = store.NewRound();
  raft::StageMemberships(*round, kMetadataGroup, {{raft::LogIndex(0), {.voters = members}}});
  return store.Write(*round);
}

absl::StatusOr<std::unique_ptr<MetadataLog>> MetadataLog::Load(raft::LogStore& store, const Clock& clock,
                                                               Options options) {
  auto state = store.Open(kMetadataGroup);
  if (!state.ok()) return state.status();
  auto saved = ReadSaved(store, options.defaults);
  if (!saved.ok()) return saved.status();
  MetadataSnapshot& snapshot = saved->snapshot;
  const raft::LogBegin& begin = state->begin;
  if (begin.end_offset > snapshot.end_offset) {
    return absl::DataLossError(absl::StrCat(
        "the metadata's log begins at offset ", begin.end_offset.value(), ", its snapshot ends at ",
        snapshot.end_offset.value(), ": what is between is not known; restore the data directory from a backup"));
  }
  // Entries without records may have gone with those before them.
  if (begin.before.index > snapshot.image->version()) {
    MetadataImage::Builder image(*snapshot.image);
    image.SetVersion(begin.before.index);
    snapshot.image = std::move(image).Build();
  }
  return std::unique_ptr<MetadataLog>(new MetadataLog(clock, std::move(options), std::move(snapshot), saved->pieces));
}

MetadataLog::MetadataLog(const Clock& clock, Options options, MetadataSnapshot saved, size_t saved_pieces)
    : clock_(clock),
      options_(std::move(options)),
      image_(std::move(saved.image)),
      end_offset_(saved.end_offset),
      saved_version_(image_->version()),
      saved_pieces_(saved_pieces) {
  if (options_.on_image) options_.on_image(image_);
}

// ---- Proposing

void MetadataLog::Propose(const MetadataRecords& records, Done done) {
  if (!is_controller_) {
    return done(absl::FailedPreconditionError("this broker is not the controller; nothing has changed"));
  }
  raft::Entry entry;
  entry.header.type = raft::EntryType::kRecords;
  entry.header.record_count = 1;
  entry.header.append_time = entry.header.max_timestamp = clock_.Wall();
  entry.payload = absl::Cord(records.SerializeAsString());
  entry.header.payload_crc = Crc32c(0, entry.payload);
  const auto id = group_->Propose(std::move(entry));
  if (!id.ok()) return done(id.status());
  pending_.push_back({*id, std::move(done)});
}

void MetadataLog::AnswerApplied() {
  while (!pending_.empty() && pending_.front().id.index <= image_->version()) {
    const Done done = std::move(pending_.front().done);
    pending_.pop_front();
    done(absl::OkStatus());
  }
}

void MetadataLog::FailPending(raft::LogIndex first) {
  std::deque<Pending> lost;
  while (!pending_.empty() && pending_.back().id.index >= first) {
    lost.push_front(std::move(pending_.back()));
    pending_.pop_back();
  }
  for (const Pending& pending : lost) {
    pending.done(absl::UnknownError(
        "the broker ceased to be the controller before it was known whether the change took effect; look before trying "
        "again"));
  }
}

void MetadataLog::OnTruncated(raft::LogIndex first_removed) { FailPending(first_removed); }

void MetadataLog::OnRoleChange(const raft::RoleChange& change) {
  leader_ = change.leader;
  if (options_.on_role_change) options_.on_role_change(change);
  const bool leads = change.role == raft::Role::kLeader;
  if (leads && leading_ == change.term) return;
  leading_ = leads ? std::optional(change.term) : std::nullopt;
  SetController(false);
  FailPending(raft::LogIndex(0));
}

void MetadataLog::SetController(bool is_controller) {
  if (is_controller_ == is_controller) return;
  is_controller_ = is_controller;
  if (options_.on_controller) options_.on_controller(is_controller);
}

// ---- Applying

void MetadataLog::Apply(const std::vector<raft::Entry>& entries) {
  if (!status_.ok()) return;
  MaybeSave();
  MetadataImage::Builder next(*image_);
  for (const raft::Entry& entry : entries) {
    const absl::Status status = entry.header.type == raft::EntryType::kRecords ? Replay(entry, next) : absl::OkStatus();
    if (!status.ok()) {
      return Fail(absl::Status(status.code(), absl::StrCat("entry ", entry.header.index.value(),
                                                           " of the metadata log: ", status.message())));
    }
    next.SetVersion(entry.header.index);
  }
  const raft::EntryHeader& last = entries.back().header;
  end_offset_ = last.end_offset();
  Publish(std::move(next).Build());
  AnswerApplied();
  // Its first entry in a term has all of earlier terms before it.
  if (leading_ == last.term) SetController(true);
}

void MetadataLog::Publish(std::shared_ptr<const MetadataImage> image) {
  image_ = std::move(image);
  if (options_.on_image) options_.on_image(image_);
}

absl::Status MetadataLog::ApplyDamaged(raft::LogIndex index, const absl::Status& damage) {
  Fail(
      absl::DataLossError(absl::StrCat("entry ", index.value(), " of the metadata log is damaged: ", damage.message(),
                                       "; restore the data directory from a backup, or give the broker an empty one")));
  return status_;
}

void MetadataLog::Fail(absl::Status status) {
  if (!status_.ok()) return;
  status_ = std::move(status);
  SetController(false);
  FailPending(raft::LogIndex(0));
  if (options_.on_fatal) options_.on_fatal(status_);
}

void MetadataLog::OnNotice(const raft::Notice& notice) {
  switch (notice.kind) {
    case raft::Notice::kPossibleLoss:
      MILLRACE_LOG(kError,
                   "the controller was elected by brokers that may have lost what they had: changes of topics and "
                   "brokers that were made lately may be gone");
      return;
    case raft::Notice::kLostDurability:
      MILLRACE_LOG(kError, "a broker no longer has changes of the metadata that it had stored; look at its disk",
                   {"broker", notice.replica.broker.value()});
      return;
    case raft::Notice::kDamagedEntry:
      MILLRACE_LOG(kError, "an entry of the metadata log is damaged here, and another broker needs it",
                   {"entry", notice.index.value()}, {"broker", notice.replica.broker.value()});
      return;
    case raft::Notice::kDiskStalled:
      MILLRACE_LOG(kWarning,
                   "gave up being the controller: the disk has not finished a write for an election time-out");
      return;
    case raft::Notice::kAbstainingEnded:
    case raft::Notice::kTransferAborted:
      return;
  }
}

// ---- Snapshots

// Before new entries are applied: what the image stands for is then what the driver counts as applied.
void MetadataLog::MaybeSave() {
  if (image_->version() - saved_version_ <= options_.entries_per_snapshot) return;
  Save(group_->round());
  group_->SetLogStart(end_offset_);
}

void MetadataLog::Save(raft::Round& round) {
  const std::string bytes(EncodeSnapshot({image_, end_offset_}));
  size_t pieces = 0;
  for (size_t at = 0; at < bytes.size(); at += kPieceBytes) {
    round.PutValue(kMetadataGroup, PieceKey(pieces++), std::string_view(bytes).substr(at, kPieceBytes));
  }
  for (size_t piece = pieces; piece < saved_pieces_; ++piece) round.DeleteValue(kMetadataGroup, PieceKey(piece));
  saved_pieces_ = pieces;
  saved_version_ = image_->version();
}

std::optional<raft::StateMachine::Snapshot> MetadataLog::MakeSnapshot() {
  if (!status_.ok()) return std::nullopt;
  return Snapshot{.last = image_->version(), .state = EncodeSnapshot({image_, end_offset_})};
}

absl::Status MetadataLog::Install(const raft::InstallSnapshot& snapshot, raft::Round& round) {
  auto decoded = DecodeSnapshot(snapshot.state, options_.defaults);
  if (!decoded.ok()) return decoded.status();
  if (decoded->image->version() != snapshot.last.index || decoded->end_offset != snapshot.end_offset) {
    return absl::DataLossError(absl::StrCat("the snapshot of the metadata is of entry ",
                                            decoded->image->version().value(), ", and not of ",
                                            snapshot.last.index.value()));
  }
  end_offset_ = decoded->end_offset;
  Publish(std::move(decoded->image));
  Save(round);
  return absl::OkStatus();
}

}  // namespace millrace::server
