#include "server/formation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace millrace::server {
namespace {

using raft::BrokerId;
using raft::ReplicaId;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Stage = Identity::Stage;

const std::vector<ListedBroker> kCluster = {{BrokerId(1), "a:1"}, {BrokerId(2), "b:1"}, {BrokerId(3), "c:1"}};
const raft::ReplicaSet kDisks = {{BrokerId(1), 10}, {BrokerId(2), 20}, {BrokerId(3), 30}};

// Broker 1 with an empty directory.
Formation::Options Empty() { return {.identity = {.self = kDisks[0]}, .broker = BrokerId(1), .cluster = kCluster}; }

Introduction Says(ReplicaId self, Stage stage = Stage::kNone, raft::ReplicaSet founders = {},
                  raft::ReplicaSet seen = {}) {
  return {.self = self, .cluster = kCluster, .stage = stage, .founders = std::move(founders), .seen = std::move(seen)};
}

// Asks whom it wants to ask, and remembers the asks until they are answered.
class Driver {
 public:
  explicit Driver(Formation::Options options) : formation_(std::move(options)) {}

  Formation* operator->() { return &formation_; }
  Formation& operator*() { return formation_; }

  Formation::Actions Take(nanoseconds now = {}) {
    Formation::Actions actions = formation_.TakeActions(now);
    for (const Formation::Ask& ask : actions.ask) asks_[ask.to.id] = ask;
    return actions;
  }
  std::vector<ListedBroker> Asked(nanoseconds now = {}) {
    std::vector<ListedBroker> asked;
    for (const Formation::Ask& ask : Take(now).ask) asked.push_back(ask.to);
    return asked;
  }
  void Answer(int64_t broker, const absl::StatusOr<Introduction>& answer, nanoseconds now = {}) {
    formation_.OnAnswer(asks_.at(BrokerId(broker)), answer, now);
  }
  Formation::Ask ask(int64_t broker) const { return asks_.at(BrokerId(broker)); }

