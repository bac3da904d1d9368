#include "server/multi_raft.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "server/log.h"

namespace millrace::server {
namespace {

// Questions for votes of groups that are not here yet: as many as there may be new partitions at a time.
constexpr size_t kEarlyVotesMax = 20'000;
// How often the successor of a leader that was lost asks, a tick apart.
constexpr int kCampaigns = 10;
constexpr int kGivenBackMax = 200;
// With ten thousand partitions one broker that was away cost each of the others a fifth of a core in heartbeats. The brokers' own
// tell of one that is lost, whatever the pace of the groups; and a follower at full pace still hears two before it would campaign.
constexpr int kIdleTicks = 40;
constexpr int kIdlePace = 3;

raft::Config ConfigOfGroups(bool commit_at_once) {
  raft::Config config;
  config.commit_at_once = commit_at_once;
  config.election_ticks = 12;  // 0.6 to 1.2 s; a broker that dies is noticed by its connection, long before
  config.heartbeat_ticks = 2;
  config.stall_ticks = 20;
  config.quiesce_ticks = 20;
  config.uncommitted_bytes_max = 256 << 20;  // what is received and not acked is bounded before (FlowBudget)
  return config;
}

}  // namespace

MultiRaft::MultiRaft(const Seams& seams)
    : seams_(seams),
      config_(ConfigOfGroups(true)),
      lazy_config_(ConfigOfGroups(false)),
      random_(seams.seed),
      driver_seams_{seams_.store, seams_.peers, *this, random_},
      catch_up_reads_([&peers = seams_.peers](raft::ReplicaId to) { return peers.UnsentBytes(to); }),
      self_(std::make_shared<MultiRaft*>(this)) {
  seams_.writer.SetSource(this);
}

MultiRaft::~MultiRaft() {
  *self_ = nullptr;
  seams_.writer.SetSource(nullptr);
  if (tick_ != 0) seams_.executor.Cancel(tick_);
  if (balance_ != 0) seams_.executor.Cancel(balance_);
}

absl::StatusOr<MultiRaft::Group*> MultiRaft::Open(const Options& options, GroupMachine& machine) {
  const raft::Config& config = options.commit_at_once ? config_ : lazy_config_;
  auto driver = raft::GroupDriver::Open(config, options.driver, machine, driver_seams_);
  if (!driver.ok()) return driver.status();
  auto group = std::make_unique<Group>();
  group->driver_ = *std::move(driver);
  group->machine_ = &machine;
  group->id_ = options.driver.group;
  group->is_intact_ = options.is_intact;
  group->preferred_ = options.preferred;
  Group& opened = *group;
  const bool added = groups_.emplace(opened.id_, std::move(group)).second;
  MILLRACE_CHECK(added) << "group " << opened.id_ << " is open";
  raft::Core& core = Touch(opened);
  if (opened.preferred_ == core.self()) core.Campaign();
  if (auto early = early_votes_.extract(opened.id_); !early.empty()) Step(opened.id_, std::move(early.mapped()));
  return &opened;
}

void MultiRaft::Close(raft::GroupId group) {
  groups_.erase(group);
  early_votes_.erase(group);
}

MultiRaft::Group* MultiRaft::Find(raft::GroupId group) {
  const auto found = groups_.find(group);
  return found == groups_.end() ? nullptr : found->second.get();
}

void MultiRaft::ForEachAwake(const std::function<void(raft::GroupId, const raft::Core&)>& visit) const {
  for (raft::GroupId id : ticking_) {
    const auto found = groups_.find(id);
    if (found != groups_.end()) visit(id, found->second->core());
  }
}

// ---- Events

raft::Core& MultiRaft::Touch(Group& group, size_t bytes) {
  group.idle_ticks_ = 0;
  return Stir(group, bytes);
}

raft::Core& MultiRaft::Stir(Group& group, size_t bytes) {
  MarkDirty(group);
  StartTicking(group);
  seams_.writer.Wake(bytes);
  return group.driver_->core();
}

void MultiRaft::SetFlush(Group& group, raft::Flush flush) {
  group.driver_->SetFlush(flush);
  if (group.driver_->AwaitsSync()) Await(group, seams_.writer.last_written());
  MarkDirty(group);
}

void MultiRaft::SetLogStart(Group& group, raft::Offset log_start) {
  group.driver_->SetLogStart(log_start);
  MarkDirty(group);
}

void MultiRaft::Step(raft::GroupId id, raft::Message message) {
  Group* const group = Find(id);
  if (group == nullptr) {
    const bool asks = std::holds_alternative<raft::VoteRequest>(message.body);
    if (asks && early_votes_.size() < kEarlyVotesMax) early_votes_[id] = std::move(message);
    return;
  }
  const std::string sender = absl::StrCat(message.from.broker.value());
  const bool beats = std::holds_alternative<raft::Heartbeat>(message.body) ||
                     std::holds_alternative<raft::HeartbeatReply>(message.body);
  raft::Core& core = beats ? Stir(*group, 0) : Touch(*group);
  if (absl::Status status = core.Step(std::move(message)); !status.ok()) {
    MILLRACE_LOG_EVERY(std::chrono::seconds(1), kWarning, "a peer's message is refused", {"group", id.value()},
                       {"peer", sender}, {"status", status.ToString()});
  }
}

// ---- Peers

namespace {

// Who of these takes the group over: groups are spread over all of them, and every broker chooses the same. Not by the remainder of
// the id alone, which what a broker led may have in common; and another one the next time, so that no replica is passed over for
// ever. By the last entry's term, which a vote that is under way does not change.
raft::ReplicaId HeirOf(raft::GroupId group, const raft::Core& core, const raft::ReplicaSet& candidates) {
  constexpr uint64_t kTerms = 1'000'003;
  raft::SeededRandom mixed(static_cast<uint64_t>(group.value()) * kTerms +
                           static_cast<uint64_t>(core.terms().last_term().value()));
  return candidates[static_cast<size_t>(mixed.UpTo(static_cast<int>(candidates.size())))];
}

}  // namespace

// Of those that lose their leader one goes first, so that they do not split the votes.
bool MultiRaft::IsSuccessor(const Group& group) const {
  const raft::Core& core = group.core();
  if (!core.membership().IsVoter(core.self())) return false;
  raft::ReplicaSet candidates = UpMembers(group);
  candidates.insert(std::upper_bound(candidates.begin(), candidates.end(), core.self()), core.self());
  return HeirOf(group.id_, core, candidates) == core.self();
}

bool MultiRaft::LacksLeader(const Group& group) const {
  return !group.core().leader() && group.core().role() != raft::Role::kLeader;
}

void MultiRaft::OnPeerUp(raft::ReplicaId peer) {
  up_[peer] = seams_.writer.now();
  if (balance_ == 0) balance_ = seams_.executor.After(kGiveBackAfter, [this] { Balance(); });
  for (auto& [id, group] : groups_) {
    if (group->preferred_ != group->core().self() || !LacksLeader(*group)) continue;
    const raft::ReplicaSet members = group->core().membership().Members();
    if (std::find(members.begin(), members.end(), peer) != members.end()) Touch(*group).Campaign();
  }
}

void MultiRaft::OnLost(raft::ReplicaId to, raft::GroupId id) {
  if (Group* const group = Find(id)) Stir(*group, 0).OnUnreachable(to);
}

void MultiRaft::OnPeerLost(raft::BrokerId broker) {
  std::erase_if(up_, [broker](const auto& peer) { return peer.first.broker == broker; });
  for (auto& [id, group] : groups_) {
    for (const raft::ReplicaId& member : group->core().membership().Members()) {
      if (member.broker != broker) continue;
      // A group without one may have split its votes since it lost this one, and would wait for another election timeout.
      const bool led = group->core().leader() == member || LacksLeader(*group);
      raft::Core& core = Touch(*group);
      core.OnUnreachable(member);
      if (!led || !IsSuccessor(*group)) continue;
      // The others may notice a little later, and refuse until then.
      group->campaigns_left_ = kCampaigns;
      core.Campaign();
    }
  }
}

// ---- Leaderships

raft::ReplicaSet MultiRaft::UpMembers(const Group& group) const {
  raft::ReplicaSet members = group.core().membership().voters;
  std::erase_if(members, [this](raft::ReplicaId member) { return !up_.contains(member); });
  return members;
}

size_t MultiRaft::HandOver() {
  size_t left = 0;
  for (auto& [id, group] : groups_) {
    const raft::ReplicaSet others = UpMembers(*group);
    if (group->core().role() != raft::Role::kLeader || others.empty()) continue;
    ++left;
    (void)Touch(*group).TransferLeadership(HeirOf(id, group->core(), others));
  }
  return left;
}

// Some at a time: each costs the group an election.
void MultiRaft::Balance() {
  balance_ = up_.empty() ? 0 : seams_.executor.After(kGiveBackAfter, [this] { Balance(); });
  int given = 0;
  for (auto& [id, group] : groups_) {
    if (given == kGivenBackMax) return;
    const raft::Core& core = group->core();
    if (core.role() != raft::Role::kLeader || group->preferred_ == core.self()) continue;
    const auto up = up_.find(group->preferred_);
    if (up == up_.end() || seams_.writer.now() - up->second < kGiveBackAfter) continue;
    const bool has_all = std::all_of(core.progress().begin(), core.progress().end(), [&](const raft::Progress& p) {
      return p.id != group->preferred_ || p.match >= core.commit_index();
    });
    if (!has_all || !core.membership().IsVoter(group->preferred_)) continue;
    ++given;
    (void)Touch(*group).TransferLeadership(group->preferred_);
  }
}

// ---- Time

void MultiRaft::StartTicking(Group& group) {
  if (group.ticking_) return;
  group.ticking_ = true;
  ticking_.push_back(group.id_);
  if (tick_ == 0) tick_ = seams_.executor.After(kTick, [this] { Tick(); });
}

bool MultiRaft::SkipsTick(const Group& group) const {
  return group.idle_ticks_ > kIdleTicks && !LacksLeader(group) && (ticks_ + group.id_.value()) % kIdlePace != 0;
}

void MultiRaft::Tick() {
  tick_ = 0;
  ++ticks_;
  std::erase_if(ticking_, [this](raft::GroupId id) {
    Group* const group = Find(id);
    if (group == nullptr) return true;
    ++group->idle_ticks_;
    if (SkipsTick(*group)) return false;
    group->driver_->core().Tick();
    if (group->campaigns_left_ > 0) CampaignAgain(*group);
    group->ticking_ = !group->core().quiet();
    if (group->driver_->HasWork()) MarkDirty(*group);
    return !group->ticking_;
  });
  if (!ticking_.empty()) tick_ = seams_.executor.After(kTick, [this] { Tick(); });
}

void MultiRaft::CampaignAgain(Group& group) {
  if (!LacksLeader(group)) {
    group.campaigns_left_ = 0;
    return;
  }
  --group.campaigns_left_;
  if (group.core().role() != raft::Role::kCandidate) group.driver_->core().Campaign();
}

// ---- Rounds

void MultiRaft::MarkDirty(Group& group) {
  seams_.writer.Wake();
  if (std::exchange(group.dirty_, true)) return;
  dirty_.push_back(group.id_);
}

void MultiRaft::Await(Group& group, raft::RoundSeq round) {
  awaited_sync_ = std::max(awaited_sync_, round);
  if (!std::exchange(group.awaiting_, true)) awaiting_.push_back(group.id_);
}

void MultiRaft::Stage(raft::Round& round) {
  for (size_t i = 0; i < dirty_.size(); ++i) {  // machines may touch more of them
    Group* const group = Find(dirty_[i]);
    if (group == nullptr) continue;
    group->dirty_ = false;
    if (group->driver_->Stage(round)) staged_.push_back(group->id_);
    AfterEvents(*group);
  }
  dirty_.clear();
  HandOn();
}

void MultiRaft::OnWritten(raft::RoundSeq round) {
  std::vector<raft::GroupId> staged;
  staged.swap(staged_);
  for (raft::GroupId id : staged) {
    Group* const group = Find(id);
    if (group == nullptr) continue;
    group->driver_->OnWritten(round);
    if (group->driver_->AwaitsSync()) Await(*group, round);
    AfterEvents(*group);
  }
}

void MultiRaft::OnSynced(raft::RoundSeq round) {
  std::vector<raft::GroupId> awaiting;
  awaiting.swap(awaiting_);
  for (raft::GroupId id : awaiting) {
    Group* const group = Find(id);
    if (group == nullptr) continue;
    group->driver_->OnSynced(round);
    group->awaiting_ = group->driver_->AwaitsSync();
    if (group->awaiting_) awaiting_.push_back(id);
    AfterEvents(*group);
  }
}

void MultiRaft::AfterEvents(Group& group) {
  group.machine_->OnProgress();
  if (group.driver_->HasWork()) MarkDirty(group);
  if (group.driver_->fatal() == nullptr || std::exchange(group.stop_told_, true)) return;
  MILLRACE_LOG(kError, "a replica has stopped, its data stays; the others of its group go on",
               {"group", group.id_.value()}, {"why", group.driver_->fatal()->text});
}

// ---- Reading

void MultiRaft::Read(raft::GroupId group, const raft::EntryRead& read) {
  if (read.to == raft::kNoReplica) return AdmitCold(group, read);
  catch_up_reads_.Admit(read.to, read.bytes_max, [this, group, read](bool connected) {
    if (connected) return AdmitCold(group, read);
    seams_.executor.Post([self = self_, group, id = read.id] {
      Group* const reader = *self == nullptr ? nullptr : (*self)->Find(group);
      if (reader == nullptr) return;
      reader->driver_->OnRead(id, absl::UnavailableError("the member is not connected"));
      (*self)->AfterEvents(*reader);
    });
  });
}

void MultiRaft::AdmitCold(raft::GroupId group, const raft::EntryRead& read) {
  seams_.cold_reads.Admit(static_cast<int64_t>(read.bytes_max), [self = self_, group, read](ColdReadPacer::Done told) {
    if (*self != nullptr) (*self)->ReadCold(group, read, std::move(told));
  });
}

namespace {

// It is asked for again, which ends with what is in the way (descriptors, a disk): nobody else says why a member stays behind. Damage
// is told where it is dealt with, and what retention has removed meanwhile is no failure.
void LogIfFailed(raft::GroupId group, const absl::Status& status) {
  if (status.ok() || absl::IsDataLoss(status) || absl::IsOutOfRange(status) || absl::IsNotFound(status)) return;
  MILLRACE_LOG_EVERY(std::chrono::seconds(1), kWarning, "entries cannot be read from the disk; trying again",
                     {"group", group.value()}, {"status", status.ToString()});
}

}  // namespace

void MultiRaft::ReadCold(raft::GroupId group, const raft::EntryRead& read, ColdReadPacer::Done told) {
  const Group* const open = Find(group);
  if (open == nullptr || !open->driver_->Awaits(read.id)) {
    told(0);
    return OnRead(group, read, absl::NotFoundError("nobody waits for it any more"));
  }
  seams_.pool.Submit([&store = seams_.store, &executor = seams_.executor, self = self_, group, read, told,
                      is_intact = open->is_intact_] {
    auto entries = IntactEntries(store.ReadEntries(group, read.first, read.last, read.bytes_max), is_intact);
    int64_t bytes = 0;
    if (entries.ok()) {
      for (const raft::Entry& entry : *entries) bytes += static_cast<int64_t>(entry.payload.size());
    }
    told(bytes);
    executor.Post([self, group, read, entries = std::move(entries)]() mutable {
      if (*self != nullptr) (*self)->OnRead(group, read, std::move(entries));
    });
  });
}

void MultiRaft::OnRead(raft::GroupId group, const raft::EntryRead& read,
                       absl::StatusOr<std::vector<raft::Entry>> entries) {
  if (read.to != raft::kNoReplica) {
    read_.emplace_back(read.to, read.bytes_max);
    seams_.writer.Wake();
  }
  Group* const reader = Find(group);
  if (reader == nullptr) return;
  LogIfFailed(group, entries.status());
  reader->driver_->OnRead(read.id, std::move(entries));
  AfterEvents(*reader);
}

// What was read is on the links now, as far as it was wanted.
void MultiRaft::HandOn() {
  for (const auto& [to, bytes] : std::exchange(read_, {})) catch_up_reads_.OnHandedOn(to, bytes);
}

}  // namespace millrace::server
