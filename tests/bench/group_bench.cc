// What consumer groups cost and how fast they move, at brokers that run (deploy/local-cluster).
//
//     group_bench ADDRESSES commit                one record at a time that is acked, consumed and committed: what the ack and the commit take
//     group_bench ADDRESSES moves                 8 members, 64 partitions, 6,400 records a second: how long partitions go without a
//                                                 record when a ninth comes, and when it leaves; those that move, and the others
//     group_bench ADDRESSES consume               one member and one reader without a group: megabytes a second of 1 KiB records
//
// One line of json each. Topics and groups are made anew.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "millrace/admin.h"
#include "millrace/consumer.h"
#include "millrace/producer.h"
#include "millrace/runtime.h"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kTopic[] = "group-bench";
constexpr char kGroup[] = "group-bench";
constexpr int kPartitions = 64;

[[noreturn]] void Fail(const absl::Status& status) {
  std::cerr << status << "\n";
  std::exit(1);
}
void Check(const absl::Status& status) {
  if (!status.ok()) Fail(status);
}
double MsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}
double Quantile(std::vector<double> values, double q) {
  std::ranges::sort(values);
  return values.at(static_cast<size_t>(q * static_cast<double>(values.size() - 1)));
}

millrace::ConsumerOptions MemberOptions(const std::string& addresses) {
  millrace::ConsumerOptions options;
  options.client.bootstrap_servers = addresses;
  options.client.runtime = millrace::Runtime::Shared();
  options.group_id = kGroup;
  options.auto_commit = false;
  return options;
}

void MakeTopic(const std::string& addresses, int partitions, const std::map<std::string, std::string>& config = {}) {
  auto admin = millrace::Admin::Create({.bootstrap_servers = addresses}).value();
  admin->DeleteTopic(kTopic).IgnoreError();
  admin->DeleteGroup(kGroup).IgnoreError();
  Check(admin->CreateTopic({.name = kTopic, .partitions = partitions, .config = config}).status());
}

// ---- Commits

// Record by record, as a consumer that keeps up with a producer does.
int OneCommitAtATime(const std::string& addresses) {
  constexpr int kWarmup = 200, kRounds = 2'000;
  MakeTopic(addresses, 1);
  auto producer = millrace::Producer::Create({.client = {.bootstrap_servers = addresses}}).value();
  auto member = millrace::Consumer::Create(MemberOptions(addresses)).value();
  Check(member->Subscribe({.topics = {kTopic}}));
  std::vector<double> commit_ms, produce_ms;
  for (int i = 0; i < kWarmup + kRounds; ++i) {
    const auto sent = Clock::now();
    Check(producer->SendAndWait({.topic = kTopic, .partition = 0, .value = "x"}).status());
    const auto stored = Clock::now();
    while (member->Poll(seconds(1)).value().records.empty()) continue;
    const auto handled = Clock::now();
    Check(member->Commit());
    if (i < kWarmup) continue;
    produce_ms.push_back(MsBetween(sent, stored));
    commit_ms.push_back(MsBetween(handled, Clock::now()));
  }
  std::printf("{\"commit_p50_ms\": %.3f, \"produce_p50_ms\": %.3f}\n", Quantile(commit_ms, 0.5),
              Quantile(produce_ms, 0.5));
  return 0;
}

// ---- Moves

// The longest time that each partition went without a record since Begin(), and where it was then and is now.
class Pauses {
 public:
  void Given(int partition, int member) {
    std::lock_guard lock(mutex_);
    Partition& p = partitions_[partition];
    const auto now = Clock::now();
    p.longest = std::max(p.longest, now - p.last);
    p.last = now;
    if (p.member != member && p.member >= 0) p.moved = true;
    p.member = member;
  }
  void Begin() {
    std::lock_guard lock(mutex_);
    for (auto& [number, p] : partitions_) p = {.last = Clock::now(), .member = p.member};
  }
  bool AllSeen() {
    std::lock_guard lock(mutex_);
    return partitions_.size() == kPartitions;
  }
  void Print(const char* what) {
    std::lock_guard lock(mutex_);
    double moved_ms = 0, stayed_ms = 0;
    int moved = 0;
    for (const auto& [number, p] : partitions_) {
      double& worst = p.moved ? moved_ms : stayed_ms;
      worst = std::max(worst,
                       std::chrono::duration<double, std::milli>(std::max(p.longest, Clock::now() - p.last)).count());
      moved += p.moved ? 1 : 0;
    }
    std::printf("{\"when\": \"%s\", \"moved\": %d, \"longest_pause_ms\": {\"moved\": %.1f, \"stayed\": %.1f}}\n", what,
                moved, moved_ms, stayed_ms);
  }

