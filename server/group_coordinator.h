// Coordinates the consumer groups whose records are in one partition of the topic kGroupsTopic: while this broker leads it. What is
// promised to members is in group.proto; what a group is, in group_state.h; what becomes of it, in group_decision.h.
//
//     coordinator.Heartbeat(request, [](const ErrorFrame& error, const v1::HeartbeatResponse& response) { … }, news);
//     coordinator.Commit(request, [](const ErrorFrame& error, const std::vector<ErrorFrame>& errors) { … });
//
// One decision of a group at a time is on its way through the log; what happens meanwhile goes into the next. Commits do not wait
// for that: they are checked when they are replayed, and those that come while others are being written make up the next batch.
//
// Sessions (who was heard when) are not in the log. A new coordinator gives everybody a whole session time-out and kGrace. An
// answer to a heartbeat counts from when that was sent; it is given only by who was confirmed to lead within kConfirmedFor (a
// leader that stood still may have been replaced long ago): since kConfirmedFor < kGrace, whoever was told that it is a member
// stops by its own clock before a new coordinator gives its partitions away.
//
// Lives on the partition's executor; answers come there, perhaps at once. Errors: group.proto's; NOT_LEADER_OR_FOLLOWER once it serves no
// more, to all who wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "millrace/v1/group.pb.h"
#include "proto/wire/runtime.h"
#include "server/applied_state.h"
#include "server/batch_validation.h"
#include "server/group_decision.h"
#include "server/group_state.h"
#include "server/metadata_image.h"

namespace millrace::server {

inline constexpr char kGroupsTopic[] = "__consumer_groups";

class GroupCoordinator : public AppliedState {
 public:
  static constexpr std::chrono::milliseconds kConfirmedFor{300};
  static constexpr std::chrono::milliseconds kGrace{500};
  static constexpr size_t kMembersMax = 1'000;
  static constexpr size_t kMetadataMax = 4'096;
  static constexpr size_t kTopicsMax = 1'000;  // that a member names
  static constexpr size_t kPatternMax = 1'000;
  static constexpr size_t kNameMax = 255;  // of groups, members and instances, in bytes

  // All of it outlives the coordinator.
  struct Seams {
    Executor& executor;
    const Clock& clock;
    std::function<std::shared_ptr<const MetadataImage>()> image;
    // To the partition's log, if it is still led in `epoch`; `done` may be called at once.
    std::function<void(ValidBatch batch, raft::Term epoch, std::function<void(const ErrorFrame&)> done)> append;
    // Whether this replica still leads (Partition::Confirm).
    std::function<void(std::function<void(bool leads)>)> confirm;
    // Of who leads no more.
    std::function<ErrorFrame()> not_leader;
    // The end of a partition's log, or of this broker's copy if that has come to `offset`; nothing: it cannot be known now.
    std::function<void(PartitionId, int64_t offset, std::function<void(std::optional<int64_t>)>)> find_end;
  };

  using HeartbeatDone = std::function<void(const ErrorFrame&, const v1::HeartbeatResponse&)>;
  using News = HeartbeatDone;
  using CommitDone = std::function<void(const ErrorFrame&, const std::vector<ErrorFrame>& errors)>;
  using ResetDone = std::function<void(const ErrorFrame&, const v1::ResetOffsetsResponse&)>;
  using Done = std::function<void(const ErrorFrame&)>;

  explicit GroupCoordinator(Seams seams);
  ~GroupCoordinator() override;
  GroupCoordinator(const GroupCoordinator&) = delete;

  bool serving() const { return serving_ != raft::Term(0); }
  Executor& executor() const { return seams_.executor; }

  // `news`: told of each new assignment from then on, as long as it lives, and, as the last, of why there is none any more. Takes the
  // place of an earlier one; null: that stays.
  void Heartbeat(const v1::HeartbeatRequest& request, HeartbeatDone done, const std::weak_ptr<News>& news = {});
  // The same news without a heartbeat. False: no such member.
  bool Watch(const std::string& group, const std::string& member, const std::weak_ptr<News>& news,
             v1::HeartbeatResponse* now);

  // `errors`: one for each offset, or none if all were stored.
  void Commit(const v1::CommitOffsetsRequest& request, CommitDone done);
  // Sets offsets, of partitions that exist.
  void Reset(const v1::ResetOffsetsRequest& request, ResetDone done);
  void Delete(const std::string& group, Done done);

  // As of now; only who is Confirmed() may tell.
  void Confirmed(Done then);
  v1::FetchOffsetsResponse Offsets(const v1::FetchOffsetsRequest& request) const;
  std::vector<v1::GroupSummary> List() const;
  // False: no such group. Without lag, which is not known here.
  bool Describe(const std::string& group, v1::DescribeGroupResponse* response) const;

  // The metadata has another image.
  void OnImage();

  const GroupTable::Groups& groups() const { return table_.groups(); }
  // For people: what is in no log.
  std::string Dump() const;

  void Apply(const BatchView& batch) override;
  void OnServing(raft::Term epoch) override;
  void OnServingEnd() override;
  bool IsKey(std::string_view key) const override { return GroupTable::IsKey(key); }
  Parts TakeChanges() override { return table_.TakeChanges(); }
  Parts All() const override { return table_.All(); }
  absl::Status Load(std::string_view key, std::string_view value) override { return table_.Load(key, value); }
  void Clear() override { table_.Clear(); }

