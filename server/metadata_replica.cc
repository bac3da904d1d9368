#include "server/metadata_replica.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire/crc32c.h"
#include "raft/persisted_state.h"
#include "server/errors.h"
#include "server/log.h"

namespace millrace::server {
namespace {

using v1::Error;

// Between two attempts to be registered; nothing else happens at the time.
constexpr std::chrono::milliseconds kRetry{50};
constexpr std::chrono::milliseconds kAdvisePeriod{500};
constexpr std::chrono::seconds kSilence{3};
// Voters of the metadata group: more do not make it safer, only slower. Who founded it votes in any case.
constexpr size_t kVotersOfFew = 3;
constexpr size_t kVoters = 5;

bool HasItsChecksum(const raft::Entry& entry) {
  return entry.header.type != raft::EntryType::kRecords || Crc32c(0, entry.payload) == entry.header.payload_crc;
}

}  // namespace

MetadataReplica::MetadataReplica(Options options, Seams seams)
    : options_(std::move(options)), seams_(std::move(seams)), self_(std::make_shared<MetadataReplica*>(this)) {}

MetadataReplica::~MetadataReplica() {
  *self_ = nullptr;
  if (timer_ != 0) seams_.shard.executor.Cancel(timer_);
  if (advice_ != 0) seams_.shard.executor.Cancel(advice_);
  if (replica_ != nullptr) seams_.shard.groups.Close(kMetadataGroup);
}

void MetadataReplica::Start(bool lost_synced, std::function<void(absl::Status)> caught_up) {
  caught_up_ = std::move(caught_up);
  started_ = seams_.clock.Monotonic();
  if (!lost_synced || !seams_.store.Open(kMetadataGroup).ok()) return Begin();
  raft::StageAbstaining(seams_.store, round(), kMetadataGroup);
  // Whatever it promises is synced later, and this with it.
  seams_.shard.writer.OnWritten([self = self_] {
    if (*self != nullptr) (*self)->Begin();
  });
}

void MetadataReplica::Begin() {
  if (absl::Status status = Open(); !status.ok()) return CatchUp(std::move(status));
  TryToRegister();
}

absl::Status MetadataReplica::Open() {
  auto log = MetadataLog::Load(
      seams_.store, seams_.clock,
      {.defaults = options_.topic_defaults,
       .on_image = [this](auto image) { OnImage(std::move(image)); },
       .on_role_change =
           [this](const raft::RoleChange& change) {
             seams_.shard.peers.OnRoleChange(kMetadataGroup, change);
             if (change.leader && change.role != raft::Role::kLeader) TryToRegister();
           },
       .on_controller = [this](bool is_controller) { OnController(is_controller); },
       .on_fatal =
           [this](const absl::Status& status) { caught_up_ != nullptr ? CatchUp(status) : seams_.on_fatal(status); }});
  if (absl::IsNotFound(log.status())) {
    return absl::DataLossError("the metadata log, which every broker of a cluster has, is gone");
  }
  if (!log.ok()) return log.status();
  log_ = *std::move(log);
  log_->Attach(this);
  controller_ = std::make_unique<Controller>(
      Controller::Options{.defaults = options_.topic_defaults,
                          .is_alive = [&view = seams_.view](raft::ReplicaId id) { return view.IsAlive(id.broker); }},
      *log_, seams_.random, seams_.disk_floor);
  const raft::ReplicaSet& founders = options_.cluster.founders;
  auto replica = seams_.shard.groups.Open({.driver = {.group = kMetadataGroup,
                                                      .self = options_.self.id,
                                                      .flush = raft::Flush::kCommit,
                                                      .applied = log_->applied()},
                                           .preferred = founders.front(),
                                           .is_intact = HasItsChecksum},
                                          *log_);
  if (!replica.ok()) return replica.status();
  replica_ = *replica;
  return absl::OkStatus();
}

absl::StatusOr<raft::EntryId> MetadataReplica::Propose(raft::Entry entry) {
  return seams_.shard.groups.Touch(*replica_, entry.payload.size()).Propose(std::move(entry));
}

void MetadataReplica::OnImage(std::shared_ptr<const MetadataImage> image) {
  seams_.on_image(image);
  const BrokerInfo* const here = image->FindBroker(options_.self.id.broker);
  if (here != nullptr && *here == options_.self) CatchUp(absl::OkStatus());
}

void MetadataReplica::OnController(bool is_controller) {
  if (!is_controller) {
    if (advice_ != 0) seams_.shard.executor.Cancel(std::exchange(advice_, 0));
    return;
  }
  if (options_.cluster.founders.size() > 1) {
    MILLRACE_LOG(kInfo, "this broker is the controller", {"cluster", options_.cluster.cluster_id});
  }
  controller_->Begin(options_.cluster, [](const ErrorFrame&) {});
  TryToRegister();
  if (advice_ == 0) advice_ = seams_.shard.executor.After(kAdvisePeriod, [this] { AdviseMembers(); });
}

// One at a time; what is refused now may do the next time.
void MetadataReplica::AdviseMembers() {
  advice_ = seams_.shard.executor.After(kAdvisePeriod, [this] { AdviseMembers(); });
  const raft::Membership& now = replica_->core().membership();
  if (now.joint()) return;
  const auto& brokers = log_->image()->brokers();
  // One that is away counts for nothing: as a voter it would only make a majority harder to reach.
  const auto alive =
      std::ranges::count_if(brokers, [&view = seams_.view](const auto& known) { return view.IsAlive(known.first); });
  const size_t wanted = static_cast<size_t>(alive) >= kVoters ? kVoters : kVotersOfFew;
  for (const auto& [number, broker] : brokers) {
    if (!seams_.view.IsAlive(number)) continue;
    const bool may_vote = now.voters.size() + now.promote.size() < wanted;
    if (now.IsVoter(broker.id) || raft::Contains(now.promote, broker.id) || (now.IsLearner(broker.id) && !may_vote)) {
      continue;
    }
    const absl::Status status =
        seams_.shard.groups.Touch(*replica_)
            .ProposeMembership({{raft::MembershipChange::kAddLearner, broker.id, /*promote=*/may_vote}})
            .status();
    if (status.ok()) {
      MILLRACE_LOG(kInfo, "a broker gets the metadata log", {"broker", number.value()}, {"will_vote", may_vote});
    }
    return;
  }
}

// ---- Registration

void MetadataReplica::TryToRegister() {
  if (timer_ != 0) seams_.shard.executor.Cancel(std::exchange(timer_, 0));
  if (caught_up_ == nullptr) return;
  timer_ = seams_.shard.executor.After(kRetry, [this] {
    timer_ = 0;
    TryToRegister();
  });
  TellWhatItWaitsFor();
  if (registering_) return;
  const auto done = [self = self_](const ErrorFrame& error, raft::BrokerId) {
    if (*self != nullptr) (*self)->OnRegistered(error);
  };
  if (is_controller()) {
    registering_ = true;
    return controller_->RegisterBroker(options_.self, done);
  }
  const raft::ReplicaId leader = log_->leader();
  const std::string address = leader ? seams_.view.PeerAddressOf(leader.broker) : "";
  if (address.empty() || leader == options_.self.id) return;
  registering_ = true;
  seams_.peers.Register(address, options_.cluster.cluster_id, options_.self, done);
}

// Silent while it is what every start waits for.
void MetadataReplica::TellWhatItWaitsFor() {
  std::string waits_for = "catching up with the cluster";
  if (!log_->leader()) {
    absl::StrAppend(&waits_for, ": waiting for a majority of the brokers that keep its metadata");
    for (raft::ReplicaId voter : replica_->core().membership().voters) {
      if (seams_.view.IsAlive(voter.broker)) continue;
      absl::StrAppend(&waits_for, ", without broker ", voter.broker.value(), " at ",
                      seams_.view.PeerAddressOf(voter.broker));
    }
  }
  seams_.on_waiting(waits_for);
  if (seams_.clock.Monotonic() - started_ < kSilence || waits_for_ == waits_for) return;
  MILLRACE_LOG(kWarning, "not ready yet", {"why", waits_for});
  waits_for_ = std::move(waits_for);
}

// That it worked is seen in the image.
void MetadataReplica::OnRegistered(const ErrorFrame& error) {
  registering_ = false;
  if (IsFinal(error)) CatchUp(absl::FailedPreconditionError(error.message));
}

void MetadataReplica::OnRegister(BrokerInfo broker, RegisterDone done) {
  if (!is_controller()) return done(NotControllerError(), kNoBrokerId);
  controller_->RegisterBroker(std::move(broker), std::move(done));
}

void MetadataReplica::CatchUp(absl::Status status) {
  if (caught_up_ != nullptr) std::exchange(caught_up_, nullptr)(std::move(status));
}

ErrorFrame MetadataReplica::NotControllerError() const {
  const auto leader = seams_.view.LeaderOf(kMetadataGroup);
  if (!leader || leader->broker == options_.self.id.broker) {
    return MakeError(Error::LEADER_NOT_AVAILABLE, "the cluster has no controller at the moment; try again");
  }
  ErrorFrame error = MakeError(Error::NOT_LEADER_OR_FOLLOWER,
                               absl::StrCat("broker ", leader->broker.value(), " is the controller; ask there"));
  error.leader = FrameOf(*leader);
  return error;
}

}  // namespace millrace::server
