// Goal: a broker may run for years. Much more goes through it than it keeps, it is killed with -9 all the time, and still whatever
// was acked and is not due for retention is read back byte for byte, the disk does not fill up, nothing is written twice, and acks
// take as long at the end as at the beginning.
//
// Method: one producer sends records of 64,000 bytes, a batch each, to partitions in turn, at a fixed rate (0: as fast as it can).
// Each record's bytes follow from its place, so no ledger is needed: one idempotent producer means that record n of a partition
// has offset n. The broker is killed after a number of acks drawn from the seed. In the end, and once more after another kill, all
// partitions are read from their beginning.
//
//     endurance_test [--gb 2.4] [--retention-gb 0.2] [--kill-every-gb 0.25] [--mb-s 150] [--seed S]
//
// By hand, with TMPDIR on the disk to be measured, which nothing else should write to:
//
//     endurance_test --gb 100 --retention-gb 10 --kill-every-gb 0.6 --mb-s 150

#include <fcntl.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/broker_process.h"

namespace millrace {
namespace {

std::map<std::string, double> flags = {{"--gb", 2.4},
                                       {"--retention-gb", 0.2},
                                       {"--kill-every-gb", 0.25},
                                       {"--mb-s", 150},
                                       {"--seed", static_cast<double>(std::random_device()())}};

using SteadyClock = std::chrono::steady_clock;

constexpr char kTopic[] = "endurance";
constexpr int32_t kPartitions = 16;
constexpr size_t kRecordBytes = 64'000;
// From so many on, what the device wrote and how long acks took at the end is held against what is promised: nothing else runs then.
constexpr double kByHandGigabytes = 30;
// From a kill until an ack is as quick as this again, acks tell how long the start and the client's way back take.
constexpr std::chrono::milliseconds kPrompt{20};

// What a record's bytes follow from: all that is ever sent is cut out of these.
class Bytes {
 public:
  explicit Bytes(uint64_t seed) : bytes_(kPeriod + kRecordBytes, '\0') {
    std::mt19937_64 random(seed);
    for (char& byte : bytes_) byte = static_cast<char>(random());
  }

  std::string_view Filler(int32_t partition, int64_t offset) const {
    return std::string_view(bytes_).substr((offset * kPartitions + partition) * 7919 % kPeriod, kRecordBytes - 16);
  }
  void Make(int32_t partition, int64_t offset, std::string* value) const {
    value->resize(16);
    std::memcpy(value->data(), &partition, sizeof partition);
    std::memcpy(value->data() + 8, &offset, sizeof offset);
    value->append(Filler(partition, offset));
  }

 private:
  static constexpr size_t kPeriod = 1 << 20;
  std::string bytes_;
};

// Sends until as many bytes as it was told are acked.
class Load {
 public:
  Load(const std::string& address, const Bytes& bytes, int64_t records, double records_per_second)
      : bytes_(bytes), records_(records), records_per_second_(records_per_second), latencies_(records) {
    ProducerOptions options;
    options.client.bootstrap_servers = address;
    options.batch_size = 64 << 10;
    auto producer = Producer::Create(options);
    EXPECT_TRUE(producer.ok()) << producer.status();
    producer_ = std::move(*producer);
    thread_ = std::thread([this] { Run(); });
  }
  ~Load() { thread_.join(); }

  // Until `count` more records were acked, all were, or one failed.
  void WaitForAcks(int64_t count) {
    std::unique_lock lock(mutex_);
    const int64_t target = std::min(acked_ + count, records_);
    changed_.wait(lock, [&] { return acked_ >= target || !failure_.empty(); });
  }
  bool ended() {
    std::lock_guard lock(mutex_);
    return acked_ == records_ || !failure_.empty();
  }
  std::string failure() {
    std::lock_guard lock(mutex_);
    return failure_;
  }
  void Killed() {
    std::lock_guard lock(mutex_);
    killed_ = SteadyClock::now();
  }
  // From a kill to the first prompt ack.
  double slowest_recovery() {
    std::lock_guard lock(mutex_);
    return std::chrono::duration<double>(slowest_recovery_).count();
  }

