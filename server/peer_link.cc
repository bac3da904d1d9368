#include "server/peer_link.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/log.h"

namespace millrace::server {

using std::chrono::nanoseconds;

namespace {

constexpr std::chrono::milliseconds kPauseMin{50};
constexpr std::chrono::seconds kPauseMax{2};
// From the first packet to the second welcome.
constexpr std::chrono::seconds kConnectTimeout{2};
// Counted in ticks, not in time: a broker that stood still itself has not listened meanwhile.
constexpr int kSilentTicksMax = kPeerSilence / kPeerHeartbeat;

// What may wait for a peer that takes it slowly. Raft has up to 8 MiB under way to each member of each group.
constexpr size_t kControlBytesMax = 4 << 20;
constexpr size_t kBulkBytesMax = 32 << 20;

constexpr size_t kLoggedMax = 10;
// Drops that follow sooner are the same trouble.
constexpr int64_t kTicksBetweenDrops = std::chrono::seconds(10) / kPeerHeartbeat;

// All AppendEntries keep their order, those without entries too: one that came before the entries it speaks of would be taken
// for a gap in the log.
bool IsBulk(const raft::Message& message) {
  return std::holds_alternative<raft::AppendEntries>(message.body) ||
         std::holds_alternative<raft::InstallSnapshot>(message.body);
}

}  // namespace

PeerLink::PeerLink(const PeerEnvironment& environment, raft::BrokerId peer, PeerAddress address, Random& random,
                   Owner& owner)
    : environment_(environment),
      peer_(peer),
      address_(std::move(address)),
      owner_(owner),
      backoff_(random, kPauseMin, kPauseMax),
      ticks_since_drop_(kTicksBetweenDrops) {}

PeerLink::~PeerLink() { StopTimer(); }

std::optional<raft::ReplicaId> PeerLink::connected() const {
  if (state_ != State::kConnected) return std::nullopt;
  return life_->replica;
}

bool PeerLink::Send(raft::GroupId group, const raft::Message& message) {
  PeerStream& stream = IsBulk(message) ? *bulk_ : *control_;
  if (stream.Add(group, message)) return true;
  if (std::exchange(ticks_since_drop_, 0) >= kTicksBetweenDrops) {
    MILLRACE_LOG(kWarning, "a peer takes less than is sent to it: messages are dropped", {"peer", peer_.value()},
                 {"address", address_.address}, {"waiting_bytes", stream.bytes()});
  }
  return false;
}

void PeerLink::Connect() {
  state_ = State::kConnecting;
  silent_ticks_ = 0;
  PeerStream::Owner& self = *this;
  control_ = std::make_unique<PeerStream>(environment_, internal::v1::LANE_CONTROL, kControlBytesMax, self);
  bulk_ = std::make_unique<PeerStream>(environment_, internal::v1::LANE_BULK, kBulkBytesMax, self);
  StartTimer(kConnectTimeout, [this] { Lose(absl::StrCat("no answer within ", kConnectTimeout.count(), " s")); });
  const PeerStream::Greeting greeting{.to = {peer_, address_.incarnation}, .stalled = stalled_, .unheard = unheard_};
  control_->Open(address_.address, greeting);
  bulk_->Open(address_.address, greeting);
}

void PeerLink::OnWelcome(const PeerLife& peer, const std::string& build) {
  if (life_ && *life_ != peer) return Lose("it was started anew while it was being connected");
  life_ = peer;
  build_ = build;
  if (!control_->welcome() || !bulk_->welcome()) return;
  StopTimer();
  state_ = State::kConnected;
  silent_ticks_ = 0;
  SetUp(here_ == life_, "");
}

void PeerLink::OnPresence(const PeerPresence::Change& change) {
  if (!change.here) {
    if (here_ != change.life) return;
    here_.reset();
    return SetUp(false, "it closed its connection to this broker");
  }
  here_ = change.life;
  silent_ticks_ = lifeless_ticks_ = 0;
  unheard_ = false;
  if (change.unheard && state_ == State::kConnected) Lose("it hears nothing of this broker");
  if (state_ == State::kPausing) return Connect();
  SetUp(here_ == life_, "it was started anew");
}

void PeerLink::Tick(const PeerPresence::Heard& heard, bool stalled) {
  stalled_ = stalled;
  ++ticks_since_drop_;
  silent_ticks_ = heard.any ? 0 : silent_ticks_ + 1;
  lifeless_ticks_ = heard.alive ? 0 : lifeless_ticks_ + 1;
  if (heard.any) unheard_ = false;
  if (heard.alive) here_ = heard.life;
  if (lifeless_ticks_ >= kSilentTicksMax) here_.reset();
  if (state_ != State::kConnected) return;
  if (silent_ticks_ >= kSilentTicksMax) {
    unheard_ = true;
    return Lose(absl::StrCat("nothing was heard of it for ", kPeerSilence.count(), " ms"));
  }
  control_->Beat(stalled);
  SetUp(here_ == life_, "its storage makes no progress");
}

void PeerLink::SetUp(bool up, const std::string& reason) {
  up = up && state_ == State::kConnected;
  if (up_ == up) return;
  up_ = up;
  if (!up) {
    MILLRACE_LOG(kWarning, "peer is down", {"peer", peer_.value()}, {"address", address_.address}, {"why", reason});
    logged_ = {reason};
    return owner_.OnDown(peer_);
  }
  MILLRACE_LOG(kInfo, "peer is up", {"peer", peer_.value()}, {"address", address_.address},
               {"incarnation", life_->replica.incarnation}, {"build", build_});
  backoff_.Reset();
  owner_.OnUp(life_->replica);
}

// The links are closed before the owner hears of it: what it sends in answer is not for this connection.
void PeerLink::Lose(const std::string& reason) {
  Drop();
  state_ = State::kPausing;
  StartTimer(backoff_.Next(), [this] { Connect(); });
  LogTrouble(reason);
  SetUp(false, reason);
  owner_.OnDrained(peer_);
}

void PeerLink::Close() {
  Drop();
  state_ = State::kClosed;
  SetUp(false, "it is no longer a peer under this address");
  owner_.OnDrained(peer_);
}

void PeerLink::Drop() {
  StopTimer();
  life_.reset();
  for (std::unique_ptr<PeerStream>* stream : {&control_, &bulk_}) {
    if (*stream == nullptr) continue;
    (*stream)->Close();
    owner_.Bury(std::move(*stream));
  }
}

// Attempts go on for as long as it takes; each reason is logged once until the peer was up again.
void PeerLink::LogTrouble(const std::string& reason) {
  if (up_ || logged_.size() >= kLoggedMax || !logged_.insert(reason).second) return;
  MILLRACE_LOG(kWarning, "peer cannot be reached", {"peer", peer_.value()}, {"address", address_.address},
               {"why", reason});
}

void PeerLink::StartTimer(nanoseconds delay, Executor::Task task) {
  StopTimer();
  timer_ = environment_.executor.After(delay, [this, task = std::move(task)] {
    timer_ = 0;
    task();
  });
}

void PeerLink::StopTimer() {
  if (timer_ != 0) environment_.executor.Cancel(std::exchange(timer_, 0));
}

}  // namespace millrace::server
