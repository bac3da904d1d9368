#include "tests/raft_sim/node.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/raft_sim/survival.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

constexpr GroupId kGroup(1);
constexpr int kReadiesMax = 1000;
constexpr int64_t kCalmRound = 100;  // of a disk without faults

Glance GlanceAt(const Core& core, const Glance& last) {
  Glance glance{.role = core.role(),
                .term = core.term(),
                .leader = core.leader(),
                .commit = core.commit_index(),
                .stable = core.stable_index(),
                .quiet = core.quiet(),
                .abstaining = core.abstaining(),
                .membership = last.membership};
  const MembershipAt& membership = core.memberships().back();
  if (!glance.membership || *glance.membership != membership) {
    glance.membership = std::make_shared<const MembershipAt>(membership);
  }
  return glance;
}

}  // namespace

Node::Node(World& world, int broker)
    : world_(world),
      id_{BrokerId(broker), 1},
      timeouts_(world.seed * 31 + static_cast<uint64_t>(broker)),
      disk_(world.swarm.Has(Fault::kAsyncFlush)),
      observer_(world),
      conduct_(world),
      tick_length_(kTick) {
  if (world.swarm.Has(Fault::kClockDrift)) tick_length_ = world.dice.Between(kTick / 2, kTick * 3 / 2);
}

// ---- The process

void Node::Start() {
  if (up()) return;
  ++life_;
  disk_.SyncWritten();
  chain_ = disk_.acked().chain();
  core_.emplace(world_.swarm.config, kGroup, id_, disk_.acked().ToState(), timeouts_);
  core_->SetSynced(!world_.swarm.Has(Fault::kAsyncFlush));
  seen_ = GlanceAt(*core_, Glance());
  applied_ = to_apply_ = core_->applied_index();
  learnt_.clear();
  questions_.clear();
  silent_.fill(0);
  for (const auto& node : world_.nodes) {
    heard_life_[static_cast<size_t>(node->broker())] = node->life();
    heard_id_[static_cast<size_t>(node->broker())] = node->id();
  }
  missed_tick_ = drain_scheduled_ = apply_scheduled_ = prefix_queued_ = false;
  crash_at_ = Step::kNone;
  conduct_.Reset();
  world_.invariants.OnStart(*this);
  int64_t first_tick = world_.dice.Between(1, tick_length_);
  world_.queue.Schedule(world_.now + first_tick, {EventKind::kTick, static_cast<uint8_t>(broker()), life_});
}

void Node::Stop(Disk::Level level) {
  if (!up()) return;
  const bool async = world_.swarm.Has(Fault::kAsyncFlush);
  if (level == Disk::Level::kMachine && async && !MayAbstain(world_, *this)) level = Disk::Level::kProcess;
  core_.reset();
  reads_.clear();
  untold_ = ReadySeq(0);
  paused_ = disk_stalled_ = disk_fails_ = false;
  for (const Event& event : std::exchange(missed_, {})) {
    if (event.kind == EventKind::kDeliver) world_.network.Take(event.what);
  }
  int64_t down = world_.dice.LongTail(5 * kTick);
  world_.queue.Schedule(world_.now + down, {EventKind::kStart, static_cast<uint8_t>(broker())});
  Disk::Loss loss = disk_.Crash(level, world_.dice);
  if (loss.queued > 0) world_.coverage.Saw(Rare::kTornBatch);
  if (loss.written > 0) world_.coverage.Saw(Rare::kAckedBatchLost);
  // What was written and not synced may be lost, and the replica cannot know what others count on (D9).
  if (level != Disk::Level::kMachine || !async) return;
  world_.invariants.OnMachineCrash(*this);
  if (!abstaining()) world_.coverage.Saw(Rare::kAbstainingBegun);
  disk_.SetAbstaining();
}

