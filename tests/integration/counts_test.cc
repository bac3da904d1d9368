// Goal: thousands of partitions and of idle connections are nothing special. Times are printed, not judged.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>
#include <sys/resource.h>

#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "client/control.h"
#include "proto/wire/frames.h"
#include "tests/integration/broker_process.h"
#include "tests/support/http_get.h"
#include "tests/support/raw_call.h"

namespace millrace {
namespace {

ClientOptions ClientOf(const BrokerProcess& broker) {
  ClientOptions client;
  client.bootstrap_servers = broker.address();
  return client;
}

// Kilobytes of its memory, which it prints.
int64_t Report(const std::string& what, const BrokerProcess& broker) {
  std::ifstream status("/proc/" + std::to_string(broker.pid()) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("VmRSS:")) continue;
    std::cout << what << ": " << line << '\n';
    return std::stoll(line.substr(line.find(':') + 1));
  }
  return -1;
}

void CreateTopic(Admin& admin, const std::string& name, int32_t partitions) {
  auto created = admin.CreateTopic({.name = name, .partitions = partitions, .config = {{"flush", "async"}}});
  ASSERT_TRUE(created.ok()) << created.status();
}

// A record to each of the partitions, found by a reader of all of them.
void WriteAndReadEach(const ClientOptions& client, const std::string& topic, int32_t partitions) {
  auto producer = Producer::Create({.client = client}).value();
  for (int32_t p = 0; p < partitions; ++p) {
    ASSERT_TRUE(producer->Send({.topic = topic, .partition = p, .value = std::to_string(p)}).ok());
  }
  const absl::Status stored = producer->Close();
  ASSERT_TRUE(stored.ok()) << stored;
  auto consumer = Consumer::Create({.client = client}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = topic, .until = Position::End()}}).ok());
  std::vector<bool> found(static_cast<size_t>(partitions));
  for (const ConsumerRecord& record : *consumer) {
    EXPECT_EQ(*record.value, std::to_string(record.partition));
    found[static_cast<size_t>(record.partition)] = true;
  }
  EXPECT_TRUE(consumer->status().ok()) << consumer->status();
  EXPECT_THAT(found, testing::Each(true));
}

TEST(Counts, TenThousandPartitionsOverKillsAndADeletion) {
  constexpr int32_t kPartitions = 10'000;
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  auto admin = Admin::Create(ClientOf(broker)).value();
  ASSERT_NO_FATAL_FAILURE(CreateTopic(*admin, "many", kPartitions));
  ASSERT_NO_FATAL_FAILURE(CreateTopic(*admin, "few", 1));
  ASSERT_NO_FATAL_FAILURE(WriteAndReadEach(ClientOf(broker), "many", kPartitions));
  Report("10,000 partitions in use", broker);

  broker.Kill();
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  std::cout << "after kill -9: " << broker.ready_line() << '\n';
  const int64_t idle_kilobytes = Report("10,000 partitions, idle", broker);
#ifndef __SANITIZE_ADDRESS__
  EXPECT_LE(idle_kilobytes, 200'000);
#endif
  EXPECT_GT(idle_kilobytes, 0);
  ASSERT_NO_FATAL_FAILURE(WriteAndReadEach(ClientOf(broker), "few", 1));

  // Whatever of it the kill cuts short, the next start finishes.
  const absl::Status removed = admin->DeleteTopic("many");
  ASSERT_TRUE(removed.ok()) << removed;
  broker.Kill();
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  std::cout << "after kill -9 in a deletion: " << broker.ready_line() << '\n';
  EXPECT_EQ(admin->ListTopics().value().size(), 1u);
  ASSERT_NO_FATAL_FAILURE(CreateTopic(*admin, "many", kPartitions));
  ASSERT_NO_FATAL_FAILURE(WriteAndReadEach(ClientOf(broker), "few", 1));
  EXPECT_EQ(broker.Stop(), 0);
}

int OpenCalls(const BrokerProcess& broker) {
  const std::string metrics = HttpGet(broker.http_address(), "/metrics");
  const std::string name = "\nmillrace_calls_open ";
  const size_t at = metrics.find(name);
  return at == std::string::npos ? -1 : std::stoi(metrics.substr(at + name.size()));
}

TEST(Counts, TwoThousandConnectionsEachWithAFetchStream) {
  constexpr int kConnections = 2'000;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  ASSERT_GE(files.rlim_cur, 2 * kConnections) << "this needs a higher hard limit of open files (ulimit -Hn)";

  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  auto admin = Admin::Create(ClientOf(broker)).value();
  ASSERT_NO_FATAL_FAILURE(CreateTopic(*admin, "followed", 1));
  ASSERT_NO_FATAL_FAILURE(CreateTopic(*admin, "other", 1));
  FetchRequestFrame request;
  request.credit = 1 << 20;
  request.subscribe.push_back({.id = 1, .topic = "followed"});
  std::vector<std::unique_ptr<RawCall>> calls;
  for (int i = 0; i < kConnections; ++i) {
    calls.push_back(std::make_unique<RawCall>(broker.address(), client::control::kFetch));
    calls.back()->Send(SerializeFetchRequest(request));
  }
  while (OpenCalls(broker) < kConnections) ASSERT_TRUE(broker.Runs());
  Report("2,000 connections with a Fetch stream each", broker);
  ASSERT_NO_FATAL_FAILURE(WriteAndReadEach(ClientOf(broker), "other", 1));
  ASSERT_NO_FATAL_FAILURE(WriteAndReadEach(ClientOf(broker), "followed", 1));
  calls.clear();
  while (OpenCalls(broker) >= kConnections) ASSERT_TRUE(broker.Runs());
  EXPECT_EQ(broker.Stop(), 0) << broker.ErrorOutput();
}

}  // namespace
}  // namespace millrace
