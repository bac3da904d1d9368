// The leader's side of the log: Raft thesis 3.5 (replication), 3.6 (commit), 6.4 (reads), 10.2.1 (its own write in parallel).
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "raft/core.h"
#include "raft/quorum.h"

namespace millrace::raft {

// ---- Proposals

absl::StatusOr<EntryId> Core::Propose(Entry entry) {
  auto* leader = std::get_if<Leader>(&role_);
  if (stopped_ || leader == nullptr) return absl::FailedPreconditionError("this replica does not lead the group");
  if (leader->transfer_to)
    return absl::UnavailableError("leadership is being handed over; try again at the new leader");
  const size_t bytes = MemoryCost(entry);
  const size_t waiting = std::max(leader->uncommitted.bytes(), tail_.bytes());
  if (waiting > 0 && waiting + bytes > config_.uncommitted_bytes_max) {
    return absl::ResourceExhaustedError(
        "too much is waiting for a majority or for this disk; nothing was appended, try again later");
  }
  Wake();
  leader->uncommitted.Add(last_index() + 1, bytes);
  AppendOwn(std::move(entry));
  CheckInvariants();
  return EntryId{state_.term, last_index()};
}

void Core::AppendOwn(Entry entry) {
  auto& leader = std::get<Leader>(role_);
  EntryHeader& h = entry.header;
  h.term = state_.term;
  h.index = last_index() + 1;
  h.base_offset = end_offset();
  h.append_time = std::max(h.append_time, last_append_time_);
  AppendOne(std::move(entry));
  leader.idle_ticks = 0;
  send_due_ = true;
}

// ---- Sending

void Core::ReplicateToAll() {
  if (!std::exchange(send_due_, false)) return;
  for (Progress& p : std::get<Leader>(role_).progress) {
    if (p.id == self_) continue;
    while (ReplicateTo(p)) {
    }
  }
}

// Sends one request if there is something to send and room for it.
bool Core::ReplicateTo(Progress& p) {
  if (p.state == Progress::State::kSnapshot || p.reading || p.snapshot_requested) return false;
  if (p.state == Progress::State::kProbe && p.probe_sent) return false;
  const bool full = p.state == Progress::State::kReplicate &&
                    p.inflights.Full(config_.inflight_messages_max, config_.inflight_bytes_max);
  const bool nudge = std::exchange(p.nudge, false);
  if (full && !nudge) return false;
  if (p.next - 1 < terms_.before_first()) {
    RequestSnapshot(p);
    return false;
  }
  if (p.next > last_index() || full) {
    const bool news = nudge || p.state == Progress::State::kProbe || OwesCommit(p);
    if (news) SendEntries(p, {});
    return false;
  }
  std::vector<Entry> entries;
  if (p.next < tail_.first_index()) {
    const LogIndex last = std::min(last_index(), tail_.first_index() - 1);
    p.reading = true;
    Next().entry_requests.push_back({p.id, p.next, last, config_.append_bytes_max});
    return false;
  }
  tail_.CopyTo(p.next, last_index(), config_.append_bytes_max, &entries);
  SendEntries(p, std::move(entries));
  return true;
}

bool Core::OwesCommit(const Progress& p) const { return config_.commit_at_once && p.commit_sent < state_.commit_index; }

void Core::SendEntries(Progress& p, std::vector<Entry> entries) {
  auto& leader = std::get<Leader>(role_);
  const LogIndex prev = p.next - 1;
  if (p.state == Progress::State::kProbe) {
    p.probe_sent = true;
  } else if (!entries.empty()) {
    size_t bytes = 0;
    for (const Entry& entry : entries) bytes += MemoryCost(entry);
    p.next = entries.back().header.index + 1;
    p.inflights.Add(p.next - 1, bytes);
  }
  p.commit_sent = state_.commit_index;
  Next().send_now.push_back(To(p.id, AppendEntries{.prev = {*terms_.At(prev), prev},
                                                   .entries = std::move(entries),
                                                   .commit = state_.commit_index,
                                                   .confirmed = {leader.confirmed, p.abstention},
                                                   .lost_in_life = p.lost_in_life,
                                                   .membership = prev == LogIndex(0) ? CommittedMembership() : nullptr,
                                                   .request = leader.next_request++}));
}

void Core::OnEntries(const EntryRequest& request, std::vector<Entry> entries) {
  Progress* p = Find(request.to);
  if (stopped_ || p == nullptr || !p->reading) return;
  p->reading = false;
  send_due_ = true;
  // Another request's answer, or what is before it has been removed since.
  if (request.first != p->next || p->next - 1 < terms_.before_first()) return;
  const bool ours = std::all_of(entries.begin(), entries.end(),
                                [&](const Entry& entry) { return terms_.At(entry.header.index) == entry.header.term; });
  if (entries.empty() || entries.front().header.index != p->next || !ours) {
    // Not readable now: again when the member is heard of next; by then a snapshot may be the way.
    p->BecomeProbe();
    p->probe_sent = true;
    return;
  }
  SendEntries(*p, std::move(entries));
  CheckInvariants();
}

void Core::RequestSnapshot(Progress& p) {
  p.snapshot_requested = true;
  Next().snapshot_requests.push_back(p.id);
}

void Core::OnSnapshot(ReplicaId to, std::optional<InstallSnapshot> snapshot) {
  Progress* p = Find(to);
  if (stopped_ || p == nullptr || !p->snapshot_requested) return;
  p->snapshot_requested = false;
  send_due_ = true;
  if (!snapshot || snapshot->last.index < terms_.before_first()) {
    // Not made, or retention has gone past it since: again when the member is heard of next.
    p->BecomeProbe();
    p->probe_sent = true;
    return;
  }
  const LogIndex last = snapshot->last.index;
  MILLRACE_CHECK(last <= state_.commit_index && terms_.At(last) == snapshot->last.term) << last << "; " << Dump();
  p->BecomeSnapshot(last);
  snapshot->request = std::get<Leader>(role_).next_request++;
  Next().send_now.push_back(To(to, std::move(*snapshot)));
}

void Core::SendHeartbeats() {
  auto& leader = std::get<Leader>(role_);
  leader.heartbeat_elapsed = 0;
  const bool quiesce = MayGoQuiet();
  for (const Progress& p : leader.progress) {
    if (p.id == self_) continue;
    const LogIndex commit = std::min(p.match, state_.commit_index);
    const std::optional<Term> term = terms_.At(commit);  // none where retention has removed it
    SendNewest(Next().send_now, To(p.id, Heartbeat{.commit = term ? EntryId{*term, commit} : EntryId(),
                                                   .confirmed = {leader.confirmed, p.abstention},
                                                   .read_round = leader.read_round,
                                                   .quiesce = quiesce,
                                                   .last_index = last_index()}));
  }
}

// ---- Replies

Progress* Core::Find(ReplicaId id) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return nullptr;
  const auto at = std::lower_bound(leader->progress.begin(), leader->progress.end(), id,
                                   [](const Progress& p, ReplicaId wanted) { return p.id < wanted; });
  return at != leader->progress.end() && at->id == id ? &*at : nullptr;
}

