#include "server/cluster_entry.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "server/log.h"

namespace millrace::server {
namespace {

constexpr std::chrono::milliseconds kJoinRetry{500};

}  // namespace

ClusterEntry::ClusterEntry(Formation::Options options, Seams seams)
    : seams_(std::move(seams)), formation_(std::move(options)), self_(std::make_shared<ClusterEntry*>(this)) {}

ClusterEntry::~ClusterEntry() {
  *self_ = nullptr;
  if (timer_ != 0) seams_.executor.Cancel(timer_);
}

void ClusterEntry::Start(Done done) {
  done_ = std::move(done);
  Advance();
}

Introduction ClusterEntry::OnIntroduced(const Introduction& asker) {
  formation_.OnAsked(asker, seams_.clock.Monotonic());
  if (done_ != nullptr) Advance();
  Introduction mine = formation_.Introduce();
  mine.counts_you = counts_ != nullptr && counts_(asker.self);
  return mine;
}

void ClusterEntry::Advance() {
  if (timer_ != 0) seams_.executor.Cancel(std::exchange(timer_, 0));
  const auto now = seams_.clock.Monotonic();
  const Formation::Actions actions = formation_.TakeActions(now);
  for (const std::string& line : actions.log) MILLRACE_LOG(kInfo, line);
  for (const Formation::Ask& ask : actions.ask) Ask(ask);
  seams_.on_waiting(formation_.waiting_for());
  if (actions.pledge) return Pledge(*actions.pledge);
  if (formation_.decision()) return Decide(*formation_.decision());
  const auto next = formation_.next_time();
  if (next == std::chrono::nanoseconds::max()) return;  // an answer comes, or its time-out
  timer_ = seams_.executor.After(std::max(next - now, std::chrono::nanoseconds(0)), [this] {
    timer_ = 0;
    Advance();
  });
}

void ClusterEntry::Ask(const Formation::Ask& ask) {
  seams_.peers.Introduce(ask.to.address, formation_.Introduce(),
                         [self = self_, ask](const absl::StatusOr<Introduction>& answer) {
                           if (*self == nullptr) return;
                           (*self)->formation_.OnAnswer(ask, answer, (*self)->seams_.clock.Monotonic());
                           if ((*self)->done_ != nullptr) (*self)->Advance();
                         });
}

void ClusterEntry::Pledge(const Identity& identity) {
  if (absl::Status status = seams_.write(identity); !status.ok()) return Finish(status);
  formation_.OnPledged();
  Advance();
}

void ClusterEntry::Decide(const Formation::Decision& decision) {
  if (const auto* refused = std::get_if<Formation::Refused>(&decision)) {
    return Finish(absl::FailedPreconditionError(refused->why));
  }
  if (const auto* join = std::get_if<Formation::Join>(&decision)) {
    via_ = join->via;
    return Join();
  }
  const auto& member = std::get<Formation::Member>(decision);
  if (!member.via.empty()) {
    via_ = member.via;
    return AskWhetherJoined(member.identity);
  }
  if (absl::Status status = Enter(member); !status.ok()) return Finish(status);
  // Others may wait for nothing but this.
  for (const Formation::Ask& ask : formation_.TakeActions(seams_.clock.Monotonic()).ask) Ask(ask);
  Finish(member.identity);
}

// ---- Joining

void ClusterEntry::Join() { AskToJoin(via_[next_via_++ % via_.size()]); }

void ClusterEntry::AskToJoin(const std::string& address) {
  seams_.peers.Introduce(address, formation_.Introduce(),
                         [self = self_, address](const absl::StatusOr<Introduction>& answer) {
                           if (*self == nullptr) return;
                           if (!answer.ok())
                             return (*self)->JoinLater(absl::StrCat(address, ": ", answer.status().message()));
                           if (answer->stage != Identity::Stage::kMember) {
                             return (*self)->JoinLater(absl::StrCat(address, " belongs to no cluster yet"));
                           }
                           (*self)->Register(address, *answer);
                         });
}

void ClusterEntry::Register(const std::string& address, const Introduction& member) {
  seams_.peers.Register(address, ClusterIdOf(member.founders), seams_.self,
                        [self = self_, address, member](const ErrorFrame& error, raft::BrokerId number) {
                          if (*self != nullptr) (*self)->OnRegistered(address, member, error, number);
                        });
}

void ClusterEntry::OnRegistered(const std::string& address, const Introduction& member, const ErrorFrame& error,
                                raft::BrokerId number) {
  if (IsFinal(error)) return Finish(absl::FailedPreconditionError(error.message));
  if (error.leader && !error.leader->address.empty() && error.leader->address != address) {
    return Register(error.leader->address, member);
  }
  if (!error.ok()) return JoinLater(error.message);
  Identity identity{
      .self = {number, seams_.self.id.incarnation}, .stage = Identity::Stage::kMember, .founders = member.founders};
  const absl::Status status = Enter({Formation::Member::How::kAdopted, identity});
  status.ok() ? Finish(std::move(identity)) : Finish(status);
}

void ClusterEntry::JoinLater(const std::string& why) {
  seams_.on_waiting(absl::StrCat("waiting to join a cluster: ", why));
  if (std::exchange(join_trouble_, why) != why) MILLRACE_LOG(kInfo, "waiting to join a cluster", {"why", why});
  timer_ = seams_.executor.After(kJoinRetry, [this] {
    timer_ = 0;
    Join();
  });
}

void ClusterEntry::AskWhetherJoined(const Identity& member) {
  for (const std::string& address : via_) {
    seams_.peers.Introduce(address, formation_.Introduce(),
                           [self = self_, address, member](const absl::StatusOr<Introduction>& answer) {
                             if (*self != nullptr) (*self)->OnWhetherJoined(address, member, answer);
                           });
  }
}

void ClusterEntry::OnWhetherJoined(const std::string& address, const Identity& member,
                                   const absl::StatusOr<Introduction>& answer) {
  const bool says = answer.ok() && answer->stage == Identity::Stage::kMember;
  if (!says && ++via_silent_ < via_.size()) return;
  if (!says || ClusterIdOf(answer->founders) == member.cluster_id()) return Finish(member);
  Finish(absl::FailedPreconditionError(absl::StrCat(
      "the data directory is that of broker ", member.self.broker.value(), " of cluster ", member.cluster_id(),
      ", but --join names ", address, ", which is of cluster ", ClusterIdOf(answer->founders),
      "; to join that one, give this broker an empty directory, and to start it in its own, leave --join away")));
}

// ---- Entering

// The log first: a directory that says it is a member's, and has no metadata log, has lost it.
absl::Status ClusterEntry::Enter(const Formation::Member& member) {
  if (member.how == Formation::Member::How::kKnown) return absl::OkStatus();
  if (absl::Status status = seams_.make_metadata_log(member.identity); !status.ok()) return status;
  if (absl::Status status = seams_.write(member.identity); !status.ok()) return status;
  formation_.OnMember(member.identity);
  MILLRACE_LOG(kInfo, "this broker belongs to a cluster now", {"cluster", member.identity.cluster_id()},
               {"broker", member.identity.self.broker.value()}, {"founders", member.identity.founders.size()});
  return absl::OkStatus();
}

void ClusterEntry::Finish(absl::StatusOr<Identity> result) {
  if (done_ != nullptr) std::exchange(done_, nullptr)(std::move(result));
}

}  // namespace millrace::server
