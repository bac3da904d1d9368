// Goal: a disk that fails a sync ends the broker with a sentence, and a supervisor that starts it again at once loses nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "tests/integration/broker_process.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(FailedSync, EndsTheBrokerWith3AndTheNextStartHasAllThatWasAcked) {
  constexpr int kRecords = 100;
  const std::string flag = std::filesystem::temp_directory_path() / ("millrace-fail-sync-" + std::to_string(getpid()));
  BrokerProcess broker({.environment = {{"LD_PRELOAD", SYNC_FAULT_LIBRARY}, {"SYNC_FAULT_FLAG", flag}}});
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ClientOptions client;
  client.bootstrap_servers = broker.address();
  ASSERT_TRUE(Admin::Create(client).value()->CreateTopic({.name = "t", .config = {{"flush", "commit"}}}).ok());
  const auto producer = Producer::Create({.client = client}).value();
  for (int i = 0; i < kRecords; ++i) ASSERT_TRUE(producer->Send({.topic = "t", .value = std::to_string(i)}).ok());
  ASSERT_TRUE(producer->Flush().ok());

  std::ofstream(flag).close();
  for (int i = 0; i < kRecords; ++i) {
    ASSERT_TRUE(producer->Send({.topic = "t", .value = std::to_string(kRecords + i)}).ok());
  }
  EXPECT_EQ(broker.Wait(), 3);
  EXPECT_FALSE(std::filesystem::exists(flag));
  EXPECT_THAT(broker.ErrorOutput(), AllOf(HasSubstr(broker.data_dir()), HasSubstr("the broker must stop")));

  ASSERT_NO_FATAL_FAILURE(broker.Start());
  const absl::Status stored = producer->Close();  // what was not acked is sent again
  ASSERT_TRUE(stored.ok()) << stored;
  auto consumer = Consumer::Create({.client = client}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = "t", .until = Position::End()}}).ok());
  int next = 0;
  for (const ConsumerRecord& record : *consumer) EXPECT_EQ(*record.value, std::to_string(next++));
  EXPECT_EQ(next, 2 * kRecords);
  EXPECT_EQ(broker.Stop(), 0);
}

}  // namespace
}  // namespace millrace
