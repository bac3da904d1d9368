// A replica of a running group, driven within its driver's contract, takes whatever messages come: it may refuse them, it may stop
// with Ready.fatal, and no message may make it crash or break its own invariants.
#include <algorithm>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/wire/check.h"
#include "raft/core.h"
#include "raft/persisted_state.h"
#include "tests/fuzz/input.h"
#include "tests/support/ready_log.h"

namespace millrace::raft {
namespace {

ReplicaId Id(int n) { return {BrokerId(n), 1}; }

class FuzzedReplica {
 public:
  explicit FuzzedReplica(fuzz::Input& in)
      : in_(in),
        config_{.election_ticks = 4,
                .quiesce_ticks = 3,
                .append_bytes_max = 8,
                .inflight_messages_max = 3,
                .promotion_lag_max = 1},
        random_(in.Byte()) {
    config_.pre_vote = in.Flag();
    PersistedState state;
    state.memberships = {{LogIndex(0), AnyMembership()}};
    state.term_and_vote.abstaining = in.Flag();
    core_.emplace(config_, GroupId(1), Id(1), std::move(state), random_);
  }

  void Run() {
    while (!in_.empty() && !stopped_) Once();
  }

 private:
  void Once() {
    switch (in_.Choice(12)) {
      case 0:
        return core_->Tick();
      case 1:
        return core_->Campaign();
      case 2:
        return (void)core_->Propose({.header = {.record_count = in_.Choice(3)}, .payload = absl::Cord("abcdef")});
      case 3:
        return (void)core_->ReadIndex(in_.Byte());
      case 4:
        return (void)core_->TransferLeadership(Id(in_.Choice(5)));
      case 5:
        return (void)core_->ProposeMembership(Changes(), {.auto_leave = in_.Flag(), .catch_up_first = in_.Flag()});
      case 6:
        return core_->OnUnreachable(Id(in_.Choice(5)));
      case 7:
        return Take();
      case 8:
        return Persist();
      case 9:
        return RemovePrefix();
      default:
        return (void)core_->Step(AnyMessage());
    }
  }

  void Take() {
    if (!core_->HasReady()) return;
    Ready ready = core_->TakeReady();
    stopped_ = ready.fatal.has_value();
    disk_.Write(ready);
    // What the driver stores of it can be read at the next start.
    if (ready.memberships) MILLRACE_CHECK(DecodeMemberships(EncodeMemberships(*ready.memberships)).ok());
    if (!ready.committed.empty()) core_->OnApplied(ready.committed.last);
    for (const EntryRequest& request : ready.entry_requests) core_->OnEntries(request, Read(request));
    for (ReplicaId to : ready.snapshot_requests) core_->OnSnapshot(to, MakeSnapshot());
    for (const Message& m : ready.send_now) {
      if (const auto* reply = std::get_if<AppendReply>(&m.body)) life_ = reply->life;
    }
    writing_.push_back(ready.seq);
  }

  void Persist() {
    if (writing_.empty()) return;
    core_->OnPersisted(writing_.front());
    writing_.pop_front();
  }

  void RemovePrefix() {
    const LogIndex last = std::min({core_->commit_index(), core_->stable_index(), core_->applied_index()});
    if (last < disk_.first_index()) return;
    disk_.RemovePrefix(last);
    core_->OnPrefixRemoved(last + 1);
  }

  std::vector<Entry> Read(const EntryRequest& request) {
    if (request.first < disk_.first_index() || in_.Flag()) return {};
    return disk_.Read(request.first, request.last, SIZE_MAX);
  }

  std::optional<InstallSnapshot> MakeSnapshot() {
    const LogIndex last = core_->terms().before_first();
    if (in_.Flag() || core_->memberships().front().index > last) return std::nullopt;
    return InstallSnapshot{.last = {*core_->terms().At(last), last},
                           .membership = core_->memberships().front().membership};
  }

  std::vector<MembershipChange> Changes() {
    std::vector<MembershipChange> changes(in_.Choice(4));
    for (MembershipChange& change : changes) {
      change = {static_cast<MembershipChange::Kind>(1 + in_.Choice(3)), Id(1 + in_.Choice(5)), in_.Flag()};
    }
    return changes;
  }

