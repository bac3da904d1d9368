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
// How long a leader may take that is asked for the end of its log.
constexpr std::chrono::milliseconds kFindEndMax{500};

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
  offsets.set_metadata_version(image->version().value());
  commit.errors.resize(static_cast<size_t>(request.offsets_size()));
  for (int i = 0; i < request.offsets_size(); ++i) {
    internal::v1::CommittedOffset offset;
    if (!ResolveCommit(request.offsets(i), *image, &offset, &commit.errors[static_cast<size_t>(i)])) continue;
    // Without a member nobody is overtaken.
    if (request.member_id().empty()) offset.set_epoch(0);
    offset.set_sequence(request.member_id().empty() ? 0 : request.sequence());
    *offsets.add_offsets() = std::move(offset);
    commit.places.push_back(static_cast<size_t>(i));
  }
  Ends ends;
  for (const auto& offset : offsets.offsets()) {
    int64_t& end = ends[{offset.topic_id(), offset.partition()}];
    end = std::max(end, offset.offset());
  }
  const auto pending = std::make_shared<PendingCommit>(std::move(commit));
  FindEnds(std::move(ends), [this, pending](const Ends& told) {
    RefuseBeyondEnds(told, *pending);
    Enqueue(std::move(*pending));
  });
}

// What lies below an end that was heard of, or of this broker's copy, needs no question; of the others each leader is asked. One that
// cannot answer is not told of, and the member is believed: that a leader is away must not keep a group from committing.
void GroupCoordinator::FindEnds(Ends offsets, std::function<void(const Ends&)> then) {
  std::erase_if(offsets, [this](const auto& each) {
    const auto known = known_ends_.find(each.first);
    return known != known_ends_.end() && each.second <= known->second;
  });
  if (offsets.empty() || seams_.find_end == nullptr) return then({});
  struct Question {
    size_t left;
    Ends told;
    std::function<void(const Ends&)> then;
    Executor::TimerId timer = 0;
  };
  const auto question = std::make_shared<Question>(Question{offsets.size(), {}, std::move(then)});
  const auto answer = [self = self_, question, &executor = seams_.executor] {
    if (question->timer != 0) executor.Cancel(std::exchange(question->timer, 0));
    const auto answered = std::exchange(question->then, nullptr);
    if (answered != nullptr && *self != nullptr) answered(question->told);
  };
  question->timer = seams_.executor.After(kFindEndMax, [question, answer] {
    question->timer = 0;
    answer();
  });
  for (const auto& [partition, offset] : offsets) {
    seams_.find_end(partition, offset,
                    [self = self_, partition = partition, question, answer](std::optional<int64_t> end) {
                      if (*self == nullptr) return;
                      if (end) {
                        question->told[partition] = *end;
                        int64_t& known = (*self)->known_ends_[partition];
                        known = std::max(known, *end);
                      }
                      if (--question->left == 0) answer();
                    });
  }
}

ErrorFrame GroupCoordinator::BeyondEnd(PartitionId partition, int64_t offset, const Ends& ends) const {
  const auto end = ends.find(partition);
  if (end == ends.end() || offset <= end->second) return {};
  ErrorFrame error = MakeError(Error::OFFSET_OUT_OF_RANGE, "", partition.partition,
                               absl::StrCat("offset ", offset, " is behind the partition's end, ", end->second,
                                            "; give the offset of the next record to be handled"));
  if (const auto topic = seams_.image()->FindTopic(partition.topic_id)) error.topic = topic->name;
  error.high_watermark = end->second;
  return error;
}

void GroupCoordinator::RefuseBeyondEnds(const Ends& ends, PendingCommit& commit) const {
  auto& offsets = *commit.record.second.mutable_commit()->mutable_offsets();
  std::vector<size_t> places;
  int kept = 0;
  for (int i = 0; i < offsets.size(); ++i) {
    ErrorFrame error = BeyondEnd({offsets[i].topic_id(), offsets[i].partition()}, offsets[i].offset(), ends);
    if (!error.ok()) {
      commit.errors[commit.places[static_cast<size_t>(i)]] = std::move(error);
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
    for (const auto& offset : commits_.front().record.second.commit().offsets()) {
      commits_.front().ids.push_back({offset.topic_id(), offset.partition()});
    }
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

void GroupCoordinator::AnswerCommit(PendingCommit& commit, const std::vector<ErrorCode>& results) const {
  bool all_taken = commit.places.size() == commit.errors.size();
  for (size_t p = 0; p < commit.places.size(); ++p) {
    if (results[p] == Error::NONE) continue;
    all_taken = false;
    ErrorFrame& error = commit.errors[commit.places[p]];
    error = MakeError(
        results[p],
        results[p] == Error::UNKNOWN_MEMBER_ID
            ? "the group has members, and this is none of them; join, or reset its offsets instead"
            : "the partition is not this member's any more, or its position was reset; go by the last assignment");
    const auto& id = commit.ids[p];
    if (const auto topic = seams_.image()->FindTopic(id.topic_id)) error.topic = topic->name;
    error.partition = id.partition;
  }
  commit.done({}, all_taken ? std::vector<ErrorFrame>() : commit.errors);
}

}  // namespace millrace::server