void Node::ForgetBehind(LogIndex last) {
  Stop(Disk::Level::kMachine);
  const Chain& chain = disk_.acked().chain();
  const EntryId end{chain.back().term, chain.last()};
  if (disk_.Forget(last)) forgotten_ = end;
}

void Node::Wipe() {
  Stop(Disk::Level::kProcess);
  ++id_.incarnation;
  forgotten_ = EntryId();
  disk_ = Disk(world_.swarm.Has(Fault::kAsyncFlush));
}

void Node::Resume() {
  if (!paused_) return;
  paused_ = false;
  // After a stall, all that has arrived comes first, and time passes by one tick at most.
  std::vector<Event> missed = std::exchange(missed_, {});
  std::stable_partition(missed.begin(), missed.end(), [](const Event& e) { return e.kind == EventKind::kDeliver; });
  for (const Event& event : missed) {
    if (event.kind == EventKind::kDeliver) {
      Deliver(world_.network.Take(event.what));
    } else {
      On(event);
    }
  }
  if (std::exchange(missed_tick_, false) && up()) TickNow();
}

void Node::On(const Event& event) {
  if (event.kind == EventKind::kDeliver) {
    if (paused_) return missed_.push_back(event);
    return Deliver(world_.network.Take(event.what));
  }
  if (!up() || event.life != life_) return;
  if (event.kind == EventKind::kTick) {
    world_.queue.Schedule(world_.now + tick_length_, event);
    if (paused_) missed_tick_ = true;
  } else if (paused_) {
    return missed_.push_back(event);
  }
  if (paused_) return;
  observer_.Begin(event.kind, nullptr);
  switch (event.kind) {
    case EventKind::kTick:
      return Tick();
    case EventKind::kDisk:
      return FinishRound();
    case EventKind::kDrain:
      drain_scheduled_ = false;
      return Drain();
    case EventKind::kApply:
      apply_scheduled_ = false;
      Apply();
      return Settle();
    case EventKind::kAnswer:
      return Answer(event.what);
    default:
      return;
  }
}

void Node::Deliver(Message message) {
  if (!up()) return;
  Brief brief = BriefOf(message);
  observer_.Begin(EventKind::kDeliver, &brief);
  observer_.OnMessage(*this, brief);
  conduct_.BeforeStep(*core_, brief);
  absl::Status status = core_->Step(std::move(message));
  conduct_.AfterStep(*core_, brief);
  // Who holds what all voters have lost acks what no log has any more.
  const bool wrong = status.ok() != (brief.to == id_) && !world_.invariants.IsVictim(brief.from);
  if (wrong) world_.Fail(absl::StrCat("well-formed messages are taken: ", status.ToString()));
  Settle();
}

// ---- Time

void Node::Tick() {
  HearBrokers();
  RemovePrefix();
  TickNow();
}

void Node::TickNow() {
  if (!core_->quiet()) {
    core_->Tick();
    conduct_.AfterTick(*core_);
  }
  Settle();
}

// The heartbeats between brokers, which stand in for those of quiet groups: a broker that is cut off, down, or whose disk does
// not answer goes silent; one that has started again says so.
void Node::HearBrokers() {
  if (!world_.swarm.broker_heartbeats) return;
  const int patience = world_.swarm.config.election_ticks;
  for (const auto& node : world_.nodes) {
    const size_t b = static_cast<size_t>(node->broker());
    if (node.get() == this) continue;
    const bool heard = node->healthy() && world_.network.Connected(node->broker(), broker());
    int& silent = silent_[b];
    silent = heard ? 0 : silent + 1;
    const bool restarted = heard && heard_life_[b] != node->life();
    const bool lost = silent == patience || (silent > 0 && silent % (4 * patience) == 0);
    if (restarted || lost) {
      observer_.OnUnreachable();
      conduct_.OnUnreachable();
      core_->OnUnreachable(heard_id_[b]);
    }
    if (!heard) continue;
    heard_life_[b] = node->life();
    heard_id_[b] = node->id();
  }
}

