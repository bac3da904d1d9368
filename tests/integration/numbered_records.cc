#include "tests/integration/numbered_records.h"

#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>

#include <map>
#include <utility>

namespace millrace {
namespace {

ClientOptions To(const std::string& addresses) {
  ClientOptions options;
  options.bootstrap_servers = addresses;
  return options;
}

}  // namespace

void NumberedRecords::Create(const std::string& addresses) const {
  auto admin = Admin::Create(To(addresses));
  ASSERT_TRUE(admin.ok()) << admin.status();
  const auto created = (*admin)->CreateTopic({.name = kTopic, .partitions = partitions_});
  ASSERT_TRUE(created.ok()) << created.status();
}

void NumberedRecords::Connect(const std::string& addresses) {
  auto producer = Producer::Create({.client = To(addresses)});
  ASSERT_TRUE(producer.ok()) << producer.status();
  producer_ = *std::move(producer);
}

void NumberedRecords::Send(int records) {
  for (int i = 0; i < records; ++i) {
    const std::string value = std::to_string(sent_++);
    for (int32_t partition = 0; partition < partitions_; ++partition) {
      ProducerRecord record;
      record.topic = kTopic;
      record.partition = partition;
      record.value = value;
      ASSERT_TRUE(producer_->Send(record).ok());
    }
  }
}

void NumberedRecords::Flush() {
  const absl::Status flushed = producer_->Flush();
  ASSERT_TRUE(flushed.ok()) << flushed;
}

void NumberedRecords::ExpectAll(const std::string& addresses) const {
  auto consumer = Consumer::Create({.client = To(addresses)});
  ASSERT_TRUE(consumer.ok()) << consumer.status();
  const absl::Status assigned = (*consumer)->Assign({{.topic = kTopic, .until = Position::End()}});
  ASSERT_TRUE(assigned.ok()) << assigned;
  std::map<int32_t, int> next;
  for (const auto& record : **consumer) {
    ASSERT_EQ(*record.value, std::to_string(next[record.partition]++)) << "partition " << record.partition;
  }
  for (int32_t partition = 0; partition < partitions_; ++partition) {
    EXPECT_EQ(next[partition], sent_) << "partition " << partition;
  }
}

}  // namespace millrace
