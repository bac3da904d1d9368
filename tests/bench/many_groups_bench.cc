// What groups by the thousand cost, at brokers that run (deploy/local-cluster). All members are in this process, on one thread.
//
//     many_groups_bench ADDRESSES commits [GROUPS [MEMBERS [SECONDS]]]   1,000 groups of one member, or as many as said, who share 64
//                                                                partitions and commit rising offsets of all of theirs in a message,
//                                                                several messages under way: offsets a second
//     many_groups_bench ADDRESSES idle GROUPS SECONDS PID...     groups of one member that do nothing: what the brokers with these pids
//                                                                use, and their memory beforehand and with the groups
//
// One line of json. The topic is made anew; groups are named many-0 and so on, and are deleted at the end.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "client/address.h"
#include "client/group_session.h"
#include "client/runtime_thread.h"
#include "millrace/admin.h"
#include "millrace/producer.h"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;
namespace control = millrace::client::control;

constexpr char kTopic[] = "many-groups-bench";
constexpr int kPartitions = 64;
constexpr int kUnderWayMax = 16;   // commits of a member
constexpr int kRecords = 100'000;  // of each partition, which offsets that are committed rise to
constexpr size_t kJoinsAtOnce = 200;

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::string GroupName(size_t number) { return "many-" + std::to_string(number); }

// Lives on the I/O thread.
class Member : public millrace::client::GroupSession::Owner {
 public:
  Member(const millrace::client::ClientEnvironment& env, const std::string& group, size_t share,
         const std::vector<std::string>& addresses)
      : share_(share), session_(env, OptionsOf(group), addresses, {.topics = {kTopic}}, this) {
    session_.Start();
    session_.NotePolling(true);
  }

  bool settled() const { return assignment_.partitions.size() == share_; }
  int64_t stored() const { return stored_; }

  void StartCommits() {
    while (!stopped_ && under_way_ < kUnderWayMax) {
      std::vector<control::OffsetToStore> offsets;
      Check(next_ <= kRecords ? absl::OkStatus() : absl::InternalError("too few records for so many commits"));
      for (const control::AssignedPartition& p : assignment_.partitions) {
        offsets.push_back(
            {.topic = p.topic, .topic_id = p.topic_id, .partition = p.partition, .epoch = p.epoch, .offset = next_});
      }
      ++next_;
      ++under_way_;
      session_.Commit(std::move(offsets), [this](const absl::Status& status) {
        Check(status);
        stored_ += static_cast<int64_t>(share_);
        --under_way_;
        StartCommits();
      });
    }
  }
  void StopCommits() { stopped_ = true; }
  bool quiet() const { return under_way_ == 0; }

 private:
  static millrace::ConsumerOptions OptionsOf(const std::string& group) {
    millrace::ConsumerOptions options;
    options.group_id = group;
    return options;
  }

  void OnAssignment(control::Assignment assignment) override {
    assignment_ = std::move(assignment);
    std::vector<control::HeldPartition> held;
    for (const control::AssignedPartition& p : assignment_.partitions) {
      held.push_back({.topic_id = p.topic_id, .partition = p.partition});
    }
    session_.Hold(assignment_.member_epoch, std::move(held));
  }
  void OnLost(const millrace::Error& why) override { std::cerr << "lost: " << why.message << "\n"; }
  void OnRefused(const millrace::Error& why) override { Check(absl::InternalError(why.message)); }

  const size_t share_;
  control::Assignment assignment_;
  int64_t next_ = 1;
  int under_way_ = 0;
  int64_t stored_ = 0;
  bool stopped_ = false;
  millrace::client::GroupSession session_;
};

class Members {
 public:
  Members(const std::string& addresses, size_t groups, size_t in_each)
      : foundation_(millrace::client::Foundation::Create({.bootstrap_servers = addresses}).value()) {
    const size_t count = groups * in_each;
    const std::vector<std::string> list = millrace::client::ParseAddresses(addresses).value();
    while (members_.size() < count) {
      On([&] {
        for (size_t i = 0; i < kJoinsAtOnce && members_.size() < count; ++i) {
          members_.push_back(std::make_unique<Member>(foundation_->environment(), GroupName(members_.size() / in_each),
                                                      kPartitions / in_each, list));
        }
      });
      while (members_.size() % in_each == 0 && Count(&Member::settled) < members_.size())
        std::this_thread::sleep_for(milliseconds(1));
    }
  }
  ~Members() {
    On([&] { members_.clear(); });
  }

  void On(const std::function<void()>& task) { foundation_->thread().RunAndWait(task); }
  size_t Count(bool (Member::*is)() const) {
    size_t count = 0;
    On([&] { count = std::ranges::count_if(members_, [is](const auto& member) { return ((*member).*is)(); }); });
    return count;
  }
  int64_t stored() {
    int64_t stored = 0;
    On([&] {
      for (const auto& member : members_) stored += member->stored();
    });
    return stored;
  }
  const std::vector<std::unique_ptr<Member>>& all() const { return members_; }

