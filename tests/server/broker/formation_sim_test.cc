// Brokers that form a cluster while they crash, are wiped and restarted, and messages between them are lost and late. What must
// never happen is checked whenever something was written; what must happen, when all faults are over.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>

#include "server/formation.h"
#include "tests/server/broker/seeds.h"

namespace millrace::server {
namespace {

using raft::BrokerId;
using raft::ReplicaId;
using raft::ReplicaSet;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using Stage = Identity::Stage;

constexpr nanoseconds kAskTimeout = seconds(1);
constexpr nanoseconds kFaultsEnd = seconds(20);
constexpr nanoseconds kEnd = kFaultsEnd + seconds(30);

// What a run is like.
struct Weather {
  int loss_percent = 0;
  int64_t delay_ms_max = 1;  // of a message
  int64_t write_ms_max = 5;  // of a small file
  int wipes_percent = 0;     // of the crashes
  int crashes = 0;
};

class Simulation {
 public:
  Simulation(uint64_t seed, const std::optional<Weather>& weather = std::nullopt)
      : random_(seed), nodes_(2 + UpTo(4)), weather_(weather ? *weather : RandomWeather()) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      list_.push_back({BrokerId(Number(i)), "host" + std::to_string(i)});
      nodes_[i].disk = NewDisk(i);
      const nanoseconds start = Within(2000);
      last_start_ = std::max(last_start_, start);
      At(start, [this, i] { Start(i); });
    }
    for (int crash = 0; crash < weather_.crashes; ++crash) At(Within(20'000), [this] { Crash(); });
  }

  void Run() {
    while (!events_.empty() && events_.begin()->first <= kEnd) {
      if (events_.begin()->first >= kFaultsEnd) weather_ = {};
      now_ = events_.begin()->first;
      const auto run = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      run();
    }
    CheckEnd();
  }

  // What this run had.
  bool formed() const { return formed_; }
  bool wiped_before() const { return wipes_ > 0 && wipes_after_pledge_ == 0; }
  bool lost_a_founder() const { return wipes_after_pledge_ > 0 && founded_.size() == 1; }
  bool stuck_on_a_lost_disk() const { return founded_.empty(); }
  bool formed_twice() const { return founded_.size() > 1; }
  // From the start of the last broker until all were members, if they were never stopped.
  nanoseconds took() const { return last_member_ - last_start_; }

 private:
  struct Node {
    Identity disk;
    std::unique_ptr<Formation> formation;
    uint64_t life = 0;
    std::optional<Identity> writing;  // may be on the disk after a crash, or not
  };

  size_t UpTo(size_t bound) { return random_() % bound; }
  Weather RandomWeather() {
    return {.loss_percent = static_cast<int>(UpTo(3)) * 20,
            .delay_ms_max = UpTo(2) == 0 ? 5 : 2000,
            .write_ms_max = UpTo(2) == 0 ? 5 : 500,
            .wipes_percent = static_cast<int>(UpTo(3)) * 40,
            .crashes = static_cast<int>(UpTo(2) == 0 ? UpTo(4) : UpTo(30))};
  }
  nanoseconds Within(int64_t ms) { return now_ + nanoseconds(UpTo(static_cast<size_t>(ms) * 1'000'000 + 1)); }
  static int64_t Number(size_t i) { return static_cast<int64_t>(i) + 1; }
  void At(nanoseconds time, std::function<void()> run) { events_.emplace(time, std::move(run)); }

  Identity NewDisk(size_t i) { return {.self = {BrokerId(Number(i)), random_()}}; }

  void Start(size_t i) {
    Node& node = nodes_[i];
    if (node.formation != nullptr) return;
    ++node.life;
    node.formation = std::make_unique<Formation>(
        Formation::Options{.identity = node.disk, .broker = BrokerId(Number(i)), .cluster = list_});
    Turn(i);
  }

  void Crash() {
    const size_t i = UpTo(nodes_.size());
    Node& node = nodes_[i];
    node.formation.reset();
    if (node.writing && UpTo(2) == 0) Store(i, *node.writing);
    node.writing.reset();
    if (UpTo(100) < static_cast<size_t>(weather_.wipes_percent)) {
      ++wipes_;
      if (!pledged_.empty()) ++wipes_after_pledge_;
      node.disk = NewDisk(i);
    }
    At(std::min(Within(5000), kFaultsEnd), [this, i] { Start(i); });
  }

  void Turn(size_t i) {
    Node& node = nodes_[i];
    const uint64_t life = node.life;
    const Formation::Actions actions = node.formation->TakeActions(now_);
    for (const Formation::Ask& ask : actions.ask) Ask(i, ask);
    if (actions.pledge) Write(i, *actions.pledge);
    if (node.formation->decision()) return OnDecision(i);
    const nanoseconds next = node.formation->next_time();
    if (next == nanoseconds::max()) return;
    At(std::max(next, now_), [this, i, life] {
      if (Lives(i, life) && !nodes_[i].formation->decision()) Turn(i);
    });
  }

  bool Lives(size_t i, uint64_t life) const { return nodes_[i].formation != nullptr && nodes_[i].life == life; }

  void OnDecision(size_t i) {
    Node& node = nodes_[i];
    const auto* member = std::get_if<Formation::Member>(&*node.formation->decision());
    if (member == nullptr) {
      ADD_FAILURE() << "broker " << Number(i) << ": " << std::get<Formation::Refused>(*node.formation->decision()).why;
    } else if (node.disk.stage != Stage::kMember && !node.writing) {
      Write(i, member->identity);
    }
  }

  void Write(size_t i, const Identity& identity) {
    nodes_[i].writing = identity;
    At(Within(weather_.write_ms_max), [this, i, life = nodes_[i].life, identity] {
      if (!Lives(i, life)) return;
      nodes_[i].writing.reset();
      Store(i, identity);
      identity.stage == Stage::kPledged ? nodes_[i].formation->OnPledged() : nodes_[i].formation->OnMember(identity);
      if (identity.stage == Stage::kPledged) Turn(i);
    });
  }

  // Never forgotten, whatever becomes of the disk.
  void Store(size_t i, const Identity& identity) {
    nodes_[i].disk = identity;
    const auto [pledge, first] = pledged_.emplace(identity.self, identity.founders);
    EXPECT_EQ(pledge->second, identity.founders) << identity.self << " has pledged itself twice";
    if (identity.stage != Stage::kMember) return;
    last_member_ = now_;
    for (ReplicaId founder : identity.founders) {
      EXPECT_TRUE(pledged_.contains(founder) && pledged_.at(founder) == identity.founders)
          << identity.self << " is a member of a cluster to which " << founder << " has not pledged itself";
    }
    founded_.insert(identity.founders);
    for (const ReplicaSet& other : founded_) {
      if (other == identity.founders) continue;
      for (ReplicaId id : other) EXPECT_FALSE(Contains(identity.founders, id)) << id << " is in two clusters";
    }
  }

  void Ask(size_t from, const Formation::Ask& ask) {
    const auto to = static_cast<size_t>(ask.to.id.value()) - 1;
    const uint64_t life = nodes_[from].life;
    auto answered = std::make_shared<bool>(false);
    const auto answer = [this, from, ask, life, answered](const absl::StatusOr<Introduction>& said) {
      if (!Lives(from, life) || std::exchange(*answered, true)) return;
      nodes_[from].formation->OnAnswer(ask, said, now_);
      Turn(from);
    };
    At(now_ + kAskTimeout, [answer] { answer(absl::DeadlineExceededError("no answer")); });
    if (Lost()) return;
    At(Within(weather_.delay_ms_max), [this, to, answer, theirs = nodes_[from].formation->Introduce()] {
      if (nodes_[to].formation == nullptr) return;
      nodes_[to].formation->OnAsked(theirs, now_);
      if (!nodes_[to].formation->decision()) Turn(to);
      if (Lost()) return;
      At(Within(weather_.delay_ms_max), [answer, said = nodes_[to].formation->Introduce()] { answer(said); });
    });
  }

  bool Lost() { return UpTo(100) < static_cast<size_t>(weather_.loss_percent); }

  // Either all are members of one cluster, or somebody holds on to a disk that is gone, and those who wait say so.
  void CheckEnd() {
    ReplicaSet current;
    for (const Node& node : nodes_) current.push_back(node.disk.self);
    bool holds_on = false;
    size_t members = 0;
    for (const Node& node : nodes_) {
      ASSERT_NE(node.formation, nullptr);
      members += node.disk.stage == Stage::kMember && node.disk.founders == current ? 1 : 0;
      holds_on |= node.disk.stage != Stage::kNone && node.disk.founders != current;
    }
    formed_ = members == nodes_.size();
    EXPECT_TRUE(formed_ || holds_on) << members << " of " << nodes_.size() << " are members";
    for (const Node& node : nodes_) {
      EXPECT_TRUE(node.formation->decision() || !node.formation->waiting_for().empty());
    }
    if (formed_) return;
    for (const Node& node : nodes_) {
      if (node.disk.stage != Stage::kMember) continue;
      for (const Node& other : nodes_) {
        const bool counts = Contains(node.disk.founders, other.disk.self);
        EXPECT_EQ(other.disk.stage == Stage::kMember, counts) << "beside members: " << other.formation->waiting_for();
        EXPECT_TRUE(counts || other.formation->waiting_for().find("with another disk") != std::string::npos)
            << other.formation->waiting_for();
      }
    }
  }

  std::mt19937_64 random_;
  std::vector<Node> nodes_;
  Weather weather_;
  std::vector<ListedBroker> list_;

  nanoseconds now_{};
  nanoseconds last_start_{};
  nanoseconds last_member_{};
  std::multimap<nanoseconds, std::function<void()>> events_;
  std::map<ReplicaId, ReplicaSet> pledged_;
  std::set<ReplicaSet> founded_;
  int wipes_ = 0;
  int wipes_after_pledge_ = 0;
  bool formed_ = false;
};

TEST(FormationSimulation, OneClusterComesOfOneListOrNone) {
  int formed = 0, wiped_before = 0, lost_a_founder = 0, stuck = 0, twice = 0;
  for (uint64_t seed : Seeds(500)) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulation simulation(seed);
    simulation.Run();
    if (HasFailure()) return;
    formed += simulation.formed() ? 1 : 0;
    wiped_before += simulation.formed() && simulation.wiped_before() ? 1 : 0;
    lost_a_founder += simulation.lost_a_founder() ? 1 : 0;
    stuck += simulation.stuck_on_a_lost_disk() ? 1 : 0;
    twice += simulation.formed_twice() ? 1 : 0;
  }
  std::cout << formed << " formed, of those " << wiped_before << " after wipes; " << lost_a_founder
            << " lost founders later, " << stuck << " before all had pledged; " << twice << " formed anew\n";
  EXPECT_GT(formed, 300) << "of 500";
  EXPECT_GT(wiped_before, 50);
  EXPECT_GT(lost_a_founder, 20);
  EXPECT_GT(stuck, 0);
}

// Three rounds of messages and two writes, while the brokers that came first were asking ever less often.
TEST(FormationSimulation, TakesMillisecondsOnceTheLastBrokerIsThere) {
  for (uint64_t seed : Seeds(50)) {
    Simulation simulation(seed, Weather());
    simulation.Run();
    EXPECT_TRUE(simulation.formed()) << "seed " << seed;
    EXPECT_LE(simulation.took(), milliseconds(30)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace millrace::server
