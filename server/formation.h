// How a broker comes into a cluster (ARCHITECTURE D5): which brokers to ask, what to think of their answers, and what comes of it. No
// I/O, no clock: the caller asks, writes and logs as it is told.
//
//     Formation formation({.identity = *identity, .broker = config.broker_id, .cluster = config.cluster});
//     for (;;) {
//       Formation::Actions actions = formation.TakeActions(now);
//       for (const Formation::Ask& ask : actions.ask) Send(ask.to, formation.Introduce(), [&](absl::StatusOr<Introduction> answer) {
//         formation.OnAnswer(ask, answer, now);                    // each is answered once, by a time-out if by nobody
//       });
//       if (actions.pledge) { WriteIdentity(directory, *actions.pledge); formation.OnPledged(); continue; }
//       if (formation.decision()) break;
//       ...                                                        // until an answer comes, or formation.next_time()
//     }
//     // Member: make the metadata group (of the founders, if this is one of them), sync it, WriteIdentity(), OnMember(identity).
//
// And from the first moment on, to whoever asks: formation.OnAsked(theirs, now), and Introduce() for an answer.
//
// The protocol. Brokers of one --cluster list tell each other which disk they have (ReplicaId), and which disks they have seen.
//   1. A broker that is in no cluster and hears from all others that they are in none, too, and that each has seen the same disks as
//      itself, pledges itself to a cluster of exactly these. So does one that hears of such a pledge which names its disk.
//      A pledge is on the disk before anybody is told of it, and for the life of that disk: it is never given to another set.
//   2. A broker that knows that all founders have pledged is a member: the cluster is in being. So is one that hears of a member
//      of a cluster that names its disk, or that has taken its disk in since (Introduction::counts_you).
//   Nobody votes or stores before it is a member.
//
// Why no two clusters come of one list, with a disk in both: a cluster is in being only if all of its founders pledged, and a disk
// pledges once. What is lost on the way, late, or said twice changes nothing of that: pledges do not go out of date.
//
// Why two wiped brokers cannot form a fresh majority beside the survivor. A set of founders always has a disk of every listed
// broker, so theirs would need a pledge of the survivor's disk; but that has pledged itself to the old one, or the old one would never
// have come into being. They wait, and say so. If somebody gives them another list, without the survivor, the cluster that they form
// has another id, as it is made of other disks, and nothing of it mixes with what the survivor has.
//
// What is given up for it: a broker that is wiped between its being seen and the last pledge leaves the others pledged to a disk that is
// gone. They say that, and what to do; nothing is stored in such a cluster.
//
// Threads: one at a time. Errors: Refused says what is wrong and what to do; the process should end with it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "raft/membership.h"
#include "raft/types.h"
#include "server/identity.h"
#include "server/introduction.h"

namespace millrace::server {

class Formation {
 public:
  static constexpr std::chrono::milliseconds kRetryMin{50};  // doubled with each failure
  static constexpr std::chrono::milliseconds kRetryMax{2000};
  static constexpr std::chrono::milliseconds kAskAgain{1000};  // of who answered, if nothing has changed

  struct Options {
    Identity identity;
    raft::BrokerId broker = kNoBrokerId;  // --broker-id or its equals; kNoBrokerId: what the directory says
    std::vector<ListedBroker> cluster;    // --cluster
    std::vector<std::string> join;        // --join
  };

  struct Member {
    enum class How { kKnown, kFounded, kAdopted };  // known: the directory said so, nothing is to be written
    How how;
    Identity identity;
    std::vector<std::string> via = {};  // known, and --join names these: they may belong to another cluster
  };
  struct Join {
    std::vector<std::string> via;
  };
  struct Refused {
    std::string why;
  };
  using Decision = std::variant<Member, Join, Refused>;

  struct Ask {
    ListedBroker to;
    uint64_t number = 0;
  };
  struct Actions {
    std::optional<Identity> pledge;  // to be written before anything else is told to anybody; then OnPledged()
    std::vector<Ask> ask;
    std::vector<std::string> log;  // each sentence comes once
  };

  explicit Formation(Options options);

  Actions TakeActions(std::chrono::nanoseconds now);
  // When TakeActions has something to do if nothing happens.
  std::chrono::nanoseconds next_time() const;

  // What came of an ask.
  void OnAnswer(const Ask& ask, const absl::StatusOr<Introduction>& answer, std::chrono::nanoseconds now);
  // A broker asks, and introduces itself. It is asked back if that is news; what comes unasked is not believed.
  void OnAsked(const Introduction& asker, std::chrono::nanoseconds now);
  void OnPledged();
  // What decision() says of this member, or what became of a join, is on the disk.
  void OnMember(const Identity& identity) { options_.identity = identity; }

  Introduction Introduce() const;
  // Set once.
  const std::optional<Decision>& decision() const { return decision_; }
  // What a broker that is not decided waits for, for people.
  std::string waiting_for() const;

 private:
  struct Peer {
    ListedBroker listed;
    std::optional<Introduction> said;  // in answer to the ask `heard`, unless a later one failed
    absl::Status silent;               // why the last one did
    uint64_t asked = 0;                // the last
    uint64_t heard = 0;                // the last that was answered; not all before it were, or will be
    bool asking = false;               // asked, and nothing came of it yet
    std::chrono::nanoseconds retry = kRetryMin;
    std::chrono::nanoseconds next{};  // when it is asked again, if it is not being asked
  };

  // `details` may change while it waits for the same.
  struct Waiting {
    std::string sentence;
    std::string details;
  };

  raft::BrokerId self() const { return options_.identity.self.broker; }
  std::optional<Decision> DecideAlone() const;
  Member Founded(const raft::ReplicaSet& founders) const;
  raft::ReplicaSet Seen() const;
  Peer* FindPeer(raft::BrokerId id);
  Ask AskNow(Peer& peer);

  void Decide();
  std::optional<Decision> DecideByAnswers() const;
  std::optional<raft::ReplicaSet> SetToPledgeTo() const;
  std::optional<Refused> Refusal(const ListedBroker& listed, const Introduction& said) const;
  std::optional<Refused> RefusalOfMember(const ListedBroker& listed, const Introduction& said) const;

  Waiting WaitsFor() const;
  std::string NotCounted(const ListedBroker& listed, const Introduction& said) const;
  std::string LostDisk(const Introduction& said) const;

  Options options_;  // its identity as it is on the disk
  std::vector<Peer> peers_;
  std::optional<Identity> pledge_;  // being written
  bool pledge_taken_ = false;
  Introduction told_;  // when peers were last told of news
  uint64_t last_ask_ = 0;
  std::set<std::string> logged_;
  std::optional<Decision> decision_;
};

}  // namespace millrace::server