 private:
  std::unique_ptr<millrace::client::Foundation> foundation_;
  std::vector<std::unique_ptr<Member>> members_;
};

void MakeTopic(const std::string& addresses, int records) {
  auto admin = millrace::Admin::Create({.bootstrap_servers = addresses}).value();
  admin->DeleteTopic(kTopic).IgnoreError();
  Check(admin->CreateTopic({.name = kTopic, .partitions = kPartitions}).status());
  auto producer = millrace::Producer::Create({.client = {.bootstrap_servers = addresses}}).value();
  for (int i = 0; i < records * kPartitions; ++i) {
    Check(producer->Send({.topic = kTopic, .partition = i % kPartitions, .value = "x"}));
  }
  Check(producer->Flush());
}

void DeleteGroups(const std::string& addresses, size_t count) {
  auto admin = millrace::Admin::Create({.bootstrap_servers = addresses}).value();
  for (size_t i = 0; i < count; ++i) {
    // Not yet, while its last member is one by the session time-out; not any more, if it had committed nothing.
    const auto is_there = [&] {
      const absl::Status deleted = admin->DeleteGroup(GroupName(i));
      return !deleted.ok() && millrace::ErrorFrom(deleted).code != millrace::ErrorCode::kGroupIdNotFound;
    };
    while (is_there()) std::this_thread::sleep_for(milliseconds(100));
  }
}

int Commits(const std::string& addresses, size_t groups, size_t in_each, int for_seconds) {
  MakeTopic(addresses, kRecords);
  double per_second = 0;
  {
    Members members(addresses, groups, in_each);
    const auto begin = Clock::now();
    members.On([&] {
      for (const auto& member : members.all()) member->StartCommits();
    });
    std::this_thread::sleep_for(seconds(for_seconds));
    per_second = static_cast<double>(members.stored()) / SecondsSince(begin);
    members.On([&] {
      for (const auto& member : members.all()) member->StopCommits();
    });
    while (members.Count(&Member::quiet) < members.all().size()) std::this_thread::sleep_for(milliseconds(1));
  }
  DeleteGroups(addresses, groups);
  std::printf("{\"groups\": %zu, \"members\": %zu, \"offsets_per_second\": %.0f}\n", groups, in_each, per_second);
  return 0;
}

// Of a process, by proc(5).
struct Usage {
  double cpu_seconds = 0;
  double rss_mb = 0;

  static Usage Of(const std::string& pid) {
    std::ifstream file("/proc/" + pid + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::vector<std::string> field{std::istream_iterator<std::string>(fields), {}};
    const auto number = [&](size_t n) { return std::stod(field.at(n - 3)); };
    return {(number(14) + number(15)) / static_cast<double>(sysconf(_SC_CLK_TCK)),
            number(24) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6};
  }
};

int Idle(const std::string& addresses, size_t groups, int for_seconds, const std::vector<std::string>& pids) {
  MakeTopic(addresses, 1);
  std::vector<Usage> before, at_first, at_last;
  for (const std::string& pid : pids) before.push_back(Usage::Of(pid));
  double joins_took = 0;
  {
    const auto begin = Clock::now();
    Members members(addresses, groups, 1);
    joins_took = SecondsSince(begin);
    std::this_thread::sleep_for(seconds(5));
    for (const std::string& pid : pids) at_first.push_back(Usage::Of(pid));
    std::this_thread::sleep_for(seconds(for_seconds));
    for (const std::string& pid : pids) at_last.push_back(Usage::Of(pid));
  }
  DeleteGroups(addresses, groups);
  std::printf("{\"groups\": %zu, \"joined_in_seconds\": %.1f, \"brokers\": [", groups, joins_took);
  for (size_t i = 0; i < pids.size(); ++i) {
    std::printf("%s{\"cpu_percent\": %.1f, \"rss_mb_before\": %.0f, \"rss_mb\": %.0f}", i == 0 ? "" : ", ",
                100 * (at_last[i].cpu_seconds - at_first[i].cpu_seconds) / for_seconds, before[i].rss_mb,
                at_last[i].rss_mb);
  }
  std::printf("]}\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto number = [&](size_t i, int otherwise) {
    return i < arguments.size() ? std::stoi(arguments[i]) : otherwise;
  };
  if (arguments.size() >= 2 && arguments[1] == "commits") {
    return Commits(arguments[0], static_cast<size_t>(number(2, 1'000)), static_cast<size_t>(number(3, 1)),
                   number(4, 10));
  }
  if (arguments.size() >= 5 && arguments[1] == "idle") {
    return Idle(arguments[0], static_cast<size_t>(number(2, 10'000)), number(3, 30),
                {arguments.begin() + 4, arguments.end()});
  }
  std::cerr << "see the top of many_groups_bench.cc\n";
  return 2;
}