// Retention: the log begins later, as soon as the disk has done it.
void Node::RemovePrefix() {
  const int64_t keep = world_.swarm.retention_entries;
  if (keep == 0 || world_.calm || prefix_queued_) return;
  const LogIndex before = std::min(applied_, core_->stable_index()) - keep;
  if (before < chain_.before() + keep / 2) return;
  Batch batch;
  batch.remove_prefix = before;
  disk_.Queue(std::move(batch));
  prefix_queued_ = true;
  BeginRound();
}

// ---- Readies

void Node::NoteCommit() {
  const LogIndex known = learnt_.empty() ? seen_.commit : learnt_.back().index;
  if (core_->commit_index() > known) learnt_.push_back({core_->term(), core_->commit_index()});
}

Term Node::LearntIn(LogIndex index) const {
  const auto known = std::find_if(learnt_.begin(), learnt_.end(), [&](EntryId id) { return id.index >= index; });
  return known != learnt_.end() ? known->term : core_->term();
}

void Node::Settle() {
  if (!up()) return;
  NoteCommit();
  if (drain_scheduled_) return;
  if (!world_.calm && world_.dice.Chance(world_.swarm.busy_per_million)) {
    drain_scheduled_ = true;
    int64_t later = world_.dice.LongTail(kTick / 2);
    world_.queue.Schedule(world_.now + later, {EventKind::kDrain, static_cast<uint8_t>(broker()), life_});
    return;
  }
  Drain();
}

void Node::Drain() {
  const uint32_t life = life_;
  for (int i = 0; up() && life == life_ && core_->HasReady(); ++i) {
    if (i == kReadiesMax) return world_.Fail("Readies end: a core is never done");
    Perform(core_->TakeReady());
  }
  if (up() && life == life_) Look();
}

void Node::Perform(Ready ready) {
  if (ready.fatal) {
    if (!world_.invariants.IsVictim(id_)) world_.Fail(absl::StrCat("no contradiction: ", ready.fatal->text));
    return Wipe();
  }
  observer_.OnReady(*this, ready);
  Remember(ready);
  for (const Notice& notice : ready.notices) {
    observer_.OnNotice(notice);
    if (notice.kind == Notice::kPossibleLoss) world_.invariants.OnPossibleLoss(*this);
  }
  // Before anything of it is written or applied: the commit index is checked against what is committed elsewhere.
  Look();
  const bool send_first = world_.dice.OneIn(4);
  if (send_first) SendAll(ready.send_now);
  if (Dies(Step::kBeforeWrite)) return;
  const bool waits = ready.writes() || !disk_.idle();
  std::vector<Message> send_after_persist;
  if (waits) {
    Queue(ready);
  } else {
    send_after_persist = std::move(ready.send_after_persist);
  }
  if (Dies(Step::kBeforeSend)) return;
  if (!send_first) SendAll(ready.send_now);
  if (Dies(Step::kBeforeApply)) return;
  if (!waits) {
    SendAll(send_after_persist);
    core_->OnPersisted(ready.seq);
  }
  TakeCommitted(ready);
  if (!up()) return;
  Ask(ready);
}

// What the core's log is from this Ready on.
void Node::Remember(const Ready& ready) {
  Invariants& invariants = world_.invariants;
  if (ready.install) {
    invariants.OnInstall(*this, *ready.install);
    Link link{.term = ready.install->last.term,
              .end_offset = ready.install->end_offset,
              .append_time = ready.install->append_time};
    std::string state(ready.install->state);
    std::memcpy(&link.digest, state.data(), sizeof link.digest);
    chain_ = Chain(ready.install->last.index, link);
    applied_ = to_apply_ = ready.install->last.index;
  }
  if (ready.truncate_from) {
    invariants.OnTruncate(*this, *ready.truncate_from);
    if (*ready.truncate_from <= chain_.before()) return world_.Fail("truncation: before the log's start");
    if (*ready.truncate_from <= chain_.last()) chain_.TruncateSuffix(*ready.truncate_from);
  }
  for (const Entry& entry : ready.append) {
    if (const char* wrong = chain_.Append(entry))
      return world_.Fail(absl::StrCat("entries follow each other: ", wrong));
    invariants.OnAppended(*this, entry.header.index);
    if (core_->role() == Role::kLeader) conduct_.OnLeaderAppends(*core_, entry);
  }
}

