// Goal: on a disk that fills up the broker refuses records before it is full, goes on with everything else, and takes records
// again by itself once there is room.
//
// Method: a small file system of its own, in memory, that this test alone sees; a producer that fills it and keeps trying.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>

#include "tests/integration/broker_process.h"

namespace millrace {
namespace {

constexpr char kTopic[] = "filling";

// What fills the disk, so many times.
struct Load {
  int fills;
  size_t record_bytes;
  int64_t batch_size;
  int disk_mib;
  int64_t records_min;
};

// The broker's data directory is a file system of its own, in a mount namespace that this test and the broker are alone in.
class SmallDisk {
 public:
  explicit SmallDisk(const BrokerProcess& broker) : path_(broker.data_dir()) {}
  ~SmallDisk() { umount2(path_.c_str(), MNT_DETACH); }

  void Mount(int mib) {
    ASSERT_EQ(unshare(CLONE_NEWNS), 0) << std::strerror(errno);
    // Below a chroot the root is no mount point; what is mounted may then be seen outside, and goes with this object, too.
    const bool is_private = mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    ASSERT_TRUE(is_private || errno == EINVAL) << std::strerror(errno);
    ASSERT_EQ(mkdir(path_.c_str(), 0700), 0) << std::strerror(errno);
    const std::string size = "size=" + std::to_string(mib) + "m";
    ASSERT_EQ(mount("tmpfs", path_.c_str(), "tmpfs", 0, size.c_str()), 0) << std::strerror(errno);
  }

 private:
  const std::string path_;
};

ClientOptions ClientFor(const BrokerProcess& broker) {
  ClientOptions options;
  options.bootstrap_servers = broker.address();
  return options;
}

class Writer {
 public:
  Writer(const BrokerProcess& broker, const Load& load) : record_bytes_(load.record_bytes) {
    ProducerOptions options;
    options.client = ClientFor(broker);
    options.batch_size = load.batch_size;
    options.buffer_memory = 1 << 20;
    auto producer = Producer::Create(options);
    EXPECT_TRUE(producer.ok()) << producer.status();
    producer_ = std::move(*producer);
    thread_ = std::thread([this] { Run(); });
  }
  // How many were sent, and so acked.
  int64_t Stop() {
    stopping_ = true;
    thread_.join();
    EXPECT_TRUE(producer_->Close().ok());
    std::lock_guard lock(mutex_);
    EXPECT_EQ(failure_, "");
    EXPECT_EQ(acked_, sent_);
    return acked_;
  }
  int64_t acked() {
    std::lock_guard lock(mutex_);
    return acked_;
  }
  void WaitForAcks(int64_t count) {
    std::unique_lock lock(mutex_);
    const int64_t target = acked_ + count;
    changed_.wait(lock, [&] { return acked_ >= target || !failure_.empty(); });
  }

 private:
  // A few go to another one, which is never trimmed: some of it lies in each file.
  static int32_t PartitionOf(int64_t record) { return record % 64 == 0 ? 1 : 0; }

  void Run() {
    const std::string value(record_bytes_, 'v');
    while (!stopping_) {
      ++sent_;
      absl::Status taken = producer_->Send(
          {.topic = kTopic, .partition = PartitionOf(sent_), .value = value}, [this](const auto& outcome) {
            std::lock_guard lock(mutex_);
            outcome.ok() ? void(++acked_) : void(failure_ = outcome.status().ToString());
            changed_.notify_one();
          });
      if (taken.ok()) continue;
      --sent_;  // buffer.memory stayed full: the disk is
    }
  }

  const size_t record_bytes_;
  std::unique_ptr<Producer> producer_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> sent_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t acked_ = 0;    // guarded by mutex_
  std::string failure_;  // guarded by mutex_
  std::thread thread_;
};

void Await(Admin& admin, bool disk_full) {
  for (;;) {
    auto cluster = admin.DescribeCluster();
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    if (cluster->brokers.at(0).disk_full == disk_full) return;
  }
}

void FillAndTrim(const Load& load) {
  BrokerProcess broker({.arguments = {"--set", "disk.free.floor=100MiB", "--set", "memory.limit=128MiB"}});
  SmallDisk disk(broker);
  ASSERT_NO_FATAL_FAILURE(disk.Mount(load.disk_mib));
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  auto admin = Admin::Create(ClientFor(broker));
  ASSERT_TRUE(admin.ok()) << admin.status();
  ASSERT_TRUE((*admin)->CreateTopic({.name = kTopic, .partitions = 2, .config = {{"segment.bytes", "1MiB"}}}).ok());

  Writer writer(broker, load);
  for (int times = 0; times < load.fills; ++times) {
    ASSERT_NO_FATAL_FAILURE(Await(**admin, true));
    // Topics come and go meanwhile, and what was acked is read.
    ASSERT_TRUE((*admin)->CreateTopic({.name = "other", .partitions = 3}).ok());
    ASSERT_TRUE((*admin)->DeleteTopic("other").ok());
    const int64_t acked = writer.acked();
    ConsumerOptions options;
    options.client = ClientFor(broker);
    auto consumer = Consumer::Create(options);
    ASSERT_TRUE((*consumer)->Assign({{.topic = kTopic, .from = Position::Beginning(), .until = Position::End()}}).ok());
    int64_t ends[2] = {};
    for (const ConsumerRecord& record : **consumer) {
      ASSERT_EQ(record.value->size(), load.record_bytes);
      ends[record.partition] = record.offset + 1;
    }
    ASSERT_TRUE((*consumer)->status().ok()) << (*consumer)->status();
    EXPECT_GE(ends[0] + ends[1], acked);
    ASSERT_TRUE((*admin)->TrimPartition({kTopic, 0}, std::nullopt).ok());
    ASSERT_NO_FATAL_FAILURE(Await(**admin, false));
    writer.WaitForAcks(100);
    ASSERT_TRUE(broker.Runs()) << broker.ErrorOutput();
  }
  EXPECT_GT(writer.Stop(), load.records_min);
  EXPECT_EQ(broker.Stop(), 0) << broker.ErrorOutput();
}

TEST(FullDisk, RecordsAreRefusedBeforeItIsFullAndTakenAgainWhenThereIsRoom) {
  FillAndTrim({.fills = 3, .record_bytes = 100'000, .batch_size = 256 << 10, .disk_mib = 400, .records_min = 3000});
}

// Two do not fit into a batch, and a batch of one is too small to be left in the write-ahead log: all lie in tables, which is what a
// compaction rewrites.
TEST(FullDisk, SmallRecordsAreTakenAgainToo) {
  FillAndTrim({.fills = 2, .record_bytes = 600, .batch_size = 1 << 10, .disk_mib = 200, .records_min = 50'000});
}

}  // namespace
}  // namespace millrace