 private:
  struct Partition {
    Clock::time_point last = Clock::now();
    Clock::duration longest{};
    int member = -1;
    bool moved = false;
  };
  std::mutex mutex_;
  std::map<int, Partition> partitions_;
};

class MovingMember {
 public:
  MovingMember(const std::string& addresses, int number, Pauses& pauses) {
    millrace::ConsumerOptions options = MemberOptions(addresses);
    options.auto_commit = true;
    consumer_ = millrace::Consumer::Create(options).value();
    Check(consumer_->Subscribe({.topics = {kTopic}}));
    thread_ = std::thread([this, number, &pauses] {
      while (!ends_) {
        auto polled = consumer_->Poll(milliseconds(1'000));
        if (!polled.ok()) continue;
        for (const millrace::ConsumerRecord& record : polled->records) pauses.Given(record.partition, number);
      }
      Check(consumer_->Close());
    });
  }
  ~MovingMember() {
    ends_ = true;
    consumer_->Wakeup();
    thread_.join();
  }

 private:
  std::unique_ptr<millrace::Consumer> consumer_;
  std::atomic<bool> ends_ = false;
  std::thread thread_;
};

int Moves(const std::string& addresses) {
  MakeTopic(addresses, kPartitions);
  std::atomic<bool> ends = false;
  std::thread sender([&] {
    auto producer = millrace::Producer::Create({.client = {.bootstrap_servers = addresses}}).value();
    for (auto due = Clock::now(); !ends; due += milliseconds(10)) {
      std::this_thread::sleep_until(due);
      for (int p = 0; p < kPartitions; ++p) Check(producer->Send({.topic = kTopic, .partition = p, .value = "x"}));
    }
    Check(producer->Flush());
  });
  Pauses pauses;
  std::vector<std::unique_ptr<MovingMember>> members;
  for (int m = 0; m < 8; ++m) members.push_back(std::make_unique<MovingMember>(addresses, m, pauses));
  while (!pauses.AllSeen()) std::this_thread::sleep_for(milliseconds(10));
  std::this_thread::sleep_for(seconds(2));
  pauses.Begin();
  std::this_thread::sleep_for(seconds(2));
  pauses.Print("nothing happens");
  pauses.Begin();
  members.push_back(std::make_unique<MovingMember>(addresses, 8, pauses));
  std::this_thread::sleep_for(seconds(2));
  pauses.Print("a ninth comes");
  pauses.Begin();
  members.pop_back();
  std::this_thread::sleep_for(seconds(2));
  pauses.Print("it leaves");
  members.clear();
  ends = true;
  sender.join();
  return 0;
}

// ---- Consuming

double MegabytesPerSecond(millrace::Consumer& consumer, int64_t records) {
  int64_t bytes = 0;
  const auto begin = Clock::now();
  for (int64_t seen = 0; seen < records;) {
    auto polled = consumer.Poll(seconds(10));
    Check(polled.status());
    for (const millrace::ConsumerRecord& record : polled->records) bytes += static_cast<int64_t>(record.value->size());
    seen += static_cast<int64_t>(polled->records.size());
  }
  return static_cast<double>(bytes) / 1e6 / MsBetween(begin, Clock::now()) * 1000;
}

int Consume(const std::string& addresses) {
  constexpr int64_t kRecords = 3'000'000;
  MakeTopic(addresses, 16, {{"flush", "async"}});
  {
    auto producer = millrace::Producer::Create({.client = {.bootstrap_servers = addresses}}).value();
    const std::string value(1024, 'x');
    for (int64_t i = 0; i < kRecords; ++i) Check(producer->Send({.topic = kTopic, .value = value}));
    Check(producer->Flush());
  }
  for (int run = 0; run < 3; ++run) {
    auto plain = millrace::Consumer::Create({.client = {.bootstrap_servers = addresses}}).value();
    Check(plain->Assign({{.topic = kTopic, .from = millrace::Position::Beginning()}}));
    const double without = MegabytesPerSecond(*plain, kRecords);
    plain.reset();
    millrace::ConsumerOptions options = MemberOptions(addresses);
    options.auto_commit = true;
    options.group_id += std::to_string(run) + "-" + std::to_string(Clock::now().time_since_epoch().count());
    auto member = millrace::Consumer::Create(options).value();
    Check(member->Subscribe({.topics = {kTopic}}));
    while (member->progress().empty()) (void)member->Poll(milliseconds(0));
    std::printf("{\"megabytes_per_second\": {\"plain\": %.0f, \"in_a_group\": %.0f}}\n", without,
                MegabytesPerSecond(*member, kRecords - 512));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[2] : "";
  if (what == "commit") return OneCommitAtATime(argv[1]);
  if (what == "moves") return Moves(argv[1]);
  if (what == "consume") return Consume(argv[1]);
  std::cerr << "group_bench ADDRESSES commit|moves|consume\n";
  return 2;
}