void Node::Queue(Ready& ready) {
  Batch batch{.seq = ready.seq,
              .install = std::move(ready.install),
              .truncate_from = ready.truncate_from,
              .append = std::move(ready.append),
              .term_and_vote = std::move(ready.term_and_vote),
              .memberships = std::move(ready.memberships),
              .must_sync = ready.must_sync,
              .send_after_persist = std::move(ready.send_after_persist)};
  batch.ended_abstaining = std::any_of(ready.notices.begin(), ready.notices.end(),
                                       [](const Notice& notice) { return notice.kind == Notice::kAbstainingEnded; });
  disk_.Queue(std::move(batch));
  BeginRound();
}

void Node::BeginRound() {
  if (disk_.busy() || disk_.idle()) return;
  ++world_.coverage.rounds;
  const bool sync = disk_.BeginRound();
  const auto& queue = disk_.queue();
  conduct_.OnRoundBegins(
      std::any_of(queue.begin(), queue.end(), [](const Batch& b) { return b.writes() && b.seq != ReadySeq(0); }));
  const int64_t typical = sync ? world_.swarm.disk_delay : world_.swarm.disk_delay / 10 + 1;
  int64_t takes = world_.calm ? std::min(typical, kCalmRound) : world_.dice.LongTail(typical) * disk_factor_;
  if (world_.now + takes < disk_stalled_until_) {
    takes = disk_stalled_until_ - world_.now;
    disk_stalled_ = true;
  }
  round_ends_ = world_.now + takes;
  world_.queue.Schedule(round_ends_, {EventKind::kDisk, static_cast<uint8_t>(broker()), life_});
}

void Node::FinishRound() {
  disk_stalled_ = false;
  conduct_.OnRoundEnds();
  // What reached the disk is unknown, and nobody may ask it: the process ends (fsync is not retried).
  if (disk_fails_) return Stop(Disk::Level::kMachine);
  while (disk_.busy()) {
    if (!FinishBatch()) return;
  }
  if (world_.swarm.Has(Fault::kAsyncFlush) && world_.dice.OneIn(8)) disk_.SyncWritten();
  Settle();
  if (up()) BeginRound();
}

// False when the process has died.
bool Node::FinishBatch() {
  Batch batch;
  if (const char* wrong = disk_.FinishNext(&batch)) {
    world_.Fail(absl::StrCat("batches are sound: broker ", broker(), ": ", wrong));
    return false;
  }
  if (batch.install) world_.invariants.OnInstalled(*this);
  if (batch.remove_prefix) {
    prefix_queued_ = false;
    core_->OnPrefixRemoved(*batch.remove_prefix + 1);
    if (chain_.before() < *batch.remove_prefix) chain_.RemovePrefix(*batch.remove_prefix);
    if (!disk_.busy()) TellPersisted();
    return true;
  }
  if (Dies(Step::kBeforeReply)) return false;
  counted_ = batch.ended_abstaining;
  SendAll(batch.send_after_persist);
  counted_ = false;
  if (Dies(Step::kAfterReply)) return false;
  // Each stands for all before it, so not each need be told.
  untold_ = batch.seq;
  if (!disk_.busy() || !world_.dice.OneIn(3)) TellPersisted();
  return true;
}

void Node::TellPersisted() {
  if (untold_ != ReadySeq(0)) core_->OnPersisted(std::exchange(untold_, ReadySeq(0)));
}

