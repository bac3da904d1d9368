// The application's half of a member of a group: takes over what the coordinator assigns, when the application asks for records, and
// keeps account of what was handled.
//
//     GroupConsumer group(env, options, reader, queue, post);
//     group.SetSession(&session);                                      // which has group.owner() as its owner
//     if (absl::Status status = group.Step(); !status.ok()) …       // at the beginning of each Poll()
//     if (group.MayDeliver()) … reader.Next() …
//
// What Poll() gave was handled once it is called again: then is the time to commit, to let go of partitions (their records are in
// nobody's hands any more), and to begin others.
//
// Application thread, but for what GroupSession::Owner says, which comes on the executor.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "client/consumer_reader.h"
#include "client/environment.h"
#include "client/group_session.h"
#include "millrace/consumer.h"

namespace millrace::client {

// Whether that is where an iteration stands, if there is any.
inline bool StandsAt(const ConsumerRecord* iterated, std::string_view topic, int32_t partition) {
  return iterated != nullptr && iterated->topic == topic && iterated->partition == partition;
}

class GroupConsumer : private GroupSession::Owner {
 public:
  // Runs what is given on the executor, soon and in order.
  using Post = std::function<void(std::function<void()>)>;

  // `session` is made, started and destroyed on the executor by whoever makes this; it has owner() as its owner.
  GroupConsumer(const ClientEnvironment& env, const ConsumerOptions& options, ConsumerReader& reader, FetchQueue& queue,
                Post post);

  GroupSession::Owner* owner() { return this; }
  void SetSession(GroupSession* session) { session_ = session; }

  // Takes over what has come from the coordinator. The error is why this is no member any more, for good.
  absl::Status Step();

  // The session is still good: what is held is nobody else's.
  bool MayDeliver() const;

  // As of now: what Poll() has given, or, of that, what an iteration has reached.
  std::vector<control::OffsetToStore> Positions(const ConsumerRecord* iterated) const;
  // What was surely handled and is not committed yet: as of the last Step(), or, of an iteration, before the record it stands at.
  std::vector<control::OffsetToStore> Handled(const ConsumerRecord* iterated) const;
  // By the application: as good as handled.
  void NoteStored(const std::vector<control::OffsetToStore>& offsets);
  // They were taken for stored too early: the next commit has them again. Any thread.
  void NoteNotStored(const std::vector<control::OffsetToStore>& offsets);
  // Under which epoch the partition is held; 0: it is not.
  int32_t EpochOf(const TopicPartition& partition) const;

 private:
  struct Held {
    uint64_t topic_id = 0;
    int32_t epoch = 0;
    int64_t handled = -1;    // offset of the next one to be handled
    int64_t committed = -1;  // as sent to the coordinator, or heard of it
    std::shared_ptr<const FetchPartition> reading = {};
    uint64_t first_generation = 0;  // of that; another one: the application has put it elsewhere
  };
  struct News {
    std::optional<control::Assignment> assignment;
    std::optional<Error> lost;
    std::optional<Error> refused;
    std::vector<control::OffsetToStore> not_stored;  // of commits that failed
  };

  void OnAssignment(control::Assignment assignment) override;
  void OnLost(const Error& why) override;
  void OnRefused(const Error& why) override;

  void NoteHandled();
  void DropAll(const std::function<void(std::span<const TopicPartition>)>& told);
  void Adopt(const control::Assignment& assignment);
  void LetGo(const control::Assignment& assignment);
  std::set<TopicPartition> DropReset(const control::Assignment& assignment);
  void Begin(const control::Assignment& assignment);
  void StopWithoutPosition(const std::vector<TopicPartition>& begun);
  void CommitNow(std::chrono::nanoseconds now);
  std::vector<control::HeldPartition> HeldNow() const;
  control::OffsetToStore OffsetOf(const TopicPartition& partition, const Held& held, int64_t offset) const;

  const ClientEnvironment env_;
  const ConsumerOptions options_;
  ConsumerReader& reader_;
  FetchQueue& queue_;
  const Post post_;
  GroupSession* session_ = nullptr;  // used on the executor, but for valid_until()

  std::map<TopicPartition, Held> held_;
  int32_t epoch_ = 0;
  std::chrono::nanoseconds committed_at_;
  absl::Status refused_;
  std::deque<absl::Status>
      stopped_;  // partitions of which nothing is committed, with auto.offset.reset=none; not told yet

  std::mutex mutex_;
  News news_;  // guarded by mutex_
};

}  // namespace millrace::client
