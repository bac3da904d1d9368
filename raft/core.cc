#include "raft/core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"

namespace millrace::raft {
namespace {

// No sum of two such numbers overflows, and no log gets there.
constexpr int64_t kNumberMax = int64_t{1} << 61;

bool IsSane(int64_t number) { return number >= 0 && number <= kNumberMax; }
bool IsSane(EntryId id) {
  return IsSane(id.term.value()) && IsSane(id.index.value()) && (id.index == LogIndex(0)) == (id.term == Term(0));
}

// Whether `entries` can follow `prev` in the log of a leader of `term`.
bool AreWellFormed(EntryId prev, const std::vector<Entry>& entries, Term term) {
  for (const Entry& entry : entries) {
    const EntryHeader& h = entry.header;
    if (h.index != prev.index + 1 || h.term < prev.term || h.term > term || h.term < Term(1)) return false;
    if (h.type < EntryType::kRecords || h.type > EntryType::kLogStart) return false;
    if (h.record_count < 0 || !IsSane(h.base_offset.value())) return false;
    if (&entry != &entries.front() && h.base_offset != (&entry - 1)->header.end_offset()) return false;
    if (h.type == EntryType::kMembership && !DecodeMembership(std::string(entry.payload)).ok()) return false;
    prev = {h.term, h.index};
  }
  return true;
}

struct WellFormed {
  Term term;