void Core::Handle(const Message& m, const AppendReply& body) {
  Progress* p = Find(m.from);
  if (p == nullptr) return;
  p->recent_active = true;
  p->quiet_at = LogIndex(0);
  if (body.request < p->first_request) return;
  if (p->lost_in_life != 0) p->lost_in_life = body.life;  // started again since, with the same disk
  NoteAbstaining(*p, body.abstention, body.last_index);
  if (p = Find(m.from); p == nullptr) return;  // the commit may have ended its membership, or our leadership
  if (body.accepted) {
    OnAcked(*p, body);
  } else {
    OnRefused(*p, body);
  }
}

void Core::OnAcked(Progress& p, const AppendReply& reply) {
  auto& leader = std::get<Leader>(role_);
  const bool news = p.Acked(reply.match);
  if (news) p.match_known_since = leader.next_request;
  const bool synced = !reply.unsynced && reply.match > p.synced;
  if (synced) p.synced = reply.match;
  switch (p.state) {
    case Progress::State::kProbe:
      if (news || reply.match == p.match) p.BecomeReplicate();
      break;
    case Progress::State::kSnapshot:
      // An older one than asked for will do, if the log goes on from there.
      if (p.match >= std::min(p.snapshot, terms_.before_first())) p.BecomeReplicate();
      break;
    case Progress::State::kReplicate:
      p.inflights.FreeTo(reply.match);
      break;
  }
  send_due_ = send_due_ || p.state == Progress::State::kProbe || p.next <= last_index() || OwesCommit(p);
  if (news && leader.transfer_to == p.id && p.match == last_index()) SendTimeoutNow(p.id);
  if (news || synced) AdvanceCommit();
}

