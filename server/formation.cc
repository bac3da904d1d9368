#include "server/formation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/wire/check.h"

namespace millrace::server {
namespace {

using Stage = Identity::Stage;

std::string Name(const ListedBroker& broker) {
  return absl::StrCat("broker ", broker.id.value(), " at ", broker.address);
}

std::string ListOf(const std::vector<ListedBroker>& cluster) {
  if (cluster.empty()) return "none";
  return absl::StrJoin(cluster, ",", [](std::string* out, const ListedBroker& broker) {
    absl::StrAppend(out, broker.id.value(), "@", broker.address);
  });
}

std::string NumbersOf(const raft::ReplicaSet& founders) {
  return absl::StrJoin(founders, ", ",
                       [](std::string* out, raft::ReplicaId id) { absl::StrAppend(out, id.broker.value()); });
}

bool HasBroker(const raft::ReplicaSet& set, raft::BrokerId id) {
  return std::ranges::any_of(set, [id](raft::ReplicaId replica) { return replica.broker == id; });
}

bool AreOf(const raft::ReplicaSet& set, const std::vector<ListedBroker>& cluster) {
  return std::ranges::equal(set, cluster, {}, &raft::ReplicaId::broker, &ListedBroker::id);
}

}  // namespace

Formation::Formation(Options options) : options_(std::move(options)) {
  std::ranges::sort(options_.cluster);
  raft::BrokerId& in_directory = options_.identity.self.broker;
  if (in_directory == kNoBrokerId) in_directory = options_.broker;
  for (const ListedBroker& listed : options_.cluster) {
    if (listed.id != self()) peers_.push_back({.listed = listed});
  }
  decision_ = DecideAlone();
  if (decision_) told_ = Introduce();
}

// What needs no answer of anybody.
std::optional<Formation::Decision> Formation::DecideAlone() const {
  const Identity& identity = options_.identity;
  const int64_t id = self().value();
  if (options_.broker != kNoBrokerId && options_.broker != self()) {
    return Refused{absl::StrCat("the data directory is that of broker ", id, ", but this is to be broker ",
                                options_.broker.value(), "; start it with --broker-id ", id,
                                ", or give it another directory")};
  }
  if (identity.stage == Stage::kMember) return Member{Member::How::kKnown, identity, options_.join};
  if (identity.stage == Stage::kPledged && !AreOf(identity.founders, options_.cluster)) {
    return Refused{absl::StrCat("the data directory has begun to form a cluster of brokers ",
                                NumbersOf(identity.founders), ", but --cluster is ", ListOf(options_.cluster),
                                "; give the list of those brokers, or another directory")};
  }
  if (!options_.join.empty()) return Join{options_.join};
  if (self() == kNoBrokerId) {
    return Refused{
        "the data directory was made to join a cluster, which has not taken the broker in yet; start it with --join "
        "again, or give it another directory"};
  }
  if (options_.cluster.empty() || peers_.empty()) return Founded({identity.self});
  if (peers_.size() == options_.cluster.size()) {
    return Refused{absl::StrCat("--cluster, ", ListOf(options_.cluster), ", does not name broker ", id,
                                ", which this is; add it to the list of each broker, or start this one with --join")};
  }
  return std::nullopt;
}

Formation::Member Formation::Founded(const raft::ReplicaSet& founders) const {
  return {Member::How::kFounded, {.self = options_.identity.self, .stage = Stage::kMember, .founders = founders}};
}

// ---- What peers say

void Formation::OnAnswer(const Ask& ask, const absl::StatusOr<Introduction>& answer, std::chrono::nanoseconds now) {
  Peer* const peer = FindPeer(ask.to.id);
  if (peer == nullptr || ask.number <= peer->heard) return;
  const bool newest = ask.number == peer->asked;
  if (answer.ok()) {
    peer->heard = ask.number;
    peer->said = *answer;
    peer->silent = absl::OkStatus();
    peer->retry = kRetryMin;
    if (newest) peer->next = now + kAskAgain;
  } else if (newest) {
    peer->said.reset();  // it may be another disk when it answers again
    peer->silent = answer.status();
    peer->next = now + peer->retry;
    peer->retry = std::min<std::chrono::nanoseconds>(2 * peer->retry, kRetryMax);
  }
  if (newest) peer->asking = false;
  Decide();
}

void Formation::OnAsked(const Introduction& asker, std::chrono::nanoseconds now) {
  Peer* const peer = FindPeer(asker.self.broker);
  if (peer == nullptr) return;
  Introduction known = peer->said.value_or(Introduction());
  known.counts_you = asker.counts_you;  // said to one, in an answer only
  if (known == asker) return;
  peer->asking = false;  // what is under way may be older
  peer->next = now;
}

Formation::Peer* Formation::FindPeer(raft::BrokerId id) {
  const auto peer = std::ranges::find(peers_, id, [](const Peer& p) { return p.listed.id; });
  return peer == peers_.end() ? nullptr : &*peer;
}

Introduction Formation::Introduce() const {
  const Identity& identity = options_.identity;
  return {.self = identity.self,
          .cluster = options_.cluster,
          .stage = identity.stage,
          .founders = identity.founders,
          .seen = identity.stage == Stage::kNone ? Seen() : raft::ReplicaSet()};
}

// Empty until all others have said that they are in no cluster.
raft::ReplicaSet Formation::Seen() const {
  raft::ReplicaSet seen = {options_.identity.self};
  for (const Peer& peer : peers_) {
    if (!peer.said || peer.said->stage != Stage::kNone) return {};
    seen.push_back(peer.said->self);
  }
  std::ranges::sort(seen);
  return seen;
}

// ---- What comes of it

void Formation::Decide() {
  if (decision_ || pledge_) return;
  decision_ = DecideByAnswers();
  if (decision_ || options_.identity.stage != Stage::kNone) return;
  if (const std::optional<raft::ReplicaSet> founders = SetToPledgeTo()) {
    pledge_ = {.self = options_.identity.self, .stage = Stage::kPledged, .founders = *founders};
  }
}

std::optional<Formation::Decision> Formation::DecideByAnswers() const {
  const Identity& identity = options_.identity;
  for (const Peer& peer : peers_) {
    if (!peer.said) continue;
    if (std::optional<Refused> refused = Refusal(peer.listed, *peer.said)) return refused;
  }
  for (const Peer& peer : peers_) {
    if (!peer.said || peer.said->stage != Stage::kMember) continue;
    if (!peer.said->counts_you && !Contains(peer.said->founders, identity.self)) continue;
    Member member = Founded(peer.said->founders);
    member.how = Member::How::kAdopted;
    return member;
  }
  const auto has_pledged = [&](const Peer& peer) {
    return peer.said && peer.said->stage == Stage::kPledged && peer.said->founders == identity.founders;
  };
  if (identity.stage == Stage::kPledged && std::ranges::all_of(peers_, has_pledged)) return Founded(identity.founders);
  return std::nullopt;
}

std::optional<raft::ReplicaSet> Formation::SetToPledgeTo() const {
  for (const Peer& peer : peers_) {
    if (!peer.said || peer.said->stage != Stage::kPledged) continue;
    const raft::ReplicaSet& founders = peer.said->founders;
    if (Contains(founders, options_.identity.self) && AreOf(founders, options_.cluster)) return founders;
  }
  const raft::ReplicaSet seen = Seen();
  if (seen.empty()) return std::nullopt;
  const bool all_see_it = std::ranges::all_of(peers_, [&](const Peer& peer) { return peer.said->seen == seen; });
  return all_see_it ? std::optional(seen) : std::nullopt;
}

void Formation::OnPledged() {
  options_.identity = *std::exchange(pledge_, std::nullopt);
  pledge_taken_ = false;
  Decide();
}

std::optional<Formation::Refused> Formation::Refusal(const ListedBroker& listed, const Introduction& said) const {
  const Identity& identity = options_.identity;
  if (said.self == identity.self) {
    return Refused{absl::StrCat("--cluster names ", Name(listed), ", but that address leads to this broker, ",
                                self().value(), "; correct the address in the list of each broker")};
  }
  if (said.self.broker == self()) {
    return Refused{absl::StrCat("two brokers have number ", self().value(), ": this one and the one at ",
                                listed.address, ", which --cluster names as ", listed.id.value(),
                                "; give each its own number (--broker-id)")};
  }
  if (said.self.broker != listed.id) {
    return Refused{absl::StrCat("--cluster names ", Name(listed), ", but the broker there is ",
                                said.self.broker.value(), "; correct the list, or that broker's --broker-id")};
  }
  if (said.stage == Stage::kMember) return RefusalOfMember(listed, said);
  if (said.cluster != options_.cluster) {
    return Refused{absl::StrCat(Name(listed), " was started with another --cluster, ", ListOf(said.cluster),
                                ", than this one, ", ListOf(options_.cluster),
                                "; it has to be the same on each of the brokers")};
  }
  return std::nullopt;
}

std::optional<Formation::Refused> Formation::RefusalOfMember(const ListedBroker& listed,
                                                             const Introduction& said) const {
  const Identity& identity = options_.identity;
  if (identity.stage == Stage::kPledged && said.founders != identity.founders) {
    return Refused{absl::StrCat("the data directory has begun to form cluster ", identity.cluster_id(), ", but ",
                                Name(listed), " belongs to cluster ", ClusterIdOf(said.founders),
                                "; nothing is stored in this directory yet: give the broker another one")};
  }
  // Its pledge was on the disk before anybody could know of it.
  if (identity.stage == Stage::kNone && Contains(said.founders, identity.self)) {
    return Refused{
        absl::StrCat("the data directory is an old copy: ", Name(listed), " knows it as a founder of cluster ",
                     ClusterIdOf(said.founders),
                     ", of which it knows nothing. What it has acked since may be missing: ", kLostDiskRemedy)};
  }
  return std::nullopt;
}

// ---- What the caller is to do

Formation::Actions Formation::TakeActions(std::chrono::nanoseconds now) {
  Actions actions;
  if (pledge_ && !std::exchange(pledge_taken_, true)) actions.pledge = pledge_;
  if (const Introduction news = Introduce(); news != told_) {
    told_ = news;
    for (Peer& peer : peers_) actions.ask.push_back(AskNow(peer));
  }
  if (decision_) return actions;
  for (Peer& peer : peers_) {
    if (!peer.asking && peer.next <= now) actions.ask.push_back(AskNow(peer));
  }
  const Waiting waiting = WaitsFor();
  if (logged_.insert(waiting.sentence).second) actions.log.push_back(absl::StrCat(waiting.sentence, waiting.details));
  return actions;
}

// Also if it is being asked: that may be older than the news, or lost.
Formation::Ask Formation::AskNow(Peer& peer) {
  peer.asking = true;
  peer.asked = ++last_ask_;
  return {peer.listed, peer.asked};
}

std::chrono::nanoseconds Formation::next_time() const {
  auto next = std::chrono::nanoseconds::max();
  if (decision_) return next;
  for (const Peer& peer : peers_) {
    if (!peer.asking) next = std::min(next, peer.next);
  }
  return next;
}

std::string Formation::waiting_for() const {
  if (decision_) return "";
  const Waiting waiting = WaitsFor();
  return absl::StrCat(waiting.sentence, waiting.details);
}

Formation::Waiting Formation::WaitsFor() const {
  for (const Peer& peer : peers_) {
    if (peer.said && peer.said->stage == Stage::kMember) return {NotCounted(peer.listed, *peer.said), ""};
  }
  Waiting waiting;
  for (const Peer& peer : peers_) {
    if (peer.said) continue;
    absl::StrAppend(&waiting.sentence, waiting.sentence.empty() ? "" : ", ", Name(peer.listed));
    if (peer.silent.ok()) continue;
    absl::StrAppend(&waiting.sentence, ", which does not answer");
    absl::StrAppend(&waiting.details, waiting.details.empty() ? " (" : "; ", peer.silent.message());
  }
  if (!waiting.sentence.empty()) {
    waiting.sentence =
        absl::StrCat("the cluster forms when all brokers of --cluster answer; waiting for ", waiting.sentence);
    if (!waiting.details.empty()) waiting.details += ")";
    return waiting;
  }
  for (const Peer& peer : peers_) {
    if (const std::string lost = LostDisk(*peer.said); !lost.empty()) {
      return {absl::StrCat("the cluster cannot form: ", lost,
                           ", and another broker has pledged itself to a cluster with "
                           "the disk it had before. Nothing is stored in that: remove the data directories of all "
                           "brokers of --cluster and start them again"),
              ""};
    }
  }
  return {"all brokers of --cluster answer; waiting until each has heard of all others", ""};
}

// A member answers whose cluster has no place for this disk.
std::string Formation::NotCounted(const ListedBroker& listed, const Introduction& said) const {
  const int64_t id = self().value();
  const std::string known = absl::StrCat(Name(listed), " belongs to cluster ", ClusterIdOf(said.founders));
  if (HasBroker(said.founders, self())) {
    return absl::StrCat(
        known, ", which has broker ", id,
        " with another disk than this one and does not take it. If another broker runs under this number, "
        "give this one its own, and --join; if none does, ",
        kLostDiskRemedy, ". Waiting");
  }
  return absl::StrCat(known, ", which has no broker ", id, "; to add this one, start it with --join ", listed.address,
                      " instead of --cluster. Waiting");
}

// "broker 2 has come back with another disk", if somebody has pledged itself to a disk that is gone.
std::string Formation::LostDisk(const Introduction& said) const {
  const Identity& identity = options_.identity;
  if (identity.stage == Stage::kPledged && !Contains(identity.founders, said.self)) {
    return absl::StrCat("broker ", said.self.broker.value(), " has come back with another disk");
  }
  if (said.stage == Stage::kPledged && identity.stage == Stage::kNone && !Contains(said.founders, identity.self)) {
    return absl::StrCat("broker ", self().value(), " has come back with another disk");
  }
  return "";
}

}  // namespace millrace::server
