#include "tests/storage/driven_life.h"

#include <chrono>
#include <future>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "raft/persisted_state.h"
#include "storage/rocks_log_store.h"
#include "tests/storage/scripted_peers.h"
#include "tests/storage/store_text.h"
#include "tests/storage/unsynced_file_system.h"
#include "tests/support/test_replica.h"
#include "tests/support/through_stalls.h"

namespace millrace::storage {
namespace {

using raft::Entry;
using raft::GroupId;
using raft::LogIndex;
using raft::Message;
using raft::Offset;
using raft::ReplicaId;
using raft::RoundSeq;
using raft::Term;

constexpr ReplicaId kSelf{raft::BrokerId(1), 11};
constexpr ReplicaId kFollowerOfSelf{raft::BrokerId(2), 22};

// A follower; a leader with one follower; a group of one.
constexpr GroupId kFollowing{1};
constexpr GroupId kLeading{2};
constexpr GroupId kAlone{3};

raft::Membership FirstMembership(GroupId group) {
  if (group == kFollowing) return ScriptedLeaders::FirstMembership(kSelf);
  if (group == kLeading) return {.voters = {kSelf, kFollowerOfSelf}};
  return {.voters = {kSelf}};
}

// Stages in a round and does the same to the models.
class ModelledRound : public raft::Round {
 public:
  ModelledRound(raft::Round& round, Workload::Logs& logs) : round_(round), logs_(logs) {}

  void Append(GroupId group, Entry entry) override {
    logs_.at(group).Append(entry);
    round_.Append(group, std::move(entry));
  }
  void TruncateSuffix(GroupId group, LogIndex first_removed) override {
    logs_.at(group).TruncateSuffix(first_removed);
    round_.TruncateSuffix(group, first_removed);
  }
  void Reset(GroupId group, const raft::LogBegin& begin) override {
    logs_.at(group).Reset(begin);
    round_.Reset(group, begin);
  }
  void SetTermAndVote(GroupId group, const raft::TermAndVote& state) override {
    logs_.at(group).SetTermAndVote(state);
    round_.SetTermAndVote(group, state);
  }
  void SetLogStart(GroupId group, Offset log_start) override {
    logs_.at(group).SetLogStart(log_start);
    round_.SetLogStart(group, log_start);
  }
  void PutValue(GroupId group, std::string_view key, std::string_view value) override {
    logs_.at(group).values()[std::string(key)] = std::string(value);
    round_.PutValue(group, key, value);
  }
  void DeleteValue(GroupId group, std::string_view key) override {
    logs_.at(group).values().erase(std::string(key));
    round_.DeleteValue(group, key);
  }
  bool empty() const override { return round_.empty(); }
  size_t bytes() const override { return round_.bytes(); }

 private:
  raft::Round& round_;
  Workload::Logs& logs_;
};

class DrivenLife {
 public:
  DrivenLife(const DrivenLifeOptions& options, std::shared_ptr<RecordingFileSystem> files)
      : options_(options), files_(std::move(files)), draw_(options.seed) {
    life_.begin = files_->position();
    life_.boot_id = "first";
    life_.steps.push_back({.text = "", .begun = 0, .written = 0});
  }

  RecordedLife Run() {
    Open();
    MakeGroups();
    StartReplicas();
    for (int round = 0; round < options_.rounds; ++round) {
      Disturb();
      WriteRound();
      if (draw_.OneIn(3)) RequestSync();
      if (draw_.OneIn(2)) FinishSync();
      if (draw_.OneIn(50)) Restart();
    }
    Close();
    life_.log = files_->log();
    return std::move(life_);
  }

 private:
  struct Sync {
    RoundSeq round;
    std::future<absl::Status> done;
  };