void Core::OnRefused(Progress& p, const AppendReply& reply) {
  // Asked after we knew of its ack, it has less than it acked, or something else. (A refusal of an earlier request is just late,
  // and one that names no request is for a leader of an earlier term.)
  const bool lost = reply.last_index < p.match || (reply.rejected <= p.match && p.match > LogIndex(0));
  if (lost && reply.request >= p.match_known_since) return OnLostDurability(p, reply);
  if (p.state == Progress::State::kSnapshot) return;
  if (p.state == Progress::State::kReplicate) {
    if (reply.rejected <= p.match) return;  // stale
    p.BecomeProbe();
  } else {
    if (p.next - 1 != reply.rejected) return;  // stale
    // The largest index at which the two logs can agree, seen from our side of the search by terms.
    const LogIndex hint = reply.hint.index;
    const LogIndex agree = hint < terms_.before_first() ? hint : terms_.LastAtMost(reply.hint.term, hint);
    p.next = std::max(std::min(reply.rejected, agree + 1), p.match + 1);
    p.probe_sent = false;
  }
  send_due_ = true;
}

void Core::Handle(const Message& m, const HeartbeatReply& body) {
  Progress* p = Find(m.from);
  if (p == nullptr) return;
  // That it abstains no more is taken from acks alone: an answer may be older than the abstaining.
  if (body.abstention != 0) NoteAbstaining(*p, body.abstention, body.last_index);
  if (p = Find(m.from); p == nullptr) return;
  auto& leader = std::get<Leader>(role_);
  p->recent_active = true;
  p->probe_sent = false;
  p->read_round = std::max(p->read_round, std::min(body.read_round, leader.read_round));
  p->quiet_at = body.quiet ? body.last_index : LogIndex(0);
  if (p->state == Progress::State::kSnapshot && ++p->snapshot_waits >= config_.election_ticks) {
    p->BecomeProbe();  // it was lost on the way, or its ack was: ask what the member has
  }
  // Behind, and nothing may be under way that could tell: a lost request must not wedge the pipeline (hashicorp/raft #612).
  const bool lacks = DurableAt(*p) < last_index() || p->abstention != 0;
  p->nudge = p->state == Progress::State::kReplicate && lacks;
  send_due_ = send_due_ || p->nudge || p->state == Progress::State::kProbe;
  ReleaseReads();
  // Acks alone do not tell that it may be promoted: it may have everything and be heard of again, or count again.
  if (!membership().promote.empty()) return AdvanceMembership();
  if (!MayGoQuiet()) return;
  const bool all_quiet = std::all_of(leader.progress.begin(), leader.progress.end(), [&](const Progress& other) {
    return other.id == self_ || other.quiet_at == last_index();
  });
  if (all_quiet) GoQuiet();
}

// ---- Commit

void Core::SetSynced(bool synced) {
  if (stopped_ || synced_ == synced) return;
  const bool leads = std::holds_alternative<Leader>(role_);
  if (leads) Wake();  // it is quiet because all was durable in the other sense
  synced_ = synced;
  if (leads) AdvanceCommit();
  CheckInvariants();
}

// A member that has not heard yet that the topic's level is another says written.
LogIndex Core::DurableAt(const Progress& p) const { return synced_ ? p.synced : p.match; }

// The largest index that a majority holds durably, abstaining replicas and learners not counted.
LogIndex Core::AckedByMajority() {
  return CommittedIndex(membership(), [&](ReplicaId id) {
    if (id == self_) return state_.abstaining ? LogIndex(0) : stable_;
    const Progress* p = Find(id);
    return p->abstention != 0 ? LogIndex(0) : DurableAt(*p);
  });
}

