#include "client/group_consumer.h"

#include <utility>

#include "client/status.h"

namespace millrace::client {

using std::chrono::nanoseconds;

GroupConsumer::GroupConsumer(const ClientEnvironment& env, const ConsumerOptions& options, ConsumerReader& reader,
                             FetchQueue& queue, Post post)
    : env_(env),
      options_(options),
      reader_(reader),
      queue_(queue),
      post_(std::move(post)),
      committed_at_(env.clock.Monotonic()) {
  reader_.Open();
}

// ---- From the session

void GroupConsumer::OnAssignment(control::Assignment assignment) {
  {
    std::lock_guard lock(mutex_);
    news_.assignment = std::move(assignment);
  }
  queue_.Nudge();
}

void GroupConsumer::OnLost(const Error& why) {
  {
    std::lock_guard lock(mutex_);
    news_.lost = why;
    news_.assignment.reset();
  }
  queue_.Nudge();
}

void GroupConsumer::OnRefused(const Error& why) {
  {
    std::lock_guard lock(mutex_);
    news_.assignment.reset();
    news_.lost = news_.refused = why;
  }
  queue_.Nudge();
}

void GroupConsumer::OnNotStored(const std::vector<control::OffsetToStore>& offsets) {
  std::lock_guard lock(mutex_);
  news_.not_stored.insert(news_.not_stored.end(), offsets.begin(), offsets.end());
}

// ---- To the application

bool GroupConsumer::MayDeliver() const { return env_.clock.Monotonic() < session_->valid_until(); }

absl::Status GroupConsumer::Step() {
  NoteHandled();
  News news;
  {
    std::lock_guard lock(mutex_);
    std::swap(news, news_);
  }
  for (const control::OffsetToStore& each : news.not_stored) {
    const auto held = held_.find({each.topic, each.partition});
    if (held != held_.end() && held->second.committed == each.offset) held->second.committed = -1;
  }
  if (news.lost) DropAll(options_.on_lost);
  if (news.refused) refused_ = ToStatus(*news.refused);
  if (!refused_.ok()) return refused_;
  absl::Status status;
  if (news.assignment) status = Adopt(*news.assignment);
  CommitNow(env_.clock.Monotonic());
  return status;
}

void GroupConsumer::NoteHandled() {
  for (auto& [partition, held] : held_) {
    if (const int64_t position = reader_.PositionOf(partition); position >= 0) held.handled = position;
  }
}

void GroupConsumer::DropAll(const std::function<void(std::span<const TopicPartition>)>& told) {
  std::vector<TopicPartition> dropped;
  for (const auto& [partition, held] : held_) {
    reader_.Remove(partition);
    dropped.push_back(partition);
  }
  held_.clear();
  epoch_ = 0;
  if (!dropped.empty() && told) told(dropped);
}

absl::Status GroupConsumer::Adopt(const control::Assignment& assignment) {
  epoch_ = assignment.member_epoch;
  LetGo(assignment);
  absl::Status status = Begin(assignment);
  post_([session = session_, epoch = epoch_, held = HeldNow()]() mutable { session->Hold(epoch, std::move(held)); });
  return status;
}

void GroupConsumer::LetGo(const control::Assignment& assignment) {
  std::map<TopicPartition, Held> leaving = held_;
  for (const control::AssignedPartition& each : assignment.partitions) leaving.erase({each.topic, each.partition});
  if (leaving.empty()) return;
  std::vector<TopicPartition> partitions;
  for (const auto& [partition, held] : leaving) {
    reader_.Remove(partition);
    partitions.push_back(partition);
  }
  if (options_.on_revoked) options_.on_revoked(partitions);
  std::vector<control::OffsetToStore> commits;
  std::vector<control::HeldPartition> held_before;
  for (const auto& [partition, held] : leaving) {
    if (options_.auto_commit && held.handled >= 0 && held.handled != held_.at(partition).committed) {
      commits.push_back(OffsetOf(partition, held, held.handled));
    }
    held_before.push_back({held.topic_id, partition.partition, held.handled});
    held_.erase(partition);
  }
  post_([session = session_, epoch = epoch_, held = HeldNow(), commits = std::move(commits),
         leaving = std::move(held_before)]() mutable {
    session->LetGo(epoch, std::move(held), std::move(commits), std::move(leaving));
  });
}

absl::Status GroupConsumer::Begin(const control::Assignment& assignment) {
  absl::Status status;
  std::vector<TopicPartition> begun;
  for (const control::AssignedPartition& each : assignment.partitions) {
    const TopicPartition partition{each.topic, each.partition};
    const auto known = held_.find(partition);
    if (known != held_.end() && known->second.epoch == each.epoch) continue;
    const bool is_new = known == held_.end();
    if (!is_new) reader_.Remove(partition);  // its position was reset
    held_[partition] = {each.topic_id, each.epoch, -1, each.committed_offset.value_or(-1)};
    if (!each.committed_offset && options_.auto_offset_reset == AutoOffsetReset::kNone) {
      status = ToStatus({.code = ErrorCode::kOffsetOutOfRange,
                         .message = "group " + options_.group_id +
                                    " has committed no offset of this partition; Seek() "
                                    "to where it shall begin, or set auto.offset.reset",
                         .topic = each.topic,
                         .partition = each.partition});
    }
    std::optional<Position> from;
    if (each.committed_offset) from = Position::Offset(*each.committed_offset);
    reader_.Add(partition, from, env_.clock.Wall());
    if (!status.ok() && !from) (void)reader_.Pause({&partition, 1});
    if (is_new) begun.push_back(partition);
  }
  if (!begun.empty() && options_.on_assigned) options_.on_assigned(begun);
  return status;
}

// ---- Commits

void GroupConsumer::CommitNow(nanoseconds now) {
  if (!options_.auto_commit || now - committed_at_ < options_.auto_commit_interval) return;
  committed_at_ = now;
  std::vector<control::OffsetToStore> offsets = Handled(nullptr);
  if (offsets.empty()) return;
  for (const control::OffsetToStore& each : offsets) held_.at({each.topic, each.partition}).committed = each.offset;
  // What fails comes again with the next, unless the partition is another's by then.
  post_([this, session = session_, offsets = std::move(offsets)] {
    session->Commit(offsets, [this, offsets](const absl::Status& status) {
      if (!status.ok()) OnNotStored(offsets);
    });
  });
}

std::vector<control::OffsetToStore> GroupConsumer::Positions(const ConsumerRecord* iterated) const {
  std::vector<control::OffsetToStore> offsets;
  for (const auto& [partition, held] : held_) {
    int64_t position = reader_.PositionOf(partition);
    if (position < 0) position = held.handled;
    if (iterated != nullptr && iterated->topic == partition.topic && iterated->partition == partition.partition) {
      position = iterated->offset + 1;
    }
    if (position >= 0) offsets.push_back(OffsetOf(partition, held, position));
  }
  return offsets;
}

std::vector<control::OffsetToStore> GroupConsumer::Handled(const ConsumerRecord* iterated) const {
  std::vector<control::OffsetToStore> offsets;
  for (const auto& [partition, held] : held_) {
    int64_t handled = held.handled;
    if (iterated != nullptr && iterated->topic == partition.topic && iterated->partition == partition.partition) {
      handled = std::max(handled, iterated->offset);
    }
    if (handled >= 0 && handled != held.committed) offsets.push_back(OffsetOf(partition, held, handled));
  }
  return offsets;
}

void GroupConsumer::NoteStored(const std::vector<control::OffsetToStore>& offsets) {
  for (const control::OffsetToStore& each : offsets) {
    const auto held = held_.find({each.topic, each.partition});
    if (held != held_.end() && held->second.epoch == each.epoch)
      held->second.handled = held->second.committed = each.offset;
  }
}

int32_t GroupConsumer::EpochOf(const TopicPartition& partition) const {
  const auto found = held_.find(partition);
  return found == held_.end() ? 0 : found->second.epoch;
}

control::OffsetToStore GroupConsumer::OffsetOf(const TopicPartition& partition, const Held& held,
                                               int64_t offset) const {
  return {.topic = partition.topic,
          .topic_id = held.topic_id,
          .partition = partition.partition,
          .epoch = held.epoch,
          .offset = offset,
          .leader_epoch = 0,
          .metadata = {}};
}

std::vector<control::HeldPartition> GroupConsumer::HeldNow() const {
  std::vector<control::HeldPartition> held;
  for (const auto& [partition, each] : held_) held.push_back({each.topic_id, partition.partition, each.handled});
  return held;
}

}  // namespace millrace::client
