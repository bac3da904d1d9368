// Goal: a topic that takes many times what its retention keeps does not grow the disk, over a kill -9, and what is kept is what
// was sent.
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>

#include <filesystem>
#include <iostream>
#include <string>

#include "tests/integration/broker_process.h"

namespace millrace {
namespace {

constexpr int32_t kPartitions = 2;
constexpr int64_t kKept = 8 << 20;  // of each partition
constexpr int64_t kRecordBytes = 10'000;
constexpr int64_t kRecords = 60'000;  // many times what is kept
// Of other files, and what the oldest WAL file kept holds of removed entries: it is as large as a third of the store's memory.
constexpr int64_t kSlack = 100 << 20;

std::string ValueOf(int64_t number) {
  std::string value = std::to_string(number) + ' ';
  value.resize(kRecordBytes, static_cast<char>('a' + number % 26));
  return value;
}

// What the files occupy; those that go away meanwhile do not count.
int64_t BytesOnDisk(const std::string& directory) {
  int64_t bytes = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(directory)) {
    std::error_code gone;
    const auto size = file.file_size(gone);
    if (!gone) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

class RetentionOnDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(broker_.Start());
    client_.bootstrap_servers = broker_.address();
    auto created = Admin::Create(client_).value()->CreateTopic(
        {.name = "t",
         .partitions = kPartitions,
         .config = {{"flush", "async"}, {"retention.bytes", std::to_string(kKept)}}});
    ASSERT_TRUE(created.ok()) << created.status();
  }

  void Produce(int64_t first, int64_t end) {
    auto producer = Producer::Create({.client = client_}).value();
    for (int64_t i = first; i < end; ++i) {
      ASSERT_TRUE(
          producer->Send({.topic = "t", .partition = static_cast<int32_t>(i % kPartitions), .value = ValueOf(i)}).ok());
    }
    const absl::Status stored = producer->Close();
    ASSERT_TRUE(stored.ok()) << stored;
  }

  int64_t LogStart(int32_t partition) {
    auto topic = Admin::Create(client_).value()->DescribeTopic("t");
    EXPECT_TRUE(topic.ok()) << topic.status();
    return topic.ok() ? topic->partitions.at(static_cast<size_t>(partition)).log_start_offset : -1;
  }

  // All there is: without a hole from some offset of each partition to its end, and no less than is to be kept.
  void ExpectTheNewest(int64_t records) {
    auto consumer = Consumer::Create({.client = client_}).value();
    ASSERT_TRUE(consumer->Assign({{.topic = "t", .from = Position::Beginning(), .until = Position::End()}}).ok());
    std::vector<int64_t> next(kPartitions, -1);
    int64_t found = 0;
    for (const ConsumerRecord& record : *consumer) {
      int64_t& expected = next[static_cast<size_t>(record.partition)];
      ASSERT_TRUE(expected < 0 || record.offset == expected);
      expected = record.offset + 1;
      ASSERT_EQ(*record.value, ValueOf(record.offset * kPartitions + record.partition));
      ++found;
    }
    EXPECT_TRUE(consumer->status().ok()) << consumer->status();
    EXPECT_EQ(next, std::vector<int64_t>(kPartitions, records / kPartitions));
    EXPECT_GE(found * kRecordBytes, kPartitions * kKept - kPartitions * kRecordBytes);
  }

  BrokerProcess broker_;
  ClientOptions client_;
};

TEST_F(RetentionOnDisk, ComesDownToWhatIsKept) {
  ASSERT_NO_FATAL_FAILURE(Produce(0, kRecords / 2));
  const int64_t start = LogStart(0);
  broker_.Kill();
  ASSERT_NO_FATAL_FAILURE(broker_.Start());
  EXPECT_GE(LogStart(0), start);
  ASSERT_NO_FATAL_FAILURE(Produce(kRecords / 2, kRecords));
  std::cout << "right after producing: " << (BytesOnDisk(broker_.data_dir()) >> 20) << " MiB\n";

  // Now and then a look, until the disk has come down; the test's time-out ends it if it does not.
  auto consumer = Consumer::Create({.client = client_}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = "t", .from = Position::End()}}).ok());
  constexpr int64_t kMost = kPartitions * kKept * 12 / 10 + kSlack;
  while (BytesOnDisk(broker_.data_dir()) > kMost) ASSERT_TRUE(consumer->Poll(std::chrono::milliseconds(200)).ok());
  std::cout << "in the end: " << (BytesOnDisk(broker_.data_dir()) >> 20) << " MiB, of which may stay "
            << (kPartitions * kKept >> 20) << " MiB\n";
  EXPECT_GT(LogStart(0), kRecords / kPartitions / 2);
  ASSERT_NO_FATAL_FAILURE(ExpectTheNewest(kRecords));
  EXPECT_EQ(broker_.Stop(), 0) << broker_.ErrorOutput();
}

}  // namespace
}  // namespace millrace