  // Which part of the records [first, last) was acked while nothing was killed.
  double CalmPart(int64_t first, int64_t last) {
    std::lock_guard lock(mutex_);
    const auto calm =
        std::count_if(latencies_.begin() + first, latencies_.begin() + last, [](float ms) { return ms > 0; });
    return static_cast<double>(calm) / static_cast<double>(last - first);
  }
  // Of these: milliseconds since each was due.
  double Latency(double quantile, int64_t first, int64_t last) {
    std::lock_guard lock(mutex_);
    std::vector<float> calm;
    std::copy_if(latencies_.begin() + first, latencies_.begin() + last, std::back_inserter(calm),
                 [](float ms) { return ms > 0; });
    if (calm.empty()) return 0;
    const auto at = calm.begin() + static_cast<int64_t>(quantile * static_cast<double>(calm.size() - 1));
    std::nth_element(calm.begin(), at, calm.end());
    return *at;
  }

 private:
  void Run() {
    const auto begin = SteadyClock::now();
    std::string value;
    for (int64_t i = 0; i < records_; ++i) {
      SteadyClock::time_point due = SteadyClock::now();
      if (records_per_second_ > 0) {
        due = begin + std::chrono::duration_cast<SteadyClock::duration>(
                          std::chrono::duration<double>(static_cast<double>(i) / records_per_second_));
        std::unique_lock lock(mutex_);
        due_.wait_until(lock, due, [] { return false; });
      }
      {
        std::lock_guard lock(mutex_);
        due_times_.push_back(due);
      }
      const auto partition = static_cast<int32_t>(i % kPartitions);
      bytes_.Make(partition, i / kPartitions, &value);
      absl::Status taken = producer_->Send({.topic = kTopic, .partition = partition, .value = value},
                                           [this, i](const auto& outcome) { OnOutcome(i, outcome); });
      if (!taken.ok()) return Fail(i, taken.ToString());
    }
    if (absl::Status closed = producer_->Close(); !closed.ok()) Fail(records_, closed.ToString());
  }

  void OnOutcome(int64_t i, const absl::StatusOr<RecordMetadata>& outcome) {
    if (!outcome.ok()) return Fail(i, outcome.status().ToString());
    // -1: a repeat whose original the broker has, without knowing where.
    if (outcome->offset >= 0 && outcome->offset != i / kPartitions) {
      return Fail(i, "acked at offset " + std::to_string(outcome->offset));
    }
    const auto now = SteadyClock::now();
    std::lock_guard lock(mutex_);
    const auto latency = now - due_times_[i];
    if (killed_ && due_times_[i] > *killed_ && latency < kPrompt) {
      slowest_recovery_ = std::max(slowest_recovery_, now - *killed_);
      killed_.reset();
    }
    if (!killed_) latencies_[i] = std::chrono::duration<float, std::milli>(latency).count();
    ++acked_;
    changed_.notify_one();
  }
  void Fail(int64_t i, const std::string& why) {
    std::lock_guard lock(mutex_);
    if (failure_.empty()) failure_ = "record " + std::to_string(i) + ": " + why;
    changed_.notify_one();
  }

  const Bytes& bytes_;
  const int64_t records_;
  const double records_per_second_;
  std::unique_ptr<Producer> producer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable due_;
  // Guarded by mutex_.
  std::vector<SteadyClock::time_point> due_times_;
  std::vector<float> latencies_;                   // 0: not calm, or not acked
  std::optional<SteadyClock::time_point> killed_;  // and not recovered yet
  SteadyClock::duration slowest_recovery_{0};
  int64_t acked_ = 0;
  std::string failure_;
  std::thread thread_;  // last: uses the others
};

// The most disk that a directory has taken.
class DiskUse {
 public:
  explicit DiskUse(std::string directory) : directory_(std::move(directory)), thread_([this] { Run(); }) {}

  // The most there was.
  int64_t Stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    stopped_.notify_one();
    thread_.join();
    return most_;
  }

  // Returns once it is at most so much.
  void WaitUntilAtMost(int64_t bytes) {
    std::unique_lock lock(mutex_);
    looked_.wait(lock, [&] { return now_ <= bytes; });
  }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    while (!stopped_.wait_for(lock, std::chrono::milliseconds(200), [this] { return stopping_; })) {
      now_ = 0;
      std::error_code error;  // files come and go meanwhile
      for (std::filesystem::recursive_directory_iterator it(directory_, error), end; !error && it != end;
           it.increment(error)) {
        struct stat info;
        if (stat(it->path().c_str(), &info) == 0) now_ += info.st_blocks * 512;
      }
      most_ = std::max(most_, now_);
      looked_.notify_one();
    }
  }

  const std::string directory_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  std::condition_variable looked_;
  bool stopping_ = false;  // guarded by mutex_, as all below
  int64_t now_ = 0;
  int64_t most_ = 0;
  std::thread thread_;
};