void Node::SendAll(std::vector<Message>& messages) {
  for (Message& message : messages) {
    observer_.OnSend(*this, message);
    world_.invariants.OnSend(*this, message);
    world_.network.Send(world_.now, std::move(message));
  }
  messages.clear();
}

// ---- What is committed

void Node::TakeCommitted(const Ready& ready) {
  if (!ready.committed.empty()) {
    if (ready.committed.first != to_apply_ + 1) world_.Fail("applied in order: a gap or a repetition");
    to_apply_ = ready.committed.last;
  }
  if (applied_ < to_apply_ && world_.Has(Fault::kSlowApply) && !world_.dice.OneIn(3)) {
    if (!apply_scheduled_) {
      apply_scheduled_ = true;
      int64_t later = world_.dice.LongTail(kTick);
      world_.queue.Schedule(world_.now + later, {EventKind::kApply, static_cast<uint8_t>(broker()), life_});
    }
  } else {
    apply_due_ = applied_ < to_apply_;
  }
  for (const ReadReady& read : ready.reads_ready) {
    world_.invariants.OnReadReady(*this, read);
    AnswerRead(read.id);
  }
  for (uint64_t read : ready.reads_failed) AnswerRead(read);
  if (std::exchange(apply_due_, false)) Apply();
}

void Node::Apply() {
  for (LogIndex i = std::max(applied_, chain_.before()) + 1; i <= to_apply_; ++i) world_.invariants.OnApply(*this, i);
  applied_ = to_apply_;
  core_->OnApplied(applied_);
  Dies(Step::kOnceApplied);
}

// ---- What the core asks the store for

void Node::Ask(const Ready& ready) {
  auto put = [&](Question question) {
    auto slot = std::find_if(questions_.begin(), questions_.end(), [](const Question& q) { return q.answered; });
    if (slot == questions_.end()) slot = questions_.emplace(slot);
    *slot = std::move(question);
    int64_t later = world_.Has(Fault::kReadTrouble) ? world_.dice.LongTail(2 * kTick) : world_.dice.Between(10, 100);
    world_.queue.Schedule(world_.now + later, {EventKind::kAnswer, static_cast<uint8_t>(broker()), life_,
                                               static_cast<uint32_t>(slot - questions_.begin())});
  };
  for (const EntryRequest& request : ready.entry_requests) {
    Question question{.entries = request, .term = core_->term(), .answered = false};
    if (world_.Has(Fault::kReadTrouble) && world_.dice.OneIn(2)) question.read_early = Read(request);
    put(std::move(question));
  }
  for (ReplicaId to : ready.snapshot_requests) {
    Question question{.snapshot_for = to, .term = core_->term(), .answered = false};
    if (world_.Has(Fault::kReadTrouble) && world_.dice.OneIn(2)) question.snapshot_early = MakeSnapshot();
    put(std::move(question));
  }
}

std::vector<Entry> Node::Read(const EntryRequest& request) {
  const Image& image = disk_.acked();
  std::vector<Entry> entries;
  if (request.first <= image.chain().before()) return entries;
  size_t bytes = 0;
  for (LogIndex i = request.first; i <= std::min(request.last, image.chain().last()); ++i) {
    bytes += image.EntryAt(i).payload.size();
    if (!entries.empty() && bytes > request.bytes_max) break;
    entries.push_back(image.EntryAt(i));
  }
  return entries;
}

InstallSnapshot Node::MakeSnapshot() const { return disk_.acked().Snapshot(core_->memberships().front()); }

