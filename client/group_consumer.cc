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

void GroupConsumer::NoteNotStored(const std::vector<control::OffsetToStore>& offsets) {
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
  if (news.assignment) Adopt(*news.assignment);
  CommitNow(env_.clock.Monotonic());
  if (stopped_.empty()) return absl::OkStatus();
  absl::Status status = std::move(stopped_.front());
  stopped_.pop_front();
  return status;
}

void GroupConsumer::NoteHandled() {
  for (auto& [partition, held] : held_) {
    if (held.reading->position >= 0) held.handled = held.reading->position;
  }
}

void GroupConsumer::DropAll(const std::function<void(std::span<const TopicPartition>)>& told) {
  std::vector<TopicPartition> dropped;
  for (const auto& [partition, held] : held_) {
    reader_.Remove(partition);
    dropped.push_back(partition);
  }
  held_.clear();
  stopped_.clear();
  epoch_ = 0;
  if (!dropped.empty() && told) told(dropped);
}

void GroupConsumer::Adopt(const control::Assignment& assignment) {
  epoch_ = assignment.member_epoch;
  LetGo(assignment);
  Begin(assignment);
  post_([session = session_, epoch = epoch_, held = HeldNow()]() mutable { session->Hold(epoch, std::move(held)); });
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

// Whose position was reset: what the application has of them is of no use any more. Those of them that it had paused.
std::set<TopicPartition> GroupConsumer::DropReset(const control::Assignment& assignment) {
  std::vector<TopicPartition> reset;
  std::set<TopicPartition> paused;
  for (const control::AssignedPartition& each : assignment.partitions) {
    const auto known = held_.find({each.topic, each.partition});
    if (known == held_.end() || known->second.epoch == each.epoch) continue;
    if (known->second.reading->paused) paused.insert(known->first);
    reset.push_back(known->first);
    reader_.Remove(known->first);
    held_.erase(known);
  }
  if (!reset.empty() && options_.on_lost) options_.on_lost(reset);
  return paused;
}

void GroupConsumer::Begin(const control::Assignment& assignment) {
  const std::set<TopicPartition> paused = DropReset(assignment);
  std::vector<TopicPartition> begun;
  for (const control::AssignedPartition& each : assignment.partitions) {
    const TopicPartition partition{each.topic, each.partition};
    if (held_.contains(partition)) continue;
    Held& held = held_[partition] = {each.topic_id, each.epoch, -1, each.committed_offset.value_or(-1)};
    std::optional<Position> from;
    if (each.committed_offset) from = Position::Offset(*each.committed_offset);
    held.reading = reader_.Add(partition, from, env_.clock.Wall());
    held.first_generation = held.reading->read_generation;
    if (paused.contains(partition)) reader_.Pause({&partition, 1}).IgnoreError();
    begun.push_back(partition);
  }
  if (!begun.empty() && options_.on_assigned) options_.on_assigned(begun);
  if (options_.auto_offset_reset == AutoOffsetReset::kNone) StopWithoutPosition(begun);
}

// But those that on_assigned has put somewhere.
void GroupConsumer::StopWithoutPosition(const std::vector<TopicPartition>& begun) {
  for (const TopicPartition& partition : begun) {
    const Held& held = held_.at(partition);
    if (held.committed >= 0 || held.reading->read_generation != held.first_generation) continue;
    reader_.Stop(partition);
    stopped_.push_back(ToStatus({.code = ErrorCode::kOffsetOutOfRange,
                                 .message = "group " + options_.group_id + " has committed no offset of " +
                                            partition.topic + "[" + std::to_string(partition.partition) +
                                            "]; Seek() to where it shall begin, or set auto.offset.reset",
                                 .topic = partition.topic,
                                 .partition = partition.partition}));
  }
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
      if (!status.ok()) NoteNotStored(offsets);
    });
  });
}

std::vector<control::OffsetToStore> GroupConsumer::Positions(const ConsumerRecord* iterated) const {
  std::vector<control::OffsetToStore> offsets;
  for (const auto& [partition, held] : held_) {
    int64_t position = held.reading->position >= 0 ? held.reading->position : held.handled;
    if (StandsAt(iterated, partition.topic, partition.partition)) {
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
    if (StandsAt(iterated, partition.topic, partition.partition)) {
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