  void Open() {
    RocksLogStore::Options options;
    options.directory = options_.directory;
    options.memory_bytes = 1 << 20;
    options.cache_bytes = 100 << 10;
    options.reclaim_delay = std::chrono::milliseconds(1);
    options.dead_bytes_max = 0;
    options.removal_piece_bytes = 32 << 10;
    options.boot_id = life_.boot_id;
    options.file_system = files_;
    life_.uses.push_back({.opening = files_->position()});
    auto store = RocksLogStore::Open(options);
    MILLRACE_CHECK(store.ok()) << store.status().ToString();
    life_.uses.back().opened = files_->position();
    store_ = *std::move(store);
    round_ = store_->NewRound();
  }

  void Close() {
    for (auto& [group, replica] : replicas_) replica.Stop();
    sync_.reset();
    round_.reset();
    store_.reset();
  }

  // The process dies.
  void Restart() {
    Close();
    Open();
    StartReplicas();
  }

  void MakeGroups() {
    for (GroupId group : {kFollowing, kLeading, kAlone}) {
      const raft::SegmentLimits limits = draw_.Limits();
      logs_.emplace(group, MemoryLog(limits));
      Write([&] { return store_->Create(group, limits); });
      MILLRACE_CHECK(store_->Open(group).ok());
      ModelledRound round(*round_, logs_);
      raft::StageMemberships(round, group, {{LogIndex(0), FirstMembership(group)}});
      Write([&] { return store_->Write(*round_); });
      const bool is_async = group == kLeading && draw_.OneIn(2);
      replicas_.try_emplace(group, TestReplica::Options{.group = group,
                                                        .self = kSelf,
                                                        .flush = is_async ? raft::Flush::kAsync : raft::Flush::kCommit,
                                                        .seed = options_.seed});
    }
    RequestSync();
    MILLRACE_CHECK(sync_->done.get().ok());
    life_.acks.push_back({life_.steps.size() - 1, files_->position()});
    sync_.reset();
  }

  void StartReplicas() {
    for (auto& [group, replica] : replicas_) {
      const absl::Status status = replica.Start(*store_);
      MILLRACE_CHECK(status.ok()) << status.ToString();
    }
  }

  TestReplica& replica(GroupId group) { return replicas_.at(group); }

  void Disturb() {
    for (int64_t i = draw_.UpTo(2); i >= 0; --i) leaders_.Disturb(replica(kFollowing));
    for (GroupId group : {kLeading, kAlone}) {
      raft::Core& core = replica(group).core();
      if (core.role() != raft::Role::kLeader && draw_.OneIn(8)) core.Campaign();
      if (core.role() == raft::Role::kLeader && draw_.OneIn(2)) Propose(core);
    }
    if (draw_.OneIn(10)) ChangeLearner(replica(kAlone).core());
    for (auto& [group, replica] : replicas_) {
      if (draw_.OneIn(20)) DropApplied(group, replica);
      replica.AnswerReads();
    }
    if (draw_.OneIn(2)) Answer();
  }

  void Propose(raft::Core& core) {
    for (int64_t i = draw_.UpTo(2); i >= 0; --i) {
      MILLRACE_CHECK(core.Propose(draw_.NextEntry({.last_append_time = 1})).ok());
    }
  }

  void ChangeLearner(raft::Core& core) {
    using raft::MembershipChange;
    const MembershipChange change{
        .kind = core.membership().learners.empty() ? MembershipChange::kAddLearner : MembershipChange::kRemove,
        .id = kFollowerOfSelf};
    (void)core.ProposeMembership({change});  // refused unless it leads and nothing is under way
  }

  void DropApplied(GroupId group, TestReplica& replica) {
    const auto header = store_->HeaderAt(group, replica.driver().applied_index());
    if (!header.ok()) return;
    replica.driver().SetLogStart(draw_.OneIn(2) ? header->base_offset : header->end_offset());
  }

  // What the leader has sent meanwhile.
  void Answer() {
    for (const Message& message : std::exchange(to_answer_, {})) follower_.Answer(replica(kLeading), message);
  }

