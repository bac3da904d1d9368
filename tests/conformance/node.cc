#include "tests/conformance/node.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "tests/conformance/text.h"

namespace millrace::conformance {
namespace {

using raft::LogIndex;

raft::PersistedState StateAt(const NodeStart& start) {
  raft::PersistedState state{.term_and_vote = {.term = raft::Term(kTermsAhead), .commit_index = start.last.index},
                             .terms = raft::TermTable(start.last),
                             .memberships = {}};
  if (!start.membership.voters.empty()) state.memberships = {{start.last.index, start.membership}};
  return state;
}

absl::Status Dropped() { return absl::AbortedError("raft proposal dropped"); }

raft::Entry RecordsEntry(const std::string& data) {
  raft::Entry entry{.header = {.type = raft::EntryType::kRecords, .record_count = 1}, .payload = absl::Cord(data)};
  return entry;
}

// In etcd the kind of a message says whether it waits for the disk: answers that may promise something do, others do not. Ours
// wait more precisely, but requests for votes wait too: after a power cut a log may be shorter than the one that votes were given
// to. Nothing is lost in a transcript.
bool WaitsForDisk(const raft::Message& m) {
  return std::holds_alternative<raft::AppendReply>(m.body) || std::holds_alternative<raft::VoteReply>(m.body);
}

void MoveTo(std::vector<raft::Message>& messages, std::vector<Mail>* network) {
  for (raft::Message& m : messages) {
    const int64_t from = NodeNumber(m.from), to = NodeNumber(m.to);
    network->push_back({.from = from, .to = to, .content = std::move(m)});
  }
  messages.clear();
}

// Moves out what etcd would send at once; the rest is left to wait.
void MoveUnlessWaiting(raft::Ready& ready, std::vector<Mail>* network) {
  std::vector<raft::Message> waiting, others;
  for (std::vector<raft::Message>* messages : {&ready.send_now, &ready.send_after_persist}) {
    for (raft::Message& m : *messages) (WaitsForDisk(m) ? waiting : others).push_back(std::move(m));
  }
  MoveTo(others, network);
  ready.send_now.clear();
  ready.send_after_persist = std::move(waiting);
}

}  // namespace

int64_t EtcdTerm(raft::Term term) { return term.value() - kTermsAhead; }

Node::Node(int64_t number, const NodeOptions& options, const NodeStart& start, ScriptedTimeouts timeouts,
           EntryLabels& labels)
    : number_(number),
      options_(options),
      labels_(labels),
      timeouts_(std::move(timeouts)),
      core_(options_.config, raft::GroupId(1), NodeId(number), StateAt(start), timeouts_),
      taken_log_{start.last},
      log_{start.last},
      disk_{start.last},
      snapshot_{.last = start.last,
                .membership = start.membership,
                .membership_index = start.last.index,
                .state = absl::Cord(start.content)},
      shown_(core_.status()),
      committed_(start.last.index),
      handed_(start.last.index) {}

// ---- Ready

bool Node::HasReady() const { return !taken_.empty() || !outbox_.empty() || handed_ < ApplicableTo(); }

// After each event, since etcd decides what to send when something happens and not when its Ready is taken. What the core asks its
// driver for is what etcd reads by itself, so it is answered here.
void Node::TakeReadies() {
  while (core_.HasReady()) {
    raft::Ready ready = core_.TakeReady();
    taken_log_.Write(ready);
    MoveUnlessWaiting(ready, &outbox_);
    Answer(ready);
    taken_.push_back(std::move(ready));
  }
}

void Node::Answer(const raft::Ready& ready) {
  for (const raft::EntryRequest& request : ready.entry_requests) {
    core_.OnEntries(request, taken_log_.Read(request.first, request.last, request.bytes_max));
  }
  for (const raft::ReplicaId to : ready.snapshot_requests) core_.OnSnapshot(to, snapshot_);
}

absl::Status Node::ProcessReady(std::vector<Mail>* network) {
  for (const raft::Ready& ready : taken_) {
    if (ready.fatal) return absl::InternalError(Cat("node ", number_, " has stopped: ", ready.fatal->text));
    log_.Write(ready);
    if (ready.install) {
      has_had_snapshot_ = true;
      snapshot_ = *ready.install;
      committed_ = handed_ = ready.install->last.index;
    }
    if (!ready.committed.empty()) committed_ = ready.committed.last;
  }
  shown_ = core_.status();
  std::move(outbox_.begin(), outbox_.end(), std::back_inserter(*network));
  outbox_.clear();
  if (!taken_.empty()) QueueWrite({.readies = std::exchange(taken_, {})});

  const LogIndex last = NextApply();
  const bool applies = last > handed_;
  handed_ = std::max(handed_, last);
  if (options_.async_storage_writes) {
    if (applies) applies_.push_back(last);
  } else {
    while (HasAppendWork()) WriteOldest(network);
    if (applies) Apply(last);
    while (!writes_.empty()) OnPersisted();
    if (applies) core_.OnApplied(last);
  }
  return AfterEvent(absl::OkStatus());
}

// ---- Disk

void Node::QueueWrite(Write write) {
  const bool waits = std::any_of(write.readies.begin(), write.readies.end(),
                                 [](const raft::Ready& r) { return r.writes() || !r.send_after_persist.empty(); });
  if (waits) {
    write.seq = write.readies.back().seq;
    writes_.push_back(std::move(write));
  } else if (!writes_.empty()) {
    writes_.back().seq = write.readies.back().seq;  // durable with those before it
  } else {
    core_.OnPersisted(write.readies.back().seq);
  }
}

void Node::WriteOldest(std::vector<Mail>* network) {
  Write& write = writes_[written_++];
  for (raft::Ready& ready : write.readies) {
    disk_.Write(ready);
    MoveTo(ready.send_after_persist, network);
  }
}

void Node::ProcessAppendThread(std::vector<Mail>* network) {
  WriteOldest(network);
  network->push_back({.from = number_, .to = number_, .content = Persisted()});
}

void Node::OnPersisted() {
  core_.OnPersisted(writes_.front().seq);
  writes_.pop_front();
  --written_;
}

// ---- State machine

LogIndex Node::ApplicableTo() const {
  // etcd's threads apply only what their own disk has.
  return options_.async_storage_writes ? std::min(committed_, core_.stable_index()) : committed_;
}

LogIndex Node::NextApply() const {
  LogIndex last = handed_;
  for (size_t bytes = 0; last < ApplicableTo(); ++last) {
    // What etcd's encoding of an entry adds to its payload is about this.
    static constexpr size_t kEntryOverhead = 6;
    bytes += log_.At(last + 1).payload.size() + kEntryOverhead;
    if (last > handed_ && bytes > options_.committed_bytes_max) break;
  }
  return last;
}

void Node::Apply(LogIndex last) {
  while (snapshot_.last.index < last) {
    const raft::Entry& entry = log_.At(snapshot_.last.index + 1);
    snapshot_.last = {entry.header.term, entry.header.index};
    snapshot_.end_offset = entry.header.end_offset();
    snapshot_.append_time = entry.header.append_time;
    if (entry.header.type == raft::EntryType::kMembership) {
      snapshot_.membership = *raft::DecodeMembership(std::string(entry.payload));
      snapshot_.membership_index = entry.header.index;
    } else {
      snapshot_.state.Append(entry.payload);
    }
  }
}

void Node::ProcessApplyThread(std::vector<Mail>* network) {
  const LogIndex last = applies_.front();
  applies_.pop_front();
  Apply(last);
  network->push_back({.from = number_, .to = number_, .content = Applied{last}});
}

// ---- Other events

absl::Status Node::Deliver(const Mail& mail) {
  absl::Status status;
  if (std::holds_alternative<Persisted>(mail.content)) {
    OnPersisted();
  } else if (const auto* applied = std::get_if<Applied>(&mail.content)) {
    core_.OnApplied(applied->last);
  } else if (const auto* proposal = std::get_if<Proposal>(&mail.content)) {
    status = ProposeOrPassOn(*proposal);
    if (absl::IsAborted(status)) status = absl::OkStatus();  // nobody hears of it
  } else if (const auto* transfer = std::get_if<Transfer>(&mail.content)) {
    TransferLeadership(transfer->to_node);
  } else {
    status = core_.Step(std::get<raft::Message>(mail.content));
  }
  return AfterEvent(std::move(status));
}

// Status() of the event, if what follows from it goes well.
absl::Status Node::AfterEvent(absl::Status status) {
  status.Update(ProposePostponed());
  TakeReadies();
  return status;
}

void Node::Campaign() {
  core_.Campaign();
  TakeReadies();
}

void Node::ForgetLeader() {
  // etcd's followers refuse it when reads rest on their leader's lease.
  if (!options_.lease_based_reads) core_.ForgetLeader();
  TakeReadies();
}

void Node::ReportUnreachable(int64_t node) {
  // To etcd's followers it means nothing.
  if (core_.role() == raft::Role::kLeader) core_.OnUnreachable(NodeId(node));
  TakeReadies();
}

absl::Status Node::Propose(const Proposal& proposal) {
  absl::Status status = ProposeOrPassOn(proposal);
  TakeReadies();
  return status;
}

absl::Status Node::ProposeOrPassOn(const Proposal& proposal) {
  const int64_t leader = NodeNumber(core_.leader());
  if (leader == 0) return Dropped();
  // etcd's leader goes on when it is removed, if not told to step down, but takes nothing new.
  if (leader == number_ && !raft::Contains(snapshot_.membership.Members(), core_.self())) return Dropped();
  if (leader != number_) {
    outbox_.push_back({.from = number_, .to = leader, .content = proposal});
    return absl::OkStatus();
  }
  if (!postponed_.empty() || MustWait(proposal)) {
    postponed_.push_back(proposal);
    return absl::OkStatus();
  }
  return proposal.kind == Proposal::Kind::kChange ? ProposeChange(proposal) : ProposeData(proposal);
}

// A leader of ours takes no change before an entry of its term is committed, etcd's does. And only one at a time, which etcd can
// be told not to care about.
bool Node::MustWait(const Proposal& proposal) const {
  if (proposal.kind != Proposal::Kind::kChange) return false;
  const bool term_begun = core_.terms().At(core_.commit_index()) == core_.term();
  const bool under_way = core_.memberships().back().index > core_.commit_index();
  return !term_begun || (under_way && !options_.validate_changes);
}

absl::Status Node::ProposePostponed() {
  if (core_.role() != raft::Role::kLeader) postponed_.clear();
  while (!postponed_.empty() && !MustWait(postponed_.front())) {
    const Proposal proposal = std::move(postponed_.front());
    postponed_.pop_front();
    absl::Status status = proposal.kind == Proposal::Kind::kChange ? ProposeChange(proposal) : ProposeData(proposal);
    if (!status.ok() && !absl::IsAborted(status)) return status;
  }
  return absl::OkStatus();
}

absl::Status Node::ProposeData(const Proposal& proposal) {
  return core_.Propose(RecordsEntry(proposal.data)).ok() ? absl::OkStatus() : Dropped();
}

absl::Status Node::ProposeChange(const Proposal& proposal) {
  using Joint = raft::Core::MembershipOptions::Joint;
  const std::vector<raft::MembershipChange> changes = ToMembershipChanges(proposal.changes);
  const bool simple = proposal.transition == Proposal::Transition::kAuto && proposal.changes.size() <= 1;
  const raft::Core::MembershipOptions options{.joint = simple ? Joint::kWhenNeeded : Joint::kAlways,
                                              .auto_leave = proposal.transition != Proposal::Transition::kExplicit,
                                              .catch_up_first = false};
  // To etcd a change without effect (an update, a voter that is one already) is an entry like any other; our log has none for it,
  // so an entry of no records stands in its place.
  const bool refused = core_.memberships().back().index > snapshot_.last.index || core_.membership().joint();
  const absl::StatusOr<raft::Membership> after = raft::ChangeSimply(core_.membership(), changes);
  const bool idle = simple && !refused && !proposal.changes.empty() && after.ok() && *after == core_.membership();
  absl::StatusOr<raft::EntryId> id = idle ? core_.Propose(RecordsEntry("")) : core_.ProposeMembership(changes, options);
  if (id.ok()) {
    labels_[*id] = proposal.Label();
    return absl::OkStatus();
  }
  if (absl::IsUnavailable(id.status())) return Dropped();
  if (!options_.validate_changes) {
    return absl::UnimplementedError(Cat("without validation etcd takes this change: ", id.status().message()));
  }
  // etcd writes an empty entry in the place of a change that it refuses.
  return ProposeData({.kind = Proposal::Kind::kData, .data = ""});
}

void Node::TransferLeadership(int64_t to_node) {
  const int64_t leader = NodeNumber(core_.leader());
  if (core_.role() == raft::Role::kLeader) {
    core_.TransferLeadership(NodeId(to_node)).IgnoreError();  // as in etcd, which does nothing for itself or a learner
  } else if (leader != 0) {
    outbox_.push_back({.from = number_, .to = leader, .content = Transfer{to_node}});
  }
  TakeReadies();
}

absl::Status Node::Compact(LogIndex last_removed) {
  if (last_removed < disk_.first_index()) {
    return absl::OutOfRangeError("requested index is unavailable due to compaction");
  }
  if (last_removed > std::min(disk_.last_index(), core_.commit_index())) {
    return absl::InvalidArgumentError(Cat("entry ", last_removed.value(), " is not written and committed"));
  }
  taken_log_.RemovePrefix(last_removed);
  log_.RemovePrefix(last_removed);
  disk_.RemovePrefix(last_removed);
  core_.OnPrefixRemoved(last_removed + 1);
  return absl::OkStatus();
}

void Node::Tick(int ticks) {
  for (int i = 0; i < ticks; ++i) {
    core_.Tick();
    TakeReadies();
  }
}

}  // namespace millrace::conformance