void Node::Answer(uint32_t slot) {
  Question question = std::move(questions_[slot]);
  questions_[slot].answered = true;
  Coverage& coverage = world_.coverage;
  const bool trouble = world_.Has(Fault::kReadTrouble);
  const bool fails = trouble && world_.dice.OneIn(4);
  if (question.term != core_->term()) coverage.Saw(Rare::kEntriesLate);
  if (question.entries) {
    std::vector<Entry> entries = question.read_early ? std::move(*question.read_early) : Read(*question.entries);
    if (fails) {
      coverage.Saw(Rare::kEntriesFailed);
      entries.clear();
    } else if (trouble && entries.size() > 1 && world_.dice.OneIn(3)) {
      coverage.Saw(Rare::kEntriesPartly);
      entries.resize(entries.size() / 2);
    }
    const bool cut = std::any_of(entries.begin(), entries.end(), [&](const Entry& entry) {
      return !chain_.Holds({entry.header.term, entry.header.index});
    });
    if (cut) coverage.Saw(Rare::kEntriesAfterTruncation);
    core_->OnEntries(*question.entries, std::move(entries));
  } else {
    std::optional<InstallSnapshot> snapshot;
    if (!fails) snapshot = question.snapshot_early ? std::move(question.snapshot_early) : MakeSnapshot();
    if (!snapshot) coverage.Saw(Rare::kSnapshotFailed);
    core_->OnSnapshot(question.snapshot_for, std::move(snapshot));
  }
  Settle();
}

// ---- The workload

absl::StatusOr<EntryId> Node::Propose(Entry entry) {
  observer_.Begin(EventKind::kClient, nullptr);
  absl::StatusOr<EntryId> id = core_->Propose(std::move(entry));
  observer_.OnPropose(id.status());
  Settle();
  return id;
}

absl::Status Node::ProposeMembership(const std::vector<MembershipChange>& changes,
                                     const Core::MembershipOptions& options) {
  observer_.Begin(EventKind::kClient, nullptr);
  absl::Status status = core_->ProposeMembership(changes, options).status();
  observer_.OnProposeMembership(status);
  Settle();
  return status;
}

absl::Status Node::ReadIndex(uint64_t id) {
  observer_.Begin(EventKind::kClient, nullptr);
  absl::Status status = core_->ReadIndex(id);
  if (status.ok()) reads_.insert(id);
  Settle();
  return status;
}

void Node::AnswerRead(uint64_t id) {
  if (reads_.erase(id) == 0) world_.Fail(absl::StrCat("a read is answered once: broker ", broker(), ", read ", id));
}

absl::Status Node::TransferLeadership(ReplicaId to) {
  observer_.Begin(EventKind::kClient, nullptr);
  absl::Status status = core_->TransferLeadership(to);
  Settle();
  return status;
}

void Node::Campaign() {
  observer_.Begin(EventKind::kClient, nullptr);
  core_->Campaign();
  Settle();
}

// ---- Watching

void Node::Look() {
  Glance now = GlanceAt(*core_, seen_);
  world_.invariants.OnChange(*this, seen_, now);
  observer_.OnChange(*this, seen_, now);
  seen_ = std::move(now);
  learnt_.clear();
}

bool Node::Dies(Step step) {
  if (crash_at_ != step) return false;
  static constexpr Rare kRare[] = {Rare::kCrashBeforeWrite, Rare::kCrashBeforeSend, Rare::kCrashBeforeApply,
                                   Rare::kCrashBeforeReply, Rare::kCrashAfterReply, Rare::kCrashOnceApplied};
  world_.coverage.Saw(kRare[static_cast<size_t>(step)]);
  Stop(world_.dice.OneIn(2) ? Disk::Level::kProcess : Disk::Level::kMachine);
  return true;
}

std::string Node::Dump() const {
  std::string out =
      absl::StrCat("broker ", broker(), "/", id_.incarnation, " life ", life_, up() ? "" : " down",
                   paused_ ? " paused" : "", "; disk: log behind ", disk_.acked().chain().before().value(), " last ",
                   disk_.acked().chain().last().value(), " term ", disk_.acked().term_and_vote().term.value(),
                   abstaining() ? " abstaining" : "", ", ", disk_.queue().size(), " batches queued\n");
  if (up()) absl::StrAppend(&out, core_->Dump(), "\n");
  return out;
}

}  // namespace millrace::raft::sim