  template <typename Change>
  void Write(Change change) {
    life_.steps.push_back({.begun = files_->position()});
    const absl::Status status = ThroughStalls(*store_, change);
    MILLRACE_CHECK(status.ok()) << status.ToString();
    RecordedLife::Step& step = life_.steps.back();
    step.written = files_->position();
    step.logs = logs_;
    step.text = TextOf(logs_);
  }

  // Rounds are numbered as the steps of this life are.
  void WriteRound() {
    ModelledRound round(*round_, logs_);
    for (auto& [group, replica] : replicas_) replica.Stage(round);
    HearAll();
    if (round.empty()) return;
    Write([&] { return store_->Write(*round_); });
    for (auto& [group, replica] : replicas_) replica.OnWritten(RoundSeq(static_cast<int64_t>(life_.steps.size()) - 1));
    HearAll();
  }

  void RequestSync() {
    if (sync_) return;
    auto done = std::make_shared<std::promise<absl::Status>>();
    sync_ = {RoundSeq(static_cast<int64_t>(life_.steps.size()) - 1), done->get_future()};
    store_->Sync([done](absl::Status status) { done->set_value(std::move(status)); });
  }

  void FinishSync() {
    if (!sync_) return;
    MILLRACE_CHECK(sync_->done.get().ok());
    for (auto& [group, replica] : replicas_) replica.OnSynced(sync_->round);
    sync_.reset();
    HearAll();
  }

  // From here on nobody may find that it was not so.
  void HearAll() {
    for (auto& [group, replica] : replicas_) {
      MILLRACE_CHECK(!replica.driver().fatal()) << replica.driver().fatal()->text;
      for (Message& message : replica.TakeSent()) {
        if (!IsPreVoteRequest(message)) life_.acks.push_back({StepOf(group, message), files_->position()});
        if (group == kLeading) to_answer_.push_back(std::move(message));
      }
    }
  }

  // The first step since which all of what a message says holds of the log of its group.
  size_t StepOf(GroupId group, const Message& message) const {
    const size_t step = StepSince(group, [&](const MemoryLog& log) { return SaysTerm(log, message); });
    const auto* reply = std::get_if<raft::AppendReply>(&message.body);
    const MemoryLog& written = life_.steps.back().logs.at(group);
    // One of an earlier term may leave when a later leader has replaced what it acks: it was so then.
    if (reply == nullptr || !reply->accepted || message.term != written.State().term_and_vote.term) return step;
    // Nothing: a snapshot has taken its place since.
    const absl::StatusOr<Term> term = written.TermAt(reply->match);
    return std::max(step, StepSince(group, [&](const MemoryLog& log) {
                      const raft::LogState state = log.State();
                      if (!term.ok() || reply->match < state.begin.before.index)
                        return reply->match <= state.last_index;
                      return log.TermAt(reply->match) == term;
                    }));
  }

  // It asks what would be, says nothing of what is, and changes nothing where it goes: it may name a term that is not durable yet.
  static bool IsPreVoteRequest(const Message& message) {
    const auto* request = std::get_if<raft::VoteRequest>(&message.body);
    return request != nullptr && request->pre_vote;
  }

  static bool SaysTerm(const MemoryLog& log, const Message& message) {
    const raft::TermAndVote stored = log.State().term_and_vote;
    const auto* vote = std::get_if<raft::VoteReply>(&message.body);
    const auto* request = std::get_if<raft::VoteRequest>(&message.body);
    if (stored.term != message.term) return stored.term > message.term;
    if (vote != nullptr && vote->granted && !vote->pre_vote) return stored.voted_for == message.to;
    if (request != nullptr) return stored.voted_for == kSelf;
    return true;
  }

  template <typename Holds>
  size_t StepSince(GroupId group, Holds holds) const {
    size_t step = life_.steps.size();
    while (step > 1 && life_.steps[step - 1].logs.contains(group) && holds(life_.steps[step - 1].logs.at(group)))
      --step;
    MILLRACE_CHECK(step < life_.steps.size()) << "group " << group << " says what was not written";
    return step;
  }

