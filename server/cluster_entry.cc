#include "server/cluster_entry.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "server/log.h"

namespace millrace::server {

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
  const auto* const member = std::get_if<Formation::Member>(&decision);
  if (member == nullptr) {
    return Finish(
        absl::UnimplementedError("--join is not implemented in this version; start the broker with --cluster"));
  }
  const Identity identity = member->identity;
  const absl::Status status = Enter(*member);
  status.ok() ? Finish(identity) : Finish(status);
}

// The log first: a directory that says it is a member's, and has no metadata log, has lost it.
absl::Status ClusterEntry::Enter(const Formation::Member& member) {
  if (member.how == Formation::Member::How::kKnown) return absl::OkStatus();
  if (absl::Status status = seams_.make_metadata_log(member.identity); !status.ok()) return status;
  if (absl::Status status = seams_.write(member.identity); !status.ok()) return status;
  formation_.OnMember();
  MILLRACE_LOG(kInfo, "this broker belongs to a cluster now", {"cluster", member.identity.cluster_id()},
               {"founders", member.identity.founders.size()});
  // Others may wait for nothing but this.
  for (const Formation::Ask& ask : formation_.TakeActions(seams_.clock.Monotonic()).ask) Ask(ask);
  return absl::OkStatus();
}

void ClusterEntry::Finish(absl::StatusOr<Identity> result) {
  if (done_ != nullptr) std::exchange(done_, nullptr)(std::move(result));
}

}  // namespace millrace::server