// By the block device below `directory`, once nothing is left to be written.
int64_t DeviceBytesWritten(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct stat of {};
  if (fd < 0 || syncfs(fd) != 0 || fstat(fd, &of) != 0) return 0;
  close(fd);
  std::ifstream counters("/sys/dev/block/" + std::to_string(major(of.st_dev)) + ":" + std::to_string(minor(of.st_dev)) +
                         "/stat");
  std::string skipped;
  for (int i = 0; i < 6; ++i) counters >> skipped;
  int64_t sectors = 0;
  counters >> sectors;
  return sectors * 512;
}

// Holds what a reader finds in each partition, from where it begins to its end, against what was sent.
class Reading {
 public:
  explicit Reading(const Bytes& bytes) : bytes_(bytes) {}

  // What is wrong, empty if nothing. Retention may go on meanwhile.
  std::string Run(const std::string& address) {
    ConsumerOptions options;
    options.client.bootstrap_servers = address;
    options.on_gap = OnGap::kReport;
    auto consumer = Consumer::Create(options);
    if (!consumer.ok()) return consumer.status().ToString();
    absl::Status assigned =
        (*consumer)->Assign({{.topic = kTopic, .from = Position::Beginning(), .until = Position::End()}});
    if (!assigned.ok()) return assigned.ToString();
    for (bool end = false; !end && fault_.empty();) {
      absl::StatusOr<PollResult> polled = (*consumer)->Poll(std::chrono::milliseconds::max());
      if (!polled.ok()) return polled.status().ToString();
      for (const Gap& gap : polled->gaps) Take(gap);
      for (const ConsumerRecord& record : polled->records) Take(record);
      end = polled->end;
    }
    return fault_;
  }
  int64_t first(int32_t partition) { return found_[partition].first; }
  int64_t end(int32_t partition) { return found_[partition].end; }

 private:
  struct Found {
    int64_t first = -1;
    int64_t end = 0;
  };

  void Take(const ConsumerRecord& record) {
    Found& found = found_[record.partition];
    if (found.first < 0) found = {record.offset, record.offset};
    if (record.offset != found.end++) Fail("a hole", record.partition, record.offset);
    bytes_.Make(record.partition, record.offset, &expected_);
    if (record.value != expected_) Fail("another record", record.partition, record.offset);
  }
  void Take(const Gap& gap) {
    if (gap.reason != Gap::Reason::kRetention) Fail(GapReasonName(gap.reason), gap.partition, gap.from);
    found_[gap.partition] = {gap.to, gap.to};
  }
  void Fail(std::string_view what, int32_t partition, int64_t offset) {
    if (!fault_.empty()) return;
    fault_ = std::string(what) + " in partition " + std::to_string(partition) + " at " + std::to_string(offset);
  }

  const Bytes& bytes_;
  std::map<int32_t, Found> found_;
  std::string expected_;
  std::string fault_;
};

std::string ReadBack(const BrokerProcess& broker, const Bytes& bytes, int64_t records, double kept_bytes) {
  Reading reading(bytes);
  if (std::string fault = reading.Run(broker.address()); !fault.empty()) return fault;
  for (int32_t partition = 0; partition < kPartitions; ++partition) {
    const int64_t sent = (records - partition + kPartitions - 1) / kPartitions;
    const int64_t first = reading.first(partition);
    const std::string range = "partition " + std::to_string(partition) + " has " + std::to_string(first) + " to " +
                              std::to_string(reading.end(partition)) + " of " + std::to_string(sent);
    if (reading.end(partition) != sent) return range;
    const auto kept = static_cast<double>((sent - first) * static_cast<int64_t>(kRecordBytes));
    if (first > 0 && kept < kept_bytes) return range + ": records went before they were due";
  }
  return "";
}