 private:
  Formation formation_;
  std::map<BrokerId, Formation::Ask> asks_;
};

template <typename Kind>
const Kind& DecisionOf(const Formation& formation) {
  const auto& decision = formation.decision();
  if (!decision || !std::holds_alternative<Kind>(*decision)) {
    static const Kind kNone{};
    ADD_FAILURE() << "another decision, or none; " << formation.waiting_for();
    return kNone;
  }
  return std::get<Kind>(*decision);
}

std::string Why(Formation::Options options) {
  return DecisionOf<Formation::Refused>(Formation(std::move(options))).why;
}

// Why broker 1 gives up when broker 2 answers so.
std::string WhyAfter(const Introduction& answer, Formation::Options options = Empty()) {
  Driver formation(std::move(options));
  formation.Take();
  formation.Answer(2, answer);
  return DecisionOf<Formation::Refused>(*formation).why;
}

// What broker 1 waits for when broker 2 answers so, and broker 3 does not.
std::string WaitsAfter(const Introduction& answer) {
  Driver formation(Empty());
  formation.Take();
  formation.Answer(2, answer);
  EXPECT_EQ(formation->decision().has_value(), false);
  return formation->waiting_for();
}

TEST(Formation, WithoutAListItIsAClusterOfOne) {
  for (const std::vector<ListedBroker>& cluster : {std::vector<ListedBroker>(), {{BrokerId(1), "a:1"}}}) {
    Formation formation({.identity = {.self = kDisks[0]}, .broker = BrokerId(1), .cluster = cluster});
    const auto& member = DecisionOf<Formation::Member>(formation);
    EXPECT_EQ(member.how, Formation::Member::How::kFounded);
    EXPECT_EQ(member.identity, (Identity{kDisks[0], Stage::kMember, {kDisks[0]}}));
    EXPECT_THAT(formation.TakeActions({}).ask, IsEmpty());
  }
}

TEST(Formation, ADirectoryThatKnowsItsClusterAsksNobody) {
  const Identity identity{kDisks[0], Stage::kMember, kDisks};
  for (BrokerId broker : {BrokerId(1), kNoBrokerId}) {
    for (const std::vector<std::string>& join : {std::vector<std::string>(), {"b:1"}}) {
      Formation formation({.identity = identity, .broker = broker, .cluster = kCluster, .join = join});
      EXPECT_EQ(DecisionOf<Formation::Member>(formation).how, Formation::Member::How::kKnown);
      EXPECT_EQ(DecisionOf<Formation::Member>(formation).identity, identity);
    }
  }
}

// --broker-id, where the directory was made without: to join, and then started as one of a list, or alone.
TEST(Formation, TakesTheNumberItIsGivenWhereTheDirectoryHasNone) {
  const Identity unnumbered{.self = {kNoBrokerId, 10}};
  Driver formation({.identity = unnumbered, .broker = BrokerId(1), .cluster = kCluster});
  EXPECT_THAT(formation.Asked(), ElementsAre(kCluster[1], kCluster[2]));
  EXPECT_EQ(formation->Introduce().self, kDisks[0]);

  const Formation alone({.identity = unnumbered, .broker = BrokerId(1)});
  EXPECT_EQ(DecisionOf<Formation::Member>(alone).identity, (Identity{kDisks[0], Stage::kMember, {kDisks[0]}}));

  const Formation joins({.identity = unnumbered, .broker = BrokerId(1), .join = {"b:1"}});
  EXPECT_THAT(DecisionOf<Formation::Join>(joins).via, ElementsAre("b:1"));
  EXPECT_EQ(joins.Introduce().self, kDisks[0]);

  EXPECT_THAT(Why({.identity = unnumbered, .broker = BrokerId(4), .cluster = kCluster}),
              HasSubstr("does not name broker 4, which this is"));
  EXPECT_EQ(Why({.identity = unnumbered, .cluster = kCluster}),
            "the data directory was made to join a cluster, which has not taken the broker in yet; start it with "
            "--join again, or give it another directory");
}

TEST(Formation, RefusesAnotherNumberThanTheDirectorysHoweverFarItHasCome) {
  for (Stage stage : {Stage::kNone, Stage::kPledged, Stage::kMember}) {
    const Identity identity{kDisks[0], stage, stage == Stage::kNone ? raft::ReplicaSet() : kDisks};
    for (const std::vector<std::string>& join : {std::vector<std::string>(), {"b:1"}}) {
      EXPECT_EQ(Why({.identity = identity, .broker = BrokerId(2), .cluster = kCluster, .join = join}),
                "the data directory is that of broker 1, but this is to be broker 2; start it with --broker-id 1, or "
                "give it another directory");
    }
  }
}

TEST(Formation, JoinsThroughOneOfThese) {
  Formation formation({.identity = {.self = {kNoBrokerId, 7}}, .join = {"a:1", "b:1"}});
  EXPECT_THAT(DecisionOf<Formation::Join>(formation).via, ElementsAre("a:1", "b:1"));
}

TEST(Formation, RefusesADirectoryOfAnotherBrokerOrCluster) {
  Formation::Options options = Empty();
  options.identity.self.broker = BrokerId(2);
  EXPECT_EQ(
      Why(options),
      "the data directory is that of broker 2, but this is to be broker 1; start it with --broker-id 2, or give it "
      "another directory");
  options = Empty();
  options.identity = {kDisks[0], Stage::kPledged, {kDisks[0], kDisks[1]}};
  EXPECT_EQ(
      Why(options),
      "the data directory has begun to form a cluster of brokers 1, 2, but --cluster is 1@a:1,2@b:1,3@c:1; give the "
      "list of those brokers, or another directory");
  options.cluster.clear();
  options.join = {"b:1"};
  EXPECT_THAT(Why(options), HasSubstr("--cluster is none"));
  options = Empty();
  options.identity = {kDisks[0], Stage::kPledged, kDisks};
  EXPECT_THAT(WhyAfter(Says(kDisks[1], Stage::kMember, {kDisks[1]}), options),
              AllOf(HasSubstr("has begun to form cluster " + ClusterIdOf(kDisks)),
                    HasSubstr("broker 2 at b:1 belongs to cluster " + ClusterIdOf({kDisks[1]}))));
}

TEST(Formation, RefusesAListWithoutThisBroker) {
  Formation::Options options = Empty();
  options.cluster.erase(options.cluster.begin());
  EXPECT_EQ(
      Why(options),
      "--cluster, 2@b:1,3@c:1, does not name broker 1, which this is; add it to the list of each broker, or start "
      "this one with --join");
}

TEST(Formation, RefusesAnAddressThatLeadsElsewhere) {
  EXPECT_EQ(
      WhyAfter(Says(kDisks[2])),
      "--cluster names broker 2 at b:1, but the broker there is 3; correct the list, or that broker's --broker-id");
  EXPECT_EQ(
      WhyAfter(Says({BrokerId(1), 99})),
      "two brokers have number 1: this one and the one at b:1, which --cluster names as 2; give each its own number "
      "(--broker-id)");
  EXPECT_EQ(
      WhyAfter(Says(kDisks[0])),
      "--cluster names broker 2 at b:1, but that address leads to this broker, 1; correct the address in the list "
      "of each broker");
}

TEST(Formation, RefusesAnotherList) {
  Introduction other = Says(kDisks[1]);
  other.cluster.pop_back();
  EXPECT_EQ(
      WhyAfter(other),
      "broker 2 at b:1 was started with another --cluster, 1@a:1,2@b:1, than this one, 1@a:1,2@b:1,3@c:1; it has to "
      "be the same on each of the brokers");
  other.cluster.clear();
  EXPECT_THAT(WhyAfter(other), HasSubstr("another --cluster, none, than"));
}

TEST(Formation, TheOrderOfTheListDoesNotMatter) {
  Formation::Options options = Empty();
  std::ranges::reverse(options.cluster);
  Driver formation(options);
  formation.Take();
  formation.Answer(2, Says(kDisks[1]));
  EXPECT_EQ(formation->decision().has_value(), false);
  EXPECT_EQ(formation->Introduce().cluster, kCluster);
}

// A pledge is on the disk before anybody knows of it, so a directory that knows nothing of it is an old copy.
TEST(Formation, RefusesADirectoryThatHasForgottenWhatItPledged) {
  EXPECT_THAT(WhyAfter(Says(kDisks[1], Stage::kMember, kDisks)),
              AllOf(HasSubstr("the data directory is an old copy"), HasSubstr(kLostDiskRemedy)));
}

TEST(Formation, WaitsWhereItsDiskDoesNotCount) {
  const raft::ReplicaSet with_old_disk = {{BrokerId(1), 9}, kDisks[1], kDisks[2]};
  EXPECT_THAT(WaitsAfter(Says(kDisks[1], Stage::kMember, with_old_disk)),
              AllOf(HasSubstr("broker 2 at b:1 belongs to cluster " + ClusterIdOf(with_old_disk)),
                    HasSubstr("has broker 1 with another disk"), HasSubstr(kLostDiskRemedy)));
  EXPECT_THAT(WaitsAfter(Says(kDisks[1], Stage::kMember, {kDisks[1]})),
              AllOf(HasSubstr("has no broker 1"), HasSubstr("start it with --join b:1")));
}

TEST(Formation, IsAdoptedOnceItsDiskCounts) {
  const raft::ReplicaSet with_old_disk = {{BrokerId(1), 9}, kDisks[1], kDisks[2]};
  Driver formation(Empty());
  formation.Take();
  Introduction member = Says(kDisks[1], Stage::kMember, with_old_disk);
  formation.Answer(2, member);
  EXPECT_EQ(formation->decision().has_value(), false);
  EXPECT_THAT(formation.Asked(Formation::kAskAgain), ElementsAre(kCluster[1]));
  member.counts_you = true;
  formation.Answer(2, member);
  EXPECT_EQ(DecisionOf<Formation::Member>(*formation).how, Formation::Member::How::kAdopted);
  EXPECT_EQ(DecisionOf<Formation::Member>(*formation).identity, (Identity{kDisks[0], Stage::kMember, with_old_disk}));
}

TEST(Formation, PledgesOnceAllHaveSeenTheSame) {
  Driver formation(Empty());
  EXPECT_THAT(formation.Asked(), ElementsAre(kCluster[1], kCluster[2]));
  EXPECT_THAT(formation->Introduce().seen, IsEmpty());
  formation.Answer(2, Says(kDisks[1], Stage::kNone, {}, kDisks));
  formation.Answer(3, Says(kDisks[2]));
  EXPECT_EQ(formation->Introduce().seen, kDisks);
  Formation::Actions actions = formation.Take();
  EXPECT_EQ(actions.pledge, std::nullopt) << "broker 3 may see another disk of broker 2";
  EXPECT_EQ(actions.ask.size(), 2u) << "to tell what it has seen";
  raft::ReplicaSet other = kDisks;
  ++other[1].incarnation;
  formation.Answer(3, Says(kDisks[2], Stage::kNone, {}, other));
  EXPECT_EQ(formation.Take(Formation::kAskAgain).pledge, std::nullopt);
  formation.Answer(3, Says(kDisks[2], Stage::kNone, {}, kDisks));
  actions = formation.Take();
  EXPECT_EQ(actions.pledge, (Identity{kDisks[0], Stage::kPledged, kDisks}));
  EXPECT_EQ(formation.Take().pledge, std::nullopt) << "asked for once";
  EXPECT_EQ(formation->Introduce().stage, Stage::kNone) << "nobody is told before it is on the disk";
}

TEST(Formation, IsAMemberOnceAllHavePledged) {
  Formation::Options options = Empty();
  options.identity = {kDisks[0], Stage::kPledged, kDisks};
  Driver formation(options);
  formation.Take();
  EXPECT_EQ(formation->Introduce().founders, kDisks);
  formation.Answer(2, Says(kDisks[1], Stage::kPledged, kDisks));
  formation.Answer(3, Says(kDisks[2], Stage::kNone, {}, kDisks));
  EXPECT_EQ(formation->decision().has_value(), false) << "not all have pledged";
  formation.Take(Formation::kAskAgain);
  formation.Answer(3, Says(kDisks[2], Stage::kPledged, kDisks));
  EXPECT_EQ(DecisionOf<Formation::Member>(*formation).how, Formation::Member::How::kFounded);
  EXPECT_EQ(DecisionOf<Formation::Member>(*formation).identity, (Identity{kDisks[0], Stage::kMember, kDisks}));
  EXPECT_EQ(formation->Introduce().stage, Stage::kPledged) << "not before it is on the disk";
  formation->OnMember(DecisionOf<Formation::Member>(*formation).identity);
  EXPECT_EQ(formation->Introduce().stage, Stage::kMember);
}

// The last one to pledge knows everything at once. The others do not.
TEST(Formation, TellsOfItsPledgeAlsoWhenNothingIsLeftToAsk) {
  Driver formation(Empty());
  formation.Take();
  formation.Answer(2, Says(kDisks[1], Stage::kPledged, kDisks));
  formation.Answer(3, Says(kDisks[2], Stage::kPledged, kDisks));
  ASSERT_TRUE(formation.Take().pledge.has_value());
  formation->OnPledged();
  EXPECT_TRUE(formation->decision().has_value());
  EXPECT_THAT(formation.Asked(), ElementsAre(kCluster[1], kCluster[2]));
  EXPECT_THAT(formation.Asked(Formation::kAskAgain), IsEmpty());
}

TEST(Formation, ABrokerThatRestartedGoesOnFromItsPledge) {
  Formation::Options options = Empty();
  options.identity = {kDisks[0], Stage::kPledged, kDisks};
  Driver formation(options);
  formation.Take();
  formation.Answer(3, Says(kDisks[2], Stage::kMember, kDisks));
  EXPECT_EQ(DecisionOf<Formation::Member>(*formation).how, Formation::Member::How::kAdopted);
}

TEST(Formation, SaysWhenAFounderLostItsDisk) {
  Formation::Options options = Empty();
  options.identity = {kDisks[0], Stage::kPledged, kDisks};
  Driver pledged(options);
  pledged.Take();
  pledged.Answer(3, Says(kDisks[2], Stage::kPledged, kDisks));
  pledged.Answer(2, Says({BrokerId(2), 21}));
  EXPECT_THAT(pledged->waiting_for(), AllOf(HasSubstr("broker 2 has come back with another disk"),
                                            HasSubstr("remove the data directories of all brokers")));
  Driver lost(Empty());
  lost.Take();
  lost.Answer(2, Says(kDisks[1], Stage::kPledged, {{BrokerId(1), 9}, kDisks[1], kDisks[2]}));
  lost.Answer(3, Says(kDisks[2]));
  EXPECT_THAT(lost->waiting_for(), HasSubstr("broker 1 has come back with another disk"));
}

TEST(Formation, AsksWhoIsSilentLessAndLessOften) {
  Driver formation(Empty());
  nanoseconds now{};
  std::vector<nanoseconds> waits;
  for (int i = 0; i < 8; ++i) {
    EXPECT_THAT(formation.Asked(now), testing::Contains(kCluster[1]));
    EXPECT_THAT(formation.Asked(now), IsEmpty()) << "it has not answered yet";
    formation.Answer(2, absl::UnavailableError("refused"), now);
    waits.push_back(formation->next_time() - now);
    EXPECT_THAT(formation.Asked(formation->next_time() - nanoseconds(1)), IsEmpty());
    now = formation->next_time();
  }
  EXPECT_THAT(waits, ElementsAre(milliseconds(50), milliseconds(100), milliseconds(200), milliseconds(400),
                                 milliseconds(800), milliseconds(1600), milliseconds(2000), milliseconds(2000)));
  formation.Take(now);
  formation.Answer(2, Says(kDisks[1]), now);
  EXPECT_EQ(formation->next_time(), now + Formation::kAskAgain);
  formation.Take(formation->next_time());
  formation.Answer(2, absl::UnavailableError("refused"), now);
  EXPECT_EQ(formation->next_time(), now + Formation::kRetryMin);
}

TEST(Formation, WhoeverAsksIsAskedAtOnceIfThatIsNews) {
  Driver formation(Empty());
  formation.Take();
  formation.Answer(2, absl::UnavailableError("refused"));
  formation.Answer(3, absl::UnavailableError("refused"));
  EXPECT_THAT(formation.Asked(), IsEmpty());
  formation->OnAsked(Says(kDisks[2]), {});
  EXPECT_THAT(formation.Asked(), ElementsAre(kCluster[2]));
  formation.Answer(3, Says(kDisks[2]));
  formation->OnAsked(Says(kDisks[2]), {});
  formation->OnAsked(Says({BrokerId(8), 1}), {});
  EXPECT_THAT(formation.Asked(), IsEmpty()) << "nothing new, and a stranger";
}

TEST(Formation, BelievesTheNewestAnswer) {
  Driver formation(Empty());
  formation.Take();
  const Formation::Ask first = formation.ask(3);
  const Introduction early = Says(kDisks[2]);
  const Introduction late = Says(kDisks[2], Stage::kNone, {}, kDisks);
  formation->OnAsked(late, {});
  EXPECT_THAT(formation.Asked(), ElementsAre(kCluster[2])) << "what is under way may be older, or lost";
  formation->OnAnswer(first, absl::UnavailableError("timed out"), {});
  EXPECT_THAT(formation.Asked(), IsEmpty()) << "the second is not answered yet";
  formation->OnAnswer(first, early, {});
  EXPECT_THAT(formation->waiting_for(), Not(HasSubstr("broker 3"))) << "better than nothing";
  formation.Answer(3, late);
  formation->OnAnswer(first, early, {});
  formation->OnAsked(late, {});
  EXPECT_THAT(formation.Asked(), IsEmpty()) << "that is known";
}

TEST(Formation, LogsWhatItWaitsForOnce) {
  Driver formation(Empty());
  EXPECT_THAT(
      formation.Take().log,
      ElementsAre("the cluster forms when all brokers of --cluster answer; waiting for broker 2 at b:1, broker 3 "
                  "at c:1"));
  EXPECT_THAT(formation.Take().log, IsEmpty());
  formation.Answer(2, Says(kDisks[1]));
  formation.Answer(3, absl::UnavailableError("refused"));
  EXPECT_THAT(formation.Take().log,
              ElementsAre("the cluster forms when all brokers of --cluster answer; waiting for broker 3 at c:1, which "
                          "does not answer (refused)"));
  formation.Answer(3, absl::UnavailableError("no route"));
  EXPECT_THAT(formation.Take().log, IsEmpty());
  EXPECT_THAT(formation->waiting_for(), HasSubstr("(no route)"));
}

}  // namespace
}  // namespace millrace::server