  bool operator()(const AppendEntries& m) const {
    return term >= Term(1) && IsSane(m.prev) && IsSane(m.commit.value()) && IsSane(m.confirmed.index.value()) &&
           AreWellFormed(m.prev, m.entries, term) && (m.membership == nullptr || Validate(*m.membership).ok());
  }
  bool operator()(const AppendReply& m) const {
    return IsSane(m.match.value()) && IsSane(m.rejected.value()) && IsSane(m.last_index.value()) && IsSane(m.hint);
  }
  bool operator()(const Heartbeat& m) const { return term >= Term(1) && IsSane(m.commit); }
  bool operator()(const HeartbeatReply&) const { return true; }
  bool operator()(const VoteRequest& m) const { return IsSane(m.last) && m.last.term <= term; }
  bool operator()(const VoteReply&) const { return true; }
  bool operator()(const InstallSnapshot& m) const {
    return term >= Term(1) && IsSane(m.last) && m.last.term <= term && IsSane(m.end_offset.value()) &&
           IsSane(m.log_start.value()) && IsSane(m.membership_index.value()) && m.membership_index <= m.last.index &&
           Validate(m.membership).ok();
  }
  bool operator()(const TimeoutNow&) const { return true; }
};

template <typename Body>
const Body* As(const Message& m) {
  return std::get_if<Body>(&m.body);
}

}  // namespace

Core::Core(const Config& config, GroupId group, ReplicaId self, PersistedState persisted, Random& random)
    : config_(config),
      group_(group),
      self_(self),
      random_(random),
      life_(random.Next() | 1),
      state_(persisted.term_and_vote),
      memberships_(std::move(persisted.memberships)),
      terms_(std::move(persisted.terms)),
      tail_(terms_.last_index(), persisted.end_offset),
      stable_(terms_.last_index()),
      applied_(std::max(state_.commit_index, terms_.before_first())),
      committed_given_(applied_),
      last_append_time_(persisted.last_append_time),
      taken_(terms_.last_index()) {
  // What retention has removed was committed, whatever was stored of it.
  state_.commit_index = applied_;
  commit_taken_ = state_.commit_index;
  if (memberships_.empty()) memberships_.emplace_back();
  PruneMemberships();
  if (state_.abstaining) abstention_ = random_.Next() | 1;
  MILLRACE_CHECK(config_.heartbeat_ticks >= 1 && config_.election_ticks > config_.heartbeat_ticks);
  ResetElectionTimer();
  CheckInvariants();
}

// ---- Events

void Core::Tick() {
  if (stopped_ || quiet_) return;
  ++ticks_;
  if (std::holds_alternative<Leader>(role_)) {
    TickLeader();
  } else {
    TickElection();
  }
  CheckInvariants();
}

absl::Status Core::Step(Message message) {
  if (absl::Status status = CheckWellFormed(message); !status.ok()) return status;
  if (stopped_) return absl::OkStatus();
  if (quiet_ && !KeepsQuiet(message)) Wake();
  if (!HandleOtherTerm(message)) {
    std::visit([&](auto& body) { Handle(message, body); }, message.body);
  }
  CheckInvariants();
  return absl::OkStatus();
}

void Core::OnPersisted(ReadySeq seq) {
  if (stopped_) return;
  MILLRACE_CHECK(seq <= last_seq_) << Dump();
  const bool was_durable = TermIsDurable();
  const auto rest = std::find_if(writing_.begin(), writing_.end(), [&](const Writing& w) { return w.seq > seq; });
  for (auto w = writing_.begin(); w != rest; ++w) stable_ = std::max(stable_, w->last);
  writing_.erase(writing_.begin(), rest);
  tail_.RemovePrefix(stable_);
  // Our own vote counts once it cannot be forgotten, like everybody's.
  if (auto* candidate = std::get_if<Candidate>(&role_);
      candidate && !candidate->pre_vote && !was_durable && TermIsDurable()) {
    RecordVote(self_, {.granted = true, .abstaining = state_.abstaining, .asked = state_.term});
  }
  if (std::holds_alternative<Leader>(role_)) {
    if (Progress* own = Find(self_)) own->Acked(stable_);
    AdvanceCommit();
  }
  MaybeEndAbstaining();
  CheckInvariants();
}

void Core::OnApplied(LogIndex index) {
  if (stopped_) return;
  MILLRACE_CHECK(index <= committed_given_) << Dump();
  applied_ = std::max(applied_, index);
  ReleaseReads();
}

void Core::OnPrefixRemoved(LogIndex first_index) {
  if (stopped_) return;
  if (first_index - 1 <= terms_.before_first()) return;  // a snapshot has gone further meanwhile
  MILLRACE_CHECK(first_index - 1 <= std::min(state_.commit_index, stable_)) << first_index << "; " << Dump();
  terms_.RemovePrefix(first_index - 1);
  CheckInvariants();
}

void Core::OnUnreachable(ReplicaId id) {
  if (stopped_) return;
  Wake();
  if (std::holds_alternative<Leader>(role_)) {
    Progress* p = Find(id);
    if (p != nullptr && p->id != self_ && p->state != Progress::State::kProbe) p->BecomeProbe();
  } else if (leader() == id) {
    // Nobody needs to protect a leader that is gone: vote for others, and campaign when our own random time is over.
    ForgetLeader();
    election_elapsed_ = std::max(election_elapsed_, config_.election_ticks);
  }
}

void Core::Wake() {
  if (!quiet_) return;
  quiet_ = false;
  election_elapsed_ = 0;
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  leader->idle_ticks = 0;
  leader->heartbeat_elapsed = config_.heartbeat_ticks;  // the next tick's heartbeat wakes the others
  UpdateProgress();
  for (Progress& p : leader->progress) {
    p.Acked(last_index());
    if (synced_) p.synced = last_index();
    p.BecomeReplicate();
    p.commit_sent = state_.commit_index;
    p.match_known_since = p.first_request = leader->next_request;
  }
}

bool Core::KeepsQuiet(const Message& m) const {
  // Whoever was removed and did not hear of it asks for ever; it is refused anyway.
  if (const auto* request = As<VoteRequest>(m)) {
    return !request->transfer && LeaderIsAlive() && !Contains(membership().Members(), m.from);
  }
  if (m.term != state_.term) return false;
  if (const auto* heartbeat = As<Heartbeat>(m)) {
    return heartbeat->quiesce && heartbeat->last_index == last_index() && m.from == leader();
  }
  const auto* reply = As<HeartbeatReply>(m);
  return reply != nullptr && reply->quiet && reply->last_index == last_index();
}

// ---- Messages: what holds for all (Raft paper, 5.1)

absl::Status Core::CheckWellFormed(const Message& m) const {
  if (m.to != self_)
    return absl::InvalidArgumentError("the message is for another replica, or for this one's lost disk");
  if (m.from == self_ || !m.from)
    return absl::InvalidArgumentError("the message names no sender, or this replica as its sender");
  if (!IsSane(m.term.value()) || !std::visit(WellFormed{m.term}, m.body)) {
    return absl::InvalidArgumentError(absl::StrCat("the message contradicts itself: ", ToString(m)));
  }
  // To a leader that has started again since, the reply may name entries that it lost before they were durable: stale, not wrong.
  const auto* reply = As<AppendReply>(m);
  if (reply && role() == Role::kLeader && m.term == state_.term && reply->match > last_index()) {
    return absl::InvalidArgumentError(absl::StrCat("the reply acks entries that were never sent: ", ToString(m)));
  }
  return absl::OkStatus();
}

bool Core::HandleOtherTerm(const Message& m) {
  const auto* request = As<VoteRequest>(m);
  const auto* vote = As<VoteReply>(m);
  const bool from_leader = As<AppendEntries>(m) || As<Heartbeat>(m) || As<InstallSnapshot>(m);
  if (m.term < state_.term) {
    // Whoever is behind learns the term from our refusal: without it, a leader that cannot reach a replica of a higher term and
    // a replica that cannot win would wait for each other for ever (thesis 9.6).
    if (request) ReplyOnceTermIsDurable(m.from, VoteReply{.pre_vote = request->pre_vote, .asked = m.term});
    if (from_leader && (config_.check_quorum || config_.pre_vote))
      Reply(m.from, AppendReply{.last_index = last_index()});
    return !(vote && vote->pre_vote && vote->granted);  // a voter of a lower term says yes to a term that is not begun
  }
  if (request && !request->transfer && LeaderIsAlive()) return true;  // thesis 4.2.3; no answer, so that the term stays
  if (m.term == state_.term || (request && request->pre_vote)) return false;
  BecomeFollower(m.term, from_leader ? m.from : kNoReplica);
  return false;
}

bool Core::FollowLeader(const Message& m) {
  const auto* follower = std::get_if<Follower>(&role_);
  const bool other =
      std::holds_alternative<Leader>(role_) || (follower && follower->leader && follower->leader != m.from);
  if (other) {
    Fail(Fatal::kTwoLeaders, m, "another replica leads this term");
    return false;
  }
  if (!follower || !follower->leader) BecomeFollower(state_.term, m.from);
  election_elapsed_ = 0;
  needed_as_candidate_ = false;
  return true;
}

// ---- Messages to followers

void Core::Handle(const Message& m, AppendEntries& body) {
  if (!FollowLeader(m)) return;
  if (body.lost_in_life == life_) BeToldToAbstain();
  AppendReply reply{.request = body.request};
  if (ContradictsCommitted(body.prev)) {
    return Fail(Fatal::kCommittedOverwrite, m, "the leader has another entry where this replica has a committed one");
  }
  if (body.prev.index < terms_.before_first() || terms_.At(body.prev.index) == body.prev.term) {
    TakeFirstMembership(body);
    const LogIndex last_new = AppendToLog(m, body);
    if (stopped_) return;
    // Only what this request proves to be the leader's: a longer tail of ours may not be (Raft paper, figure 2), and where all
    // voters lost what they acked, not even what is committed here.
    reply.accepted = true;
    reply.match = last_new;
    CommitTo(std::min(body.commit, last_new));
    NoteConfirmed(body.confirmed, last_new);
  } else {
    // Skip whole terms: nothing of ours behind this can be in the leader's log (Raft paper, 5.3, last but one paragraph).
    const LogIndex hint = terms_.LastAtMost(body.prev.term, std::min(body.prev.index, last_index()));
    reply.rejected = body.prev.index;
    reply.hint = {*terms_.At(hint), hint};
  }
  reply.last_index = last_index();
  Reply(m.from, reply);
}

// Whether a leader whose log has `id` has another entry where this replica has a committed one, as far as one can tell: of removed
// entries only the last one's term is known. It can be so where all voters have lost what they acked, and this one has not.
bool Core::ContradictsCommitted(EntryId id) const {
  if (id.index > state_.commit_index) return false;
  const std::optional<Term> ours = terms_.At(id.index);
  return ours ? *ours != id.term : id.term > terms_.runs().front().term;
}

LogIndex Core::AppendToLog(const Message& m, AppendEntries& body) {
  const LogIndex last_new = body.prev.index + static_cast<int64_t>(body.entries.size());
  for (Entry& entry : body.entries) {
    const EntryHeader& h = entry.header;
    const std::optional<Term> ours = terms_.At(h.index);
    if (ContradictsCommitted({h.term, h.index})) {
      Fail(Fatal::kCommittedOverwrite, m, absl::StrCat("entry ", h.index.value(), " is committed here"));
      return last_new;
    }
    // The same entry, or one that retention has removed here: requests may come twice and late.
    if (ours == h.term || h.index < terms_.before_first()) continue;
    if (ours) {
      const bool in_memory = h.index >= tail_.first_index();
      TruncateLog(h.index, in_memory ? tail_.At(h.index).header.base_offset : h.base_offset);
    }
    if (h.base_offset != end_offset()) {
      Fail(Fatal::kDivergedLog, m,
           absl::StrCat("entry ", h.index.value(), " does not begin at offset ", end_offset().value()));
      return last_new;
    }
    AppendOne(std::move(entry));
  }
  return last_new;
}

void Core::AppendOne(Entry entry) {
  const EntryHeader& h = entry.header;
  terms_.Append({h.term, h.index});
  last_append_time_ = h.append_time;  // also where what was cut before it had a later one
  if (h.type == EntryType::kMembership) {
    memberships_.push_back({h.index, *DecodeMembership(std::string(entry.payload))});
    memberships_dirty_ = true;
  }
  tail_.Append(std::move(entry));
}

void Core::TruncateLog(LogIndex first_removed, Offset end_offset) {
  MILLRACE_CHECK(first_removed > state_.commit_index) << first_removed << "; " << Dump();
  terms_.TruncateSuffix(first_removed);
  tail_.TruncateSuffix(first_removed, end_offset);
  stable_ = std::min(stable_, first_removed - 1);
  // Writes under way may still bring the old entries to the disk: that must not be taken for the new ones'.
  for (Writing& w : writing_) w.last = std::min(w.last, first_removed - 1);
  if (first_removed <= taken_) {
    Next().truncate_from = std::min(first_removed, Next().truncate_from.value_or(first_removed));
    taken_ = first_removed - 1;
  }
  while (memberships_.back().index >= first_removed) {
    memberships_.pop_back();
    memberships_dirty_ = true;
  }
  confirmed_ = LogIndex(0);
}

void Core::Handle(const Message& m, const Heartbeat& body) {
  if (!FollowLeader(m)) return;
  // What the leader knows us to hold we may have lost, and what it had replaced may be back (thesis 3.5: the same index and term,
  // the same log up to there).
  if (terms_.At(body.commit.index) == body.commit.term) CommitTo(body.commit.index);
  NoteConfirmed(body.confirmed, state_.commit_index);
  const bool idle = writing_.empty() && !term_and_vote_dirty_ && taken_ == last_index() && !state_.abstaining;
  if (body.quiesce && idle && body.last_index == last_index() && state_.commit_index == last_index()) {
    GoQuiet();
  }
  ReplyOnceTermIsDurable(
      m.from,
      HeartbeatReply{
          .read_round = body.read_round, .quiet = quiet_, .last_index = last_index(), .abstention = abstention_});
}

void Core::Handle(const Message& m, const InstallSnapshot& body) {
  if (!FollowLeader(m)) return;
  if (ContradictsCommitted(body.last)) {
    return Fail(Fatal::kCommittedOverwrite, m,
                "the leader's log begins behind another entry than the one committed here");
  }
  if (terms_.At(body.last.index) == body.last.term) {
    CommitTo(body.last.index);  // everything that it stands for is here
  } else if (body.last.index > state_.commit_index) {
    ResetLog(body);
  }
  // No more than it shows: what is committed here behind it need not be in the leader's log.
  Reply(m.from, {.accepted = true, .match = body.last.index, .last_index = last_index(), .request = body.request});
}

void Core::ResetLog(const InstallSnapshot& snapshot) {
  const LogIndex last = snapshot.last.index;
  terms_ = TermTable(snapshot.last);
  tail_ = EntryTail(last, snapshot.end_offset);
  state_.commit_index = applied_ = committed_given_ = taken_ = last;
  stable_ = LogIndex(0);  // nothing of it is durable; nor do writes under way make it so
  for (Writing& w : writing_) w.last = LogIndex(0);
  last_append_time_ = snapshot.append_time;
  memberships_ = {{snapshot.membership_index, snapshot.membership}};
  memberships_dirty_ = true;
  Next().install = snapshot;
  Next().truncate_from.reset();
  confirmed_ = LogIndex(0);
}

// ---- Replies

void Core::Reply(ReplicaId to, AppendReply reply) {
  reply.abstention = abstention_;
  reply.life = life_;
  reply.unsynced = reply.accepted && !synced_;
  // Refusals too may rest on a term that is not durable yet (etcd msgsAfterAppend, nodedb #161).
  const bool durable = TermIsDurable() && (!reply.accepted || reply.match <= stable_);
  (durable ? Next().send_now : Next().send_after_persist).push_back(To(to, reply));
}

template <typename Body>
void Core::ReplyOnceTermIsDurable(ReplicaId to, Body body) {
  SendNewest(TermIsDurable() ? Next().send_now : Next().send_after_persist, To(to, std::move(body)));
}

void Core::SendNewest(std::vector<Message>& messages, Message m) {
  std::erase_if(messages, [&](const Message& old) {
    const auto* vote = As<VoteReply>(old);
    return old.to == m.to && old.body.index() == m.body.index() && !(vote && vote->granted);
  });
  messages.push_back(std::move(m));
}

bool Core::TermIsDurable() const {
  return !term_and_vote_dirty_ &&
         std::none_of(writing_.begin(), writing_.end(), [](const Writing& w) { return w.term_and_vote; });
}

bool Core::DiskIsStalled() const {
  // The only voter has nobody to leave it to.
  const bool alone = !membership().joint() && membership().voters.size() == 1;
  return config_.stall_ticks > 0 && !alone && !writing_.empty() &&
         ticks_ - writing_.front().tick > static_cast<uint64_t>(config_.stall_ticks);
}

void Core::CommitTo(LogIndex index) {
  if (index <= state_.commit_index) return;
  MILLRACE_CHECK(index <= last_index()) << index << "; " << Dump();
  state_.commit_index = index;
  PruneMemberships();
}

void Core::Notify(Notice::Kind kind, ReplicaId replica, LogIndex index) {
  Next().notices.push_back({kind, replica, index});
}

void Core::Fail(Fatal::Kind kind, const Message& m, std::string_view what) {
  Fatal fatal{kind, absl::StrCat(absl::string_view(what.data(), what.size()), ": ", ToString(m), "; ", Dump())};
  Stop();
  Next().fatal = std::move(fatal);
}

void Core::Stop() {
  if (stopped_) return;
  // Nothing more is written or sent; whoever waits for this replica is told that it does not lead.
  auto last = std::make_unique<Ready>();
  if (std::holds_alternative<Leader>(role_)) FailReads();
  if (next_ != nullptr) {
    last->reads_failed = std::move(next_->reads_failed);
    for (const ReadReady& read : next_->reads_ready) last->reads_failed.push_back(read.id);
  }
  role_ = Follower{};
  last->role = RoleChange{Role::kFollower, state_.term, kNoReplica};
  next_ = std::move(last);
  stopped_ = true;
}

// ---- Effects

Ready& Core::Next() {
  if (next_ == nullptr) {
    next_ = spare_ != nullptr ? std::move(spare_) : std::make_unique<Ready>();
    next_->send_now.reserve(4);  // to the members of a usual group
  }
  return *next_;
}

bool Core::HasReady() const {
  if (stopped_) return next_ != nullptr;
  return next_ != nullptr || send_due_ || term_and_vote_dirty_ || memberships_dirty_ || role_dirty_ ||
         taken_ < last_index() || committed_given_ < state_.commit_index;
}

Ready Core::TakeReady() {
  if (std::holds_alternative<Leader>(role_)) {
    StartReadRound();
    ReplicateToAll();
  }
  Ready ready = std::exchange(Next(), Ready());
  spare_ = quiet_ ? nullptr : std::move(next_);
  next_.reset();
  ready.seq = ++last_seq_;
  if (stopped_) return ready;

  if (taken_ < last_index()) tail_.CopyTo(taken_ + 1, last_index(), SIZE_MAX, &ready.append);
  const bool begins_term = terms_.At(taken_) != terms_.last_term();
  taken_ = last_index();
  if (std::exchange(memberships_dirty_, false)) ready.memberships = memberships_;
  // The first entry of a term as well, and with it the cut of what was there before. An election by all voters that are left goes by
  // the last term (ARCHITECTURE D9): if a crash of all machines took a later leader's entries (flush=async) and left what it had
  // committed of an earlier term, that would lose against an uncommitted entry of a term between the two.
  ready.must_sync = term_and_vote_dirty_ || ready.memberships || ready.install || begins_term;
  // The commit index rides along with other writes: a write of its own would be one for nothing.
  if (term_and_vote_dirty_ || (ready.writes() && commit_taken_ < state_.commit_index)) {
    ready.term_and_vote = state_;
    commit_taken_ = state_.commit_index;
  }
  ready.committed = {committed_given_ + 1, state_.commit_index};
  committed_given_ = state_.commit_index;
  if (std::exchange(role_dirty_, false)) ready.role = RoleChange{role(), state_.term, leader()};
  writing_.push_back({last_seq_, last_index(), std::exchange(term_and_vote_dirty_, false), ticks_});
  CheckInvariants();
  return ready;
}

// ---- What is known

Role Core::role() const {
  if (std::holds_alternative<Leader>(role_)) return Role::kLeader;
  const auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate == nullptr) return Role::kFollower;
  return candidate->pre_vote ? Role::kPreCandidate : Role::kCandidate;
}

