// A member's session with its group's coordinator: joins, beats, hears of assignments, commits. What the member holds is the owner's
// to say; what it may hold, the coordinator's.
//
//     GroupSession session(env, options, addresses, {.topics = {"orders"}}, owner);
//     session.Start();                                 // OnAssignment follows
//     session.Hold(epoch, held);                       // what is read now, under that assignment
//     session.LetGo(epoch, held, commits, leaving);    // the same; `leaving` once what was done of it is committed
//
// A session lasts as long as heartbeats are answered, each counted from when it was sent: after session.timeout.ms without
// an answer nothing may be held any more (valid_until()), whatever the coordinator still believes. Then, and when the coordinator has
// given the member up, it joins anew, under another id, holding nothing: what an earlier one sent can then never pass for its.
//
// Lives on the executor; what is marked so may be called from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/broker_stream.h"
#include "client/control_client.h"
#include "client/environment.h"
#include "client/group_control.h"
#include "client/metadata_cache.h"
#include "millrace/consumer.h"
#include "millrace/options.h"

namespace millrace::client {

class GroupSession : private BrokerStream::Owner {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // All of it; epochs rise.
    virtual void OnAssignment(control::Assignment assignment) = 0;
    // Nothing is the member's any more. It joins again by itself.
    virtual void OnLost(const Error& why) = 0;
    // The coordinator does not want it: it ends.
    virtual void OnRefused(const Error& why) = 0;
  };
  using Committed = std::function<void(absl::Status)>;

  GroupSession(const ClientEnvironment& env, const ConsumerOptions& options, std::vector<std::string> bootstrap,
               Subscription subscription, Owner* owner);
  ~GroupSession() override;

  void Start();

  // What is held now, under the assignment of this epoch.
  void Hold(int32_t epoch, std::vector<control::HeldPartition> held);
  // Likewise; `leaving` is held until `commits` were answered or given up.
  void LetGo(int32_t epoch, std::vector<control::HeldPartition> held, std::vector<control::OffsetToStore> commits,
             std::vector<control::HeldPartition> leaving);

  // `done`: the first error of any offset. Sent again until it is answered, or request.timeout.ms is over.
  void Commit(std::vector<control::OffsetToStore> offsets, Committed done);

  // Tells the coordinator and ends; `done` once it knows, or does not answer for a second.
  void Leave(std::function<void()> done);

  // Any thread: until when, by env.clock, what is held may be used.
  std::chrono::nanoseconds valid_until() const { return std::chrono::nanoseconds(valid_until_.load()); }
  // Any thread: the application asks for records, or is back with them. One that is away for max.poll.interval.ms leaves its group.
  void NotePolling(bool polling);

  std::optional<Trouble> trouble() const { return trouble_; }

 private:
  struct Commitment {
    std::vector<control::OffsetToStore> offsets;
    Committed done;
    Executor::TimerId timer = 0;
    bool sent = false;  // on the stream there is
  };

  absl::Cord PingMessage(uint64_t ping) override { return control::MemberPing(ping); }
  void OnEstablished() override;
  void OnMessage(absl::Cord message) override;
  void OnWritable() override { Send(); }
  void OnLost(const Error& error) override;
  bool ExpectsAnswer() const override { return beat_sent_ != 0 || !commitments_.empty(); }
  void OnSilent() override { metadata_.RefreshElsewhere(stream_->address()); }

  void Route();
  void Beat();
  bool JoinIsUnderWay() const;
  void Send();
  control::Heartbeat Heartbeat(int32_t epoch) const;
  void TakeAssignment(control::Assignment assignment);
  void TakeError(const control::MemberAnswer& answer);
  void TakeCommitted(uint64_t id, const control::MemberAnswer& answer);
  void FinishCommit(uint64_t id, absl::Status status);
  void AfterCommits(std::function<void()> then);
  void Lose(const Error& why);
  void CheckTime();
  void ArmTimer();
  void RejoinSoon();
  std::string NewMemberId();

  ClientEnvironment env_;
  const ConsumerOptions options_;
  const Subscription subscription_;
  Owner* const owner_;
  ControlClient control_;
  MetadataCache metadata_;
  Backoff backoff_;
  std::unique_ptr<BrokerStream> stream_;
  std::unique_ptr<BrokerStream> old_stream_;  // may be on the call stack
  std::string address_;
  Routing routing_ = Routing::kLeaderOnly;
  bool established_ = false;
  bool making_topic_ = false;

  const std::string host_;
  std::string member_id_;
  int32_t told_epoch_ = 0;  // 0: not a member
  int32_t held_epoch_ = 0;  // that the application goes by
  std::vector<control::HeldPartition> held_, leaving_;
  bool beat_due_ = false;
  uint64_t last_id_ = 0;
  uint64_t beat_sent_ = 0;  // its number; 0: none without an answer
  std::chrono::nanoseconds beat_sent_at_{0};
  std::chrono::nanoseconds next_beat_{0};
  std::chrono::milliseconds interval_{1'000};
  std::map<uint64_t, Commitment> commitments_;
  std::deque<std::pair<uint64_t, std::function<void()>>> after_commits_;  // up to this number
  std::function<void()> left_;                                            // while it leaves
  bool leaves_now_ = false;  // likewise, and no commit is on its way any more
  bool ended_ = false;
  bool idle_ = false;  // left, since the application was away too long; until it polls
  Executor::TimerId timer_ = 0, rejoin_timer_ = 0;
  std::optional<Trouble> trouble_;

  std::atomic<int64_t> valid_until_{0};
  std::atomic<int64_t> away_since_;  // INT64_MAX: the application is polling
};

}  // namespace millrace::client