  // Simple or joint, with learners and some of them to be promoted; of 1 alone where what was drawn is none.
  Membership AnyMembership() {
    Membership m;
    for (int n = 1; n <= 5; ++n) {
      const int sets = in_.Choice(64);
      if (sets & 1) m.voters.push_back(Id(n));
      if (sets & 2) m.outgoing.push_back(Id(n));
      if (!(sets & 3) && sets & 4) m.learners.push_back(Id(n));
      if ((sets & 3) == 2 && sets & 8) m.learners_next.push_back(Id(n));
      if (!(sets & 3) && (sets & 20) == 20) m.promote.push_back(Id(n));
    }
    if (in_.Flag()) m.outgoing = m.learners_next = {};
    m.auto_leave = m.joint() && in_.Flag();
    return Validate(m).ok() ? m : Membership{.voters = {Id(1)}};
  }

  LogIndex AnyIndex() { return LogIndex(in_.Number(core_->last_index().value())); }
  Term AnyTerm() { return Term(in_.Number(core_->term().value())); }
  EntryId AnyPlace() {
    const LogIndex index = AnyIndex();
    // Often the term that the entry has here.
    const std::optional<Term> term = core_->terms().At(index);
    return {term && in_.Flag() ? *term : AnyTerm(), index};
  }

  std::vector<Entry> Entries(EntryId prev) {
    std::vector<Entry> entries(in_.Choice(4));
    Offset offset(in_.Number(core_->end_offset().value()));
    if (in_.Flag()) offset = core_->end_offset();
    for (Entry& entry : entries) {
      EntryHeader& h = entry.header;
      h.index = prev.index + 1;
      h.term = in_.Flag() ? prev.term : AnyTerm();
      h.base_offset = offset;
      h.record_count = in_.Choice(3);
      h.type = static_cast<EntryType>(1 + in_.Choice(4));
      if (h.type == EntryType::kMembership) {
        entry.payload = absl::Cord(in_.Byte() < 250 ? Encode(AnyMembership()) : "?");
      }
      offset = h.end_offset();
      prev = {h.term, h.index};
    }
    return entries;
  }

  Message AnyMessage() {
    Message m{.from = Id(2 + in_.Choice(4)), .to = Id(in_.Byte() < 250 ? 1 : 2), .term = AnyTerm()};
    switch (in_.Choice(8)) {
      case 0: {
        const EntryId prev = AnyPlace();
        m.body = AppendEntries{.prev = prev,
                               .entries = Entries(prev),
                               .commit = AnyIndex(),
                               .confirmed = {AnyIndex(), in_.Byte()},
                               .lost_in_life = in_.Byte() < 64 ? life_ : 0,
                               .membership = in_.Byte() < 64 ? std::make_shared<Membership>(AnyMembership()) : nullptr,
                               .request = in_.Byte()};
        break;
      }
      case 1: {
        const uint8_t flags = in_.Byte();
        m.body = AppendReply{.accepted = (flags & 1) != 0,
                             .match = AnyIndex(),
                             .unsynced = (flags & 2) != 0,
                             .rejected = AnyIndex(),
                             .hint = AnyPlace(),
                             .last_index = AnyIndex(),
                             .abstention = in_.Byte() % 3u,
                             .request = in_.Byte()};
        break;
      }
      case 2:
        m.body =
            Heartbeat{.commit = AnyPlace(), .read_round = in_.Byte(), .quiesce = in_.Flag(), .last_index = AnyIndex()};
        break;
      case 3:
        m.body = HeartbeatReply{
            .read_round = in_.Byte(), .quiet = in_.Flag(), .last_index = AnyIndex(), .abstention = in_.Byte() % 3u};
        break;
      case 4:
        m.body = VoteRequest{.last = AnyPlace(), .pre_vote = in_.Flag(), .transfer = in_.Flag()};
        break;
      case 5:
        m.body = VoteReply{.granted = in_.Flag(), .pre_vote = in_.Flag(), .abstaining = in_.Flag(), .asked = AnyTerm()};
        break;
      case 6:
        m.body = InstallSnapshot{.last = AnyPlace(),
                                 .end_offset = Offset(in_.Number(0)),
                                 .membership = AnyMembership(),
                                 .membership_index = AnyIndex()};
        break;
      case 7:
        m.body = TimeoutNow{};
        break;
    }
    return m;
  }

  fuzz::Input& in_;
  Config config_;
  SeededRandom random_;
  std::optional<Core> core_;
  ReadyLog disk_;
  std::deque<ReadySeq> writing_;
  uint64_t life_ = 0;  // as it has told
  bool stopped_ = false;
};

}  // namespace
}  // namespace millrace::raft

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  millrace::fuzz::Input in(data, size);
  millrace::raft::FuzzedReplica(in).Run();
  return 0;
}