 private:
  using Record = std::pair<std::string, internal::v1::GroupRecord>;  // of a group
  using Results = std::vector<std::vector<ErrorCode>>;               // of each record's replay
  using Written = std::function<void(const ErrorFrame&, const Results&)>;

  // A member as it was heard in this coordinator's time.
  struct Session {
    std::string instance_id;
    std::chrono::nanoseconds deadline{};
    HeartbeatDone waiting;  // a heartbeat without an answer yet
    Executor::TimerId timer = 0;
    std::weak_ptr<News> news;
    int32_t told_epoch = 0;
  };
  struct Group {
    GroupEvents events;
    bool deciding = false;
    std::map<std::string, Session> sessions;  // by member
    std::map<std::string, std::vector<HeartbeatDone>> leaving;
    std::vector<Done> after;  // told of the next decision's end
  };
  struct PendingCommit {
    Record record;
    std::vector<ErrorFrame> errors;  // of those that are not in the record
    std::vector<size_t> places;      // of those that are, among all
    std::vector<PartitionId> ids;    // the same, once the record is on its way
    CommitDone done;
  };

  static ErrorFrame CheckName(const std::string& group);
  ErrorFrame CheckHeartbeat(const v1::HeartbeatRequest& request);
  void Join(const v1::HeartbeatRequest& request, HeartbeatDone done, const std::weak_ptr<News>& news);
  void DropEarlierJoin(const v1::HeartbeatRequest& request, Group& group);
  bool IsJoining(const v1::HeartbeatRequest& request) const;
  void Leave(const v1::HeartbeatRequest& request, HeartbeatDone done);
  void Beat(const v1::HeartbeatRequest& request, const MemberState& member, HeartbeatDone done,
            const std::weak_ptr<News>& news);
  ErrorFrame UnknownMember(const v1::HeartbeatRequest& request) const;
  void NoteLetGo(const v1::HeartbeatRequest& request, const MemberState& member, Group& group);
  void Await(const std::string& group, const std::string& member, Session& session, std::chrono::milliseconds wait,
             HeartbeatDone done);
  static void AnswerWaiting(Session& session, Executor& executor, const ErrorFrame& error,
                            const v1::HeartbeatResponse& response);
  v1::HeartbeatResponse ResponseTo(const GroupState& group, const MemberState& member) const;

  bool IsStable(const std::string& name, const GroupState& group) const;
  void LookAtSome();
  void Advance(const std::string& name);
  void OnDecided(const std::string& name, const GroupEvents& decided, const ErrorFrame& error);
  void Tell(const std::string& name, Group& group);
  void Fence(const std::string& name, const std::string& member, Session& session) const;
  static void TellNews(const Session& session, const ErrorFrame& error, const v1::HeartbeatResponse& response);
  void Touch(const std::string& group, const std::string& member, Session& session, std::chrono::milliseconds timeout);
  void ArmSweep();
  void Sweep();

  // False: `error` says why.
  bool ResolveCommit(const v1::OffsetCommit& from, const MetadataImage& image, internal::v1::CommittedOffset* to,
                     ErrorFrame* error) const;
  using Ends = std::map<PartitionId, int64_t>;
  void FindEnds(Ends offsets, std::function<void(const Ends&)> then);
  ErrorFrame BeyondEnd(PartitionId partition, int64_t offset, const Ends& ends) const;
  void RefuseBeyondEnds(const Ends& ends, PendingCommit& commit) const;
  void AnswerCommit(PendingCommit& commit, const std::vector<ErrorCode>& results) const;
  void Enqueue(PendingCommit commit);
  void FlushCommits();
  void AppendCommits();
  void Append(std::vector<Record> records, Written written);
  void RunConfirmed(bool leads);
  void ResetWithin(const Ends& ends, const v1::ResetOffsetsRequest& request, const ResetDone& done);
  void DecideReset(const std::string& group, const std::map<PartitionId, CommittedOffset>& resets, Done done);

  const Seams seams_;
  GroupTable table_;
  TopicPatterns patterns_;
  raft::Term serving_;
  std::map<std::string, Group, std::less<>> active_;

  std::set<std::tuple<std::chrono::nanoseconds, std::string, std::string>> deadlines_;  // or earlier; group, member
  Executor::TimerId sweep_ = 0;
  std::chrono::nanoseconds sweep_at_{};
  raft::LogIndex layout_seen_;        // that groups were decided by, or will be
  bool look_at_all_ = false;          // once the timer fires
  std::vector<std::string> look_at_;  // groups that are still to be, for another layout
  Executor::TimerId image_timer_ = 0;
  Executor::TimerId retry_timer_ = 0;

  std::map<PartitionId, int64_t> known_ends_;  // or more by now
  std::deque<PendingCommit> commits_;
  int commit_batches_ = 0;                         // under way
  std::deque<std::shared_ptr<Results>> appended_;  // and not applied
  std::chrono::nanoseconds confirmed_at_{-1'000'000'000'000};
  std::vector<Done> unconfirmed_;
  std::shared_ptr<GroupCoordinator*> self_;
};

}  // namespace millrace::server
