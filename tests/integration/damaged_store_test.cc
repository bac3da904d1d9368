// A broker ends with 3 and says where when what all its partitions share is damaged: its write-ahead log below what was acked, or a
// table that a compaction meets. It goes on once that is mended. A torn tail does not hold it up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/integration/cluster_processes.h"

namespace millrace {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kRecords = 50;

std::string NewestWal(const std::string& directory) {
  std::string newest;
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    if (file.path().extension() == ".log") newest = std::max(newest, file.path().string());
  }
  return newest;
}

std::string LargestFile(const std::string& directory, const std::string& extension) {
  std::filesystem::directory_entry largest;
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    const bool larger = largest.path().empty() || file.file_size() > largest.file_size();
    if (file.path().extension() == extension && larger) largest = file;
  }
  return largest.path();
}

void FlipByte(const std::string& path, std::streamoff at) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(at);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(at);
  file.put(byte);
}

// One of the file's middle records, not what lies around it.
std::streamoff InARecord(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  return static_cast<std::streamoff>(content.find(std::string(5'000, 'x'), content.size() / 2) + 2'500);
}

// Each record is acked, so synced, before the next is sent.
void Produce(const ClientOptions& client, const std::string& topic, size_t bytes) {
  auto producer = Producer::Create({.client = client}).value();
  for (int i = 0; i < kRecords; ++i) {
    ASSERT_TRUE(producer->Send({.topic = topic, .value = std::string(bytes, 'x')}).ok());
    ASSERT_TRUE(producer->Flush().ok());
  }
}

TEST(DamagedWal, EndsTheBrokerWith3UntilItIsMended) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ClientOptions client;
  client.bootstrap_servers = broker.address();
  auto created = Admin::Create(client).value()->CreateTopic({.name = "t"});
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_NO_FATAL_FAILURE(Produce(client, "t", 10'000));
  broker.Kill();

  const std::string wal = NewestWal(broker.data_dir());
  const auto middle = static_cast<std::streamoff>(std::filesystem::file_size(wal) / 2);
  FlipByte(wal, middle);
  for (int start = 0; start < 2; ++start) {
    const Exit exit = RunBroker({"--data-dir", broker.data_dir(), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"});
    EXPECT_EQ(exit.code, 3) << exit.error;
    EXPECT_THAT(exit.error, AllOf(HasSubstr(wal), HasSubstr("cannot be read at offset"), HasSubstr("of any partition"),
                                  HasSubstr("millrace inspect " + broker.data_dir()), HasSubstr("backup")));
  }
  FlipByte(wal, middle);
  std::ofstream(wal, std::ios::binary | std::ios::app) << "what a crash may leave behind the last record";
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  const auto topic = Admin::Create(client).value()->DescribeTopic("t");
  ASSERT_TRUE(topic.ok()) << topic.status();
  int64_t records = 0;
  for (const auto& partition : topic->partitions) records += partition.log_end_offset;
  EXPECT_EQ(records, kRecords);
  EXPECT_EQ(broker.Stop(), 0);
}

// What was cut off may have been synced and read, if it was damaged: its readers have to learn that other records come there.
TEST(CutWal, RaisesTheLeaderEpoch) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ClientOptions client;
  client.bootstrap_servers = broker.address();
  const auto admin = Admin::Create(client).value();
  ASSERT_TRUE(admin->CreateTopic({.name = "t", .partitions = 1}).ok());
  const auto epoch = [&] { return admin->DescribeTopic("t").value().partitions[0].leader_epoch; };
  const int32_t first = epoch();
  ASSERT_NO_FATAL_FAILURE(Produce(client, "t", 100));
  broker.Kill();
  std::ofstream(NewestWal(broker.data_dir()), std::ios::binary | std::ios::app) << "what a crash may leave behind";
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_GT(epoch(), first);
  EXPECT_EQ(broker.Stop(), 0);
}

// A reader that checks nothing is told, too, and so is whoever reads the log.
// The cluster's metadata as well: with a broker that knew nothing of it the other would elect a controller without what was acked,
// and whoever has the records would be told that their topic is gone.
TEST(CutWal, OfABrokerOfAClusterKeepsAControllerFromForgettingATopic) {
  ClusterProcesses cluster;
  ASSERT_NO_FATAL_FAILURE(cluster.Start());
  const int away = 3;
  cluster.Kill(away);
  ClientOptions client;
  client.bootstrap_servers = cluster.addresses();
  auto admin = Admin::Create(client).value();
  const auto created = admin->CreateTopic({.name = "t", .replication_factor = 1});
  ASSERT_TRUE(created.ok()) << created.status();
  auto producer = Producer::Create({.client = client}).value();
  const auto stored = producer->SendAndWait({.topic = "t", .value = "v"});
  ASSERT_TRUE(stored.ok()) << stored.status();
  const int has_it = admin->DescribeTopic("t").value().partitions.front().leader;
  const int cut = 3 - has_it;
  cluster.Kill(cut);
  cluster.Kill(has_it);

  const std::string wal = NewestWal(cluster.at(cut).data_dir());
  FlipByte(wal, static_cast<std::streamoff>(std::filesystem::file_size(wal)) - 1);
  cluster.at(cut).Spawn();
  cluster.at(away).Spawn();
  // The two have come to know each other by then, and would have elected one.
  while (cluster.at(cut).ErrorOutput().find("not ready yet") == std::string::npos) {
    ASSERT_TRUE(cluster.at(cut).Runs());
    const std::string log = cluster.at(cut).ErrorOutput();
    ASSERT_EQ(log.find("msg=started"), log.rfind("msg=started")) << "ready without the third";
  }
  cluster.at(has_it).Spawn();
  for (int broker : {1, 2, 3}) ASSERT_NO_FATAL_FAILURE(cluster.at(broker).AwaitReady());
  auto consumer = Consumer::Create({.client = client}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = "t", .until = Position::End()}}).ok());
  int read = 0;
  for (const auto& record : *consumer) read += record.value ? 1 : 0;
  EXPECT_EQ(read, 1);
}

TEST(DamagedPayload, IsNeverServed) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ClientOptions client;
  client.bootstrap_servers = broker.address();
  ASSERT_TRUE(Admin::Create(client).value()->CreateTopic({.name = "t", .partitions = 1}).ok());
  ASSERT_NO_FATAL_FAILURE(Produce(client, "t", 10'000));
  ASSERT_EQ(broker.Stop(), 0);
  const std::string file = LargestFile(broker.data_dir(), ".payloads");
  FlipByte(file, InARecord(file));
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  auto consumer = Consumer::Create({.client = client, .on_gap = OnGap::kReport, .check_crcs = false}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = "t", .from = Position::Beginning(), .until = Position::End()}}).ok());
  int records = 0;
  for (const ConsumerRecord& record : *consumer) {
    ASSERT_EQ(*record.value, std::string(10'000, 'x'));
    ++records;
  }
  EXPECT_EQ(records, kRecords - 1);
  EXPECT_THAT(broker.ErrorOutput(), HasSubstr("its payload does not match its checksum"));
  EXPECT_EQ(broker.Stop(), 0);
}

// Small records lie in tables. A topic that was removed has them compacted, soon after the next start.
TEST(DamagedTable, EndsTheBrokerWith3OnceACompactionMeetsItAndAtOnceFromThenOn) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ClientOptions client;
  client.bootstrap_servers = broker.address();
  const auto admin = Admin::Create(client).value();
  for (const char* topic : {"kept", "gone"}) {
    ASSERT_TRUE(admin->CreateTopic({.name = topic, .partitions = 1}).ok());
    ASSERT_NO_FATAL_FAILURE(Produce(client, topic, 900));
  }
  ASSERT_EQ(broker.Stop(), 0);  // flushes
  const std::string table = LargestFile(broker.data_dir(), ".sst");
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ASSERT_TRUE(admin->DeleteTopic("gone").ok());
  broker.Kill();

  FlipByte(table, static_cast<std::streamoff>(std::filesystem::file_size(table) / 4));
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_EQ(broker.Wait(), 3);
  EXPECT_THAT(broker.ErrorOutput(),
              AllOf(HasSubstr(table), HasSubstr("parts of "), HasSubstr("-0"), HasSubstr("millrace inspect ")));
  const Exit again = RunBroker({"--data-dir", broker.data_dir(), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"});
  EXPECT_EQ(again.code, 3);
  EXPECT_THAT(again.error, AllOf(HasSubstr(table), HasSubstr("DAMAGED")));

  FlipByte(table, static_cast<std::streamoff>(std::filesystem::file_size(table) / 4));  // the copy from a backup
  std::filesystem::remove(broker.data_dir() + "/DAMAGED");
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  const auto topic = admin->DescribeTopic("kept");
  ASSERT_TRUE(topic.ok()) << topic.status();
  EXPECT_EQ(topic->partitions[0].log_end_offset, kRecords);
  EXPECT_EQ(broker.Stop(), 0);
}

}  // namespace
}  // namespace millrace