  const DrivenLifeOptions& options_;
  const std::shared_ptr<RecordingFileSystem> files_;
  Workload draw_;
  Workload::Logs logs_;
  RecordedLife life_;
  std::unique_ptr<RocksLogStore> store_;
  std::unique_ptr<raft::Round> round_;
  std::optional<Sync> sync_;
  std::map<GroupId, TestReplica> replicas_;
  ScriptedLeaders leaders_{kFollowing, kSelf, draw_};
  ScriptedFollower follower_{kFollowerOfSelf};
  std::vector<Message> to_answer_;
};

absl::Status Wrong(GroupId group, const std::string& what) {
  return absl::DataLossError(absl::StrCat("the replica of group ", group.value(), " ", what));
}

// Those in the log, behind the first that was kept.
absl::Status CheckMemberships(GroupId group, const MemoryLog& log, const std::vector<raft::MembershipAt>& found) {
  const raft::LogState state = log.State();
  if (found.empty()) return Wrong(group, "has no membership");
  std::vector<raft::MembershipAt> expected = {found.front()};
  for (LogIndex i = state.first_index; i <= state.last_index; ++i) {
    const Entry entry = log.ReadEntries(i, i, 0)->front();
    if (entry.header.type != raft::EntryType::kMembership || i < found.front().index) continue;
    if (i == found.front().index) expected.clear();
    expected.push_back({i, *raft::DecodeMembership(std::string(entry.payload))});
  }
  return found == expected ? absl::OkStatus() : Wrong(group, "has memberships that are not those of its log");
}

absl::Status CheckState(GroupId group, const MemoryLog& log, const raft::PersistedState& found) {
  const raft::LogState state = log.State();
  if (found.term_and_vote != state.term_and_vote) return Wrong(group, "has another term or vote");
  if (found.end_offset != state.log_end || found.terms.last_index() != state.last_index) {
    return Wrong(group, absl::StrCat("ends with entry ", found.terms.last_index().value()));
  }
  for (LogIndex i = state.begin.before.index; i <= state.last_index; ++i) {
    if (found.terms.At(i) != log.TermAt(i).value()) {
      return Wrong(group, absl::StrCat("has another term at ", i.value()));
    }
  }
  return CheckMemberships(group, log, found.memberships);
}

}  // namespace

RecordedLife LiveDriven(const DrivenLifeOptions& options, const std::shared_ptr<RecordingFileSystem>& files) {
  return DrivenLife(options, files).Run();
}

absl::Status CheckReplicas(const std::string& directory, const std::string& boot_id, const RecordedLife::Step& step) {
  RocksLogStore::Options options;
  options.directory = directory;
  options.boot_id = boot_id;
  options.file_system = std::make_shared<UnsyncedFileSystem>();
  auto store = RocksLogStore::Open(options);
  if (!store.ok()) return store.status();
  for (const auto& [group, log] : step.logs) {
    if (log.values().empty()) continue;  // its members come in the round behind its creation
    const auto state = raft::LoadPersistedState(**store, group);
    if (!state.ok()) return state.status();
    if (absl::Status status = CheckState(group, log, *state); !status.ok()) return status;
    TestReplica replica({.group = group, .self = kSelf});
    if (absl::Status status = replica.Start(**store); !status.ok()) return status;
    const Term term = replica.core().term();
    replica.core().Campaign();
    const std::unique_ptr<raft::Round> round = (*store)->NewRound();
    replica.Stage(*round);
    if (absl::Status status = (*store)->Write(*round); !status.ok()) return status;
    replica.OnWritten(RoundSeq(1));
    replica.OnSynced(RoundSeq(1));
    replica.AnswerReads();
    if (replica.core().term() < term) return Wrong(group, "falls back behind its term");
    if (group == kAlone && replica.core().term() == term) return Wrong(group, "does not begin a term");
  }
  return absl::OkStatus();
}

}  // namespace millrace::storage