void Core::AdvanceCommit() {
  if (quiet_) return;
  auto& leader = std::get<Leader>(role_);
  const LogIndex acked = AckedByMajority();
  // Counting decides only over entries of our own term (Raft paper, figure 8); earlier ones come with them.
  if (acked > state_.commit_index && terms_.At(acked) == state_.term) {
    CommitTo(acked);
    leader.uncommitted.FreeTo(acked);
    send_due_ = send_due_ || config_.commit_at_once;
  }
  if (acked >= leader.first_of_term && acked >= state_.commit_index) {
    leader.confirmed = state_.commit_index;
    leader.commit_synced = synced_;
    leader.unanimous = false;
  }
  if (leader.unanimous && stable_ >= leader.first_of_term)
    leader.confirmed = std::max(leader.confirmed, leader.first_of_term);
  if (state_.abstaining && leader.confirmed > LogIndex(0)) confirmed_ = leader.confirmed;
  ReleaseReads();
  AdvanceMembership();
}

// ---- Reads (thesis 6.4). Leases would save the round and rest on clocks that drift less than a bound that nobody measures: a
// virtual machine that is suspended breaks it. They are not built.

absl::Status Core::ReadIndex(uint64_t id) {
  auto* leader = std::get_if<Leader>(&role_);
  if (stopped_ || leader == nullptr) return absl::FailedPreconditionError("this replica does not lead the group");
  if (leader->reads.size() >= config_.reads_max) return absl::ResourceExhaustedError("too many reads wait for a round");
  Wake();
  leader->idle_ticks = 0;
  leader->reads.push_back({id, 0, state_.commit_index});
  leader->read_round_due = send_due_ = true;
  return absl::OkStatus();
}

void Core::StartReadRound() {
  auto& leader = std::get<Leader>(role_);
  // Until an entry of our term is committed we do not know what earlier leaders have committed.
  if (!leader.read_round_due || state_.commit_index < leader.first_of_term) return;
  leader.read_round_due = false;
  ++leader.read_round;
  for (PendingRead& read : leader.reads) {
    if (read.round == 0) read = {read.id, leader.read_round, state_.commit_index};
  }
  SendHeartbeats();
  ReleaseReads();
}

void Core::ReleaseReads() {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr || leader->reads.empty()) return;
  const LogIndex confirmed = CommittedIndex(membership(), [&](ReplicaId id) {
    const Progress* p = Find(id);
    const bool counts = id == self_ ? !state_.abstaining : p->abstention == 0;
    return LogIndex(!counts ? 0 : static_cast<int64_t>(id == self_ ? leader->read_round : p->read_round));
  });
  // Rounds and indexes only rise: what has not passed holds up nothing that could.
  const auto first_waiting = std::find_if(leader->reads.begin(), leader->reads.end(), [&](const PendingRead& read) {
    return read.round == 0 || static_cast<int64_t>(read.round) > confirmed.value() || read.index > applied_;
  });
  if (first_waiting == leader->reads.begin()) return;
  for (auto read = leader->reads.begin(); read != first_waiting; ++read) {
    Next().reads_ready.push_back({read->id, read->index});
  }
  leader->reads.erase(leader->reads.begin(), first_waiting);
}

void Core::FailReads() {
  for (const PendingRead& read : std::get<Leader>(role_).reads) Next().reads_failed.push_back(read.id);
}

// ---- Quiescence (ARCHITECTURE D4)

void Core::GoQuiet() {
  quiet_ = true;
  // Ten thousand of such groups wait in a broker's memory.
  tail_.Shrink();
  spare_.reset();
  std::vector<Writing>(writing_).swap(writing_);
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  std::vector<Progress>().swap(leader->progress);  // all have everything: Wake() knows what stood there
  leader->uncommitted.Clear();
  std::vector<PendingRead>().swap(leader->reads);
}

bool Core::MayGoQuiet() const {
  const auto& leader = std::get<Leader>(role_);
  if (config_.quiesce_ticks == 0 || leader.idle_ticks < config_.quiesce_ticks) return false;
  if (state_.commit_index != last_index() || stable_ != last_index() || state_.abstaining || term_and_vote_dirty_)
    return false;
  if (!leader.reads.empty() || leader.transfer_to || taken_ != last_index()) return false;
  if (membership().joint() || !membership().promote.empty()) return false;
  return std::all_of(leader.progress.begin(), leader.progress.end(), [&](const Progress& p) {
    return p.id == self_ || (p.state == Progress::State::kReplicate && DurableAt(p) == last_index() && !OwesCommit(p) &&
                             p.abstention == 0);
  });
}

}  // namespace millrace::raft
