// How long partitions go without an ack when something happens to a broker.
//
//     failover_bench ADDRESSES TOPIC BROKER SECONDS
//
// Sends 200 records a second to every partition of TOPIC, from one producer with default settings. After 3 s it prints "now":
// whatever happens to BROKER is to happen then. SECONDS later it prints, as json, the longest time between two acks since:
// among the partitions that BROKER led, and among the others; and how many records failed. Exit 1: a partition got no ack at all.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "millrace/admin.h"
#include "millrace/producer.h"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::seconds;

constexpr int kRate = 200;  // records a second and partition

// Acks of a partition.
struct Acks {
  bool led = false;  // by the broker that something happens to
  int64_t count = 0;
  Clock::time_point last;
  Clock::duration longest{};
};

class Gaps {
 public:
  explicit Gaps(const millrace::TopicDescription& topic, int broker) : partitions_(topic.partitions.size()) {
    for (const millrace::PartitionDescription& p : topic.partitions) partitions_[p.partition].led = p.leader == broker;
  }

  void Acked(int partition) {
    std::lock_guard lock(mutex_);
    Acks& acks = partitions_[partition];
    const Clock::time_point now = Clock::now();
    acks.longest = std::max(acks.longest, now - acks.last);
    acks.last = now;
    ++acks.count;
  }

  void Begin() {
    std::lock_guard lock(mutex_);
    for (Acks& acks : partitions_) acks = {.led = acks.led, .last = Clock::now()};
  }

  // A partition that is still without an ack counts up to now.
  double LongestMs(bool led) {
    std::lock_guard lock(mutex_);
    Clock::duration longest{};
    for (const Acks& acks : partitions_) {
      if (acks.led == led) longest = std::max({longest, acks.longest, Clock::now() - acks.last});
    }
    return std::chrono::duration<double, std::milli>(longest).count();
  }

  int64_t Count(bool led) {
    return std::ranges::count_if(partitions_, [led](const Acks& acks) { return acks.led == led; });
  }

  bool AnyWithout() {
    std::lock_guard lock(mutex_);
    return std::ranges::any_of(partitions_, [](const Acks& acks) { return acks.count == 0; });
  }

 private:
  std::mutex mutex_;
  std::vector<Acks> partitions_;
};

int Fail(const absl::Status& status) {
  std::cerr << "failover_bench: " << status.message() << "\n";
  return 1;
}

int Run(const std::string& addresses, const std::string& topic, int broker, int after) {
  millrace::ProducerOptions options;
  options.client.bootstrap_servers = addresses;
  auto admin = millrace::Admin::Create(options.client);
  if (!admin.ok()) return Fail(admin.status());
  const auto described = (*admin)->DescribeTopic(topic);
  if (!described.ok()) return Fail(described.status());
  auto producer = millrace::Producer::Create(options);
  if (!producer.ok()) return Fail(producer.status());

  Gaps gaps(*described, broker);
  std::atomic<int64_t> failed = 0;
  const auto partitions = static_cast<int32_t>(described->partitions.size());
  const auto begin = Clock::now();
  Clock::time_point end = Clock::time_point::max();
  Clock::time_point due = begin;
  while (due < end) {
    if (end == Clock::time_point::max() && due > begin + seconds(3)) {
      gaps.Begin();
      std::cout << "now" << std::endl;
      end = due + seconds(after);
    }
    for (int32_t partition = 0; partition < partitions; ++partition) {
      millrace::ProducerRecord record;
      record.topic = topic;
      record.partition = partition;
      record.value = "x";
      const absl::Status sent = (*producer)->Send(
          record, [&gaps, &failed, partition](const absl::StatusOr<millrace::RecordMetadata>& stored) {
            if (stored.ok()) {
              gaps.Acked(partition);
            } else if (++failed == 1) {
              std::cerr << stored.status() << "\n";
            }
          });
      if (!sent.ok()) return Fail(sent);
    }
    due += microseconds(1'000'000 / kRate);
    std::this_thread::sleep_until(due);
  }
  std::printf("{\"led\":%lld,\"led_ms\":%.1f,\"others_ms\":%.1f,\"failed\":%lld}\n",
              static_cast<long long>(gaps.Count(true)), gaps.LongestMs(true), gaps.LongestMs(false),
              static_cast<long long>(failed.load()));
  std::fflush(stdout);
  const int result = gaps.AnyWithout() ? 1 : 0;
  std::_Exit(result);  // what is still unacked is waited for by nobody
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "failover_bench ADDRESSES TOPIC BROKER SECONDS\n";
    return 2;
  }
  return Run(argv[1], argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
}