ReplicaId Core::leader() const {
  if (std::holds_alternative<Leader>(role_)) return self_;
  const auto* follower = std::get_if<Follower>(&role_);
  return follower != nullptr ? follower->leader : kNoReplica;
}

Status Core::status() const {
  return {.role = role(),
          .term = state_.term,
          .voted_for = state_.voted_for,
          .leader = leader(),
          .commit = state_.commit_index,
          .last = last_index(),
          .quiet = quiet_};
}

bool Core::commit_is_synced() const {
  const auto* leader = std::get_if<Leader>(&role_);
  return leader != nullptr && leader->commit_synced;
}

const std::vector<Progress>& Core::progress() const {
  static const std::vector<Progress> kNone;
  const auto* leader = std::get_if<Leader>(&role_);
  return leader != nullptr ? leader->progress : kNone;
}

std::string Core::Dump() const {
  const auto text = [](ReplicaId id) { return absl::StrCat(id.broker.value(), "/", id.incarnation); };
  static constexpr const char* kRoles[] = {"follower", "pre-candidate", "candidate", "leader"};
  std::string out = absl::StrCat(
      "group ", group_.value(), " replica ", text(self_), " ", kRoles[static_cast<int>(role())], " term ",
      state_.term.value(), " vote ", text(state_.voted_for), " leader ", text(leader()),
      state_.abstaining ? " abstaining" : "", quiet_ ? " quiet" : "", "\n  log behind ", terms_.before_first().value(),
      " applied ", applied_.value(), " given ", committed_given_.value(), " commit ", state_.commit_index.value(),
      " stable ", stable_.value(), " taken ", taken_.value(), " last ", terms_.last_term().value(), "/",
      last_index().value(), " end offset ", end_offset().value(), "\n  ", ToString(membership()), " since ",
      memberships_.back().index.value(), ", ", writing_.size(), " writes under way");
  for (const Progress& p : progress()) {
    absl::StrAppend(&out, "\n  member ", text(p.id), " ", ToString(p.state), " match ", p.match.value(), " next ",
                    p.next.value(), " in flight ", p.inflights.count(), p.abstention != 0 ? " abstaining" : "");
  }
  return out;
}

void Core::CheckInvariants() const {
  if (stopped_) return;
  const auto holds = [&](bool condition, const char* what) { MILLRACE_CHECK(condition) << what << "; " << Dump(); };
  holds(applied_ <= committed_given_ && committed_given_ <= state_.commit_index, "applied <= given <= commit");
  holds(state_.commit_index <= last_index() && stable_ <= last_index(), "commit, stable <= last");
  holds(terms_.before_first() <= state_.commit_index, "only what is committed is removed");
  holds(taken_ <= last_index() && stable_ <= std::max(taken_, terms_.before_first()), "stable <= taken <= last");
  holds(tail_.last_index() == last_index(), "the tail ends where the log does");
  holds(tail_.first_index() <= std::max(stable_, terms_.before_first()) + 1, "what is not durable is in memory");
  holds(terms_.last_term() <= state_.term, "no entry is of a later term");
  holds(memberships_.back().index <= last_index(), "the membership is in the log");
}

}  // namespace millrace::raft