TEST(Endurance, NothingIsLostAndNothingAddsUp) {
  const auto seed = static_cast<uint64_t>(flags["--seed"]);
  std::cout << "again with --seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  const Bytes bytes(seed);
  const auto records = static_cast<int64_t>(flags["--gb"] * 1e9 / kRecordBytes);
  const double kept_bytes = flags["--retention-gb"] * 1e9 / kPartitions;
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  {
    ClientOptions options;
    options.bootstrap_servers = broker.address();
    auto admin = Admin::Create(options);
    ASSERT_TRUE(admin.ok()) << admin.status();
    auto created =
        (*admin)->CreateTopic({.name = kTopic,
                               .partitions = kPartitions,
                               .config = {{"retention.bytes", std::to_string(static_cast<int64_t>(kept_bytes))}}});
    ASSERT_TRUE(created.ok()) << created.status();
  }
  const bool by_hand = flags["--gb"] >= kByHandGigabytes;
  const int64_t written_before = DeviceBytesWritten(broker.data_dir());
  DiskUse disk_use(broker.data_dir());
  const auto begin = SteadyClock::now();
  int kills = 0;
  SteadyClock::duration slowest_start{0};
  {
    Load load(broker.address(), bytes, records, flags["--mb-s"] * 1e6 / kRecordBytes);
    const auto acks_between_kills = static_cast<int64_t>(flags["--kill-every-gb"] * 1e9 / kRecordBytes * 2);
    for (;; ++kills) {
      load.WaitForAcks(1 + static_cast<int64_t>(random() % acks_between_kills));
      if (load.ended()) break;
      broker.Kill();
      load.Killed();
      const auto killed = SteadyClock::now();
      ASSERT_NO_FATAL_FAILURE(broker.Start());
      slowest_start = std::max(slowest_start, SteadyClock::now() - killed);
    }
    ASSERT_EQ(load.failure(), "");
    const double seconds = std::chrono::duration<double>(SteadyClock::now() - begin).count();
    std::cout << records * kRecordBytes / 1e9 << " GB in " << seconds << " s, " << kills << " kills, slowest start "
              << std::chrono::duration<double>(slowest_start).count() << " s, from a kill to a prompt ack at most "
              << load.slowest_recovery() << " s\n";
    for (int tenth = 0; tenth < 10; ++tenth) {
      const int64_t first = records * tenth / 10, last = records * (tenth + 1) / 10;
      std::cout << "acks of tenth " << tenth + 1 << ": p50 " << load.Latency(0.5, first, last) << " ms, p99 "
                << load.Latency(0.99, first, last) << " ms, " << 100 * load.CalmPart(first, last) << " % of all\n";
      EXPECT_TRUE(!by_hand || load.CalmPart(first, last) >= 0.5)
          << "between two kills acks did not become prompt again";
    }
    if (by_hand) {
      const int64_t tenth = records / 10;
      EXPECT_LE(load.Latency(0.5, records - tenth, records), 2 * load.Latency(0.5, 0, tenth));
      EXPECT_LE(load.Latency(0.99, records - tenth, records), 3 * load.Latency(0.99, tenth, 2 * tenth));
    }
  }
  // Retention removes whole segments, so a tenth more stays; a tenth may be dead, and 512 MiB; and three WAL files. How far behind
  // the removal may be is a matter of speed: elsewhere than by hand it need only come.
  constexpr double kFixed = 0.9e9;
  const double kept_on_disk = flags["--retention-gb"] * 1e9 * 1.1 * 1.1 + kFixed;
  disk_use.WaitUntilAtMost(static_cast<int64_t>(kept_on_disk));
  const int64_t disk_bytes = disk_use.Stop();
  const int64_t written = DeviceBytesWritten(broker.data_dir()) - written_before;
  std::cout << "disk at most " << static_cast<double>(disk_bytes) / 1e9 << " GB; the device wrote "
            << static_cast<double>(written) / static_cast<double>(records * kRecordBytes) << " bytes per byte"
            << std::endl;
  if (by_hand) {
    EXPECT_GE(written, records * kRecordBytes) << "not the device's counter";
    EXPECT_LE(static_cast<double>(written), 1.2 * static_cast<double>(records * kRecordBytes));
    // What comes in between two passes of retention (2 s), until it is compacted, and while files are removed a piece at a time.
    constexpr double kSeconds = 5;
    EXPECT_LE(static_cast<double>(disk_bytes), kept_on_disk + flags["--mb-s"] * 1e6 * kSeconds);
  }

  EXPECT_EQ(ReadBack(broker, bytes, records, kept_bytes), "");
  broker.Kill();
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_EQ(ReadBack(broker, bytes, records, kept_bytes), "");
  EXPECT_EQ(broker.Stop(), 0);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i + 1 < argc; i += 2) {
    auto flag = millrace::flags.find(argv[i]);
    if (flag == millrace::flags.end()) {
      std::cerr << "endurance_test [--gb N] [--retention-gb N] [--kill-every-gb N] [--mb-s N] [--seed S]\n";
      return 2;
    }
    flag->second = std::atof(argv[i + 1]);
  }
  return RUN_ALL_TESTS();
}
