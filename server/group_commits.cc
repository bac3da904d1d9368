// A group coordinator's commits: on their way from a request to the log, and what is answered.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/utf8.h"
#include "server/group_coordinator.h"

namespace millrace::server {
namespace {

using v1::Error;

// Two: while one is being synced the other collects what came meanwhile.
constexpr int kCommitBatchesMax = 2;
constexpr size_t kBatchBytesMax = 512 << 10;

}  // namespace

bool GroupCoordinator::ResolveCommit(const v1::OffsetCommit& from, const MetadataImage& image,
                                     internal::v1::CommittedOffset* to, ErrorFrame* error) const {
  const auto topic = from.topic().empty() ? image.FindTopic(from.topic_id()) : image.FindTopic(from.topic());
  const auto refuse = [&](ErrorCode code, std::string message) {
    *error = MakeError(code, from.topic(), from.partition(), std::move(message));
    return false;
  };
  if (topic != nullptr && from.topic_id() != 0 && from.topic_id() != topic->topic_id) {
    return refuse(Error::UNKNOWN_TOPIC_ID,
                  absl::StrCat("topic ", from.topic(), " was deleted and made anew; its offsets begin at 0 again"));
  }
  if (topic == nullptr || from.partition() < 0 || from.partition() >= static_cast<int32_t>(topic->partitions.size())) {
    *error = NoTopic(topic == nullptr ? from.topic() : topic->name, from.partition());
    return false;
  }
  if (from.offset() < 0) {
    return refuse(Error::INVALID_REQUEST, absl::StrCat("offset ", from.offset(), " is negative"));
  }
  if (from.metadata().size() > kMetadataMax || !IsUtf8(from.metadata())) {
    return refuse(
        Error::INVALID_COMMIT_OFFSET_SIZE,
        absl::StrCat("metadata has at most ", kMetadataMax, " bytes of UTF-8, this has ", from.metadata().size()));
  }
  to->set_topic_id(topic->topic_id);
  to->set_partition(from.partition());
  to->set_offset(from.offset());
  to->set_leader_epoch(from.leader_epoch());
  to->set_metadata(from.metadata());
  to->set_epoch(from.epoch());
  to->set_commit_time(seams_.clock.Wall());
  return true;
}

void GroupCoordinator::Commit(const v1::CommitOffsetsRequest& request, CommitDone done) {
  if (!serving()) return done(seams_.not_leader(), {});
  if (ErrorFrame error = CheckName(request.group()); !error.ok()) return done(error, {});
  PendingCommit commit{.record = {request.group(), {}}, .done = std::move(done)};
  auto& offsets = *commit.record.second.mutable_commit();
  offsets.set_member_id(request.member_id());
  const auto image = seams_.image();
  commit.errors.resize(static_cast<size_t>(request.offsets_size()));
  for (int i = 0; i < request.offsets_size(); ++i) {
    internal::v1::CommittedOffset offset;
    if (!ResolveCommit(request.offsets(i), *image, &offset, &commit.errors[static_cast<size_t>(i)])) continue;
    offset.set_sequence(request.sequence());
    *offsets.add_offsets() = std::move(offset);
    commit.places.push_back(static_cast<size_t>(i));
  }
  CheckEnds(std::make_shared<PendingCommit>(std::move(commit)));
}

// What lies below an end that was heard of needs no question; of the others each leader is asked. If it cannot answer, the member is
// believed: that a leader is away must not keep a group from committing.
void GroupCoordinator::CheckEnds(const std::shared_ptr<PendingCommit>& commit) {
  std::vector<PartitionId> unknown;
  for (const auto& offset : commit->record.second.commit().offsets()) {
    const PartitionId partition{offset.topic_id(), offset.partition()};
    const auto known = known_ends_.find(partition);
    if (known == known_ends_.end() || offset.offset() > known->second) unknown.push_back(partition);
  }
  if (unknown.empty() || seams_.find_end == nullptr) return Enqueue(std::move(*commit));
  const auto left = std::make_shared<size_t>(unknown.size());
  const auto told = std::make_shared<std::map<PartitionId, int64_t>>();
  for (const PartitionId& partition : unknown) {
    seams_.find_end(partition, [self = self_, partition, left, told, commit](std::optional<int64_t> end) {
      GroupCoordinator* const coordinator = *self;
      if (coordinator == nullptr) return;
      if (end) (*told)[partition] = *end;
      if (end) coordinator->known_ends_[partition] = std::max(coordinator->known_ends_[partition], *end);
      if (--*left > 0) return;
      coordinator->RefuseBeyondEnds(*told, *commit);
      coordinator->Enqueue(std::move(*commit));
    });
  }
}

void GroupCoordinator::RefuseBeyondEnds(const std::map<PartitionId, int64_t>& ends, PendingCommit& commit) const {
  auto& offsets = *commit.record.second.mutable_commit()->mutable_offsets();
  std::vector<size_t> places;
  int kept = 0;
  for (int i = 0; i < offsets.size(); ++i) {
    const auto end = ends.find({offsets[i].topic_id(), offsets[i].partition()});
    if (end != ends.end() && offsets[i].offset() > end->second) {
      ErrorFrame& error = commit.errors[commit.places[static_cast<size_t>(i)]];
      error = MakeError(Error::OFFSET_OUT_OF_RANGE, "", offsets[i].partition(),
                        absl::StrCat("offset ", offsets[i].offset(), " is behind the partition's end, ", end->second,
                                     "; commit the offset of the next record to be handled"));
      if (const auto topic = seams_.image()->FindTopic(offsets[i].topic_id())) error.topic = topic->name;
      error.high_watermark = end->second;
      continue;
    }
    places.push_back(commit.places[static_cast<size_t>(i)]);
    offsets.SwapElements(i, kept++);
  }
  offsets.DeleteSubrange(kept, offsets.size() - kept);
  commit.places = std::move(places);
}

void GroupCoordinator::Enqueue(PendingCommit commit) {
  if (!serving()) return commit.done(seams_.not_leader(), {});
  if (commit.places.empty()) return commit.done({}, commit.errors);
  commits_.push_back(std::move(commit));
  if (commits_.size() > 1) return;
  seams_.executor.Defer([self = self_] {
    if (*self != nullptr) (*self)->FlushCommits();
  });
}

void GroupCoordinator::FlushCommits() {
  while (!commits_.empty() && commit_batches_ < kCommitBatchesMax) AppendCommits();
}

void GroupCoordinator::AppendCommits() {
  std::vector<Record> records;
  auto batch = std::make_shared<std::vector<PendingCommit>>();
  for (size_t bytes = 0; !commits_.empty() && bytes < kBatchBytesMax;) {
    bytes += commits_.front().record.second.ByteSizeLong();
    records.push_back(std::move(commits_.front().record));
    batch->push_back(std::move(commits_.front()));
    commits_.pop_front();
  }
  ++commit_batches_;
  Append(std::move(records), [this, batch](const ErrorFrame& error, const Results& results) {
    --commit_batches_;
    for (size_t i = 0; i < batch->size(); ++i) {
      PendingCommit& commit = (*batch)[i];
      error.ok() ? AnswerCommit(commit, results[i]) : commit.done(error, {});
    }
    if (serving()) FlushCommits();
  });
}

void GroupCoordinator::AnswerCommit(PendingCommit& commit, const std::vector<ErrorCode>& results) {
  bool all_taken = commit.places.size() == commit.errors.size();
  for (size_t p = 0; p < commit.places.size(); ++p) {
    if (results[p] == Error::NONE) continue;
    all_taken = false;
    commit.errors[commit.places[p]] = MakeError(
        results[p],
        results[p] == Error::UNKNOWN_MEMBER_ID
            ? "the group has members, and this is none of them; join, or reset its offsets instead"
            : "the partition is not this member's any more, or its position was reset; go by the last assignment");
  }
  commit.done({}, all_taken ? std::vector<ErrorFrame>() : commit.errors);
}

}  // namespace millrace::server
