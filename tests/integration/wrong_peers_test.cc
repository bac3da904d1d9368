// Goal: brokers that do not belong to a cluster, and what no broker would send, are refused with a sentence that says what to do,
// and the cluster goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/integration/cluster_processes.h"
#include "tests/support/tcp_socket.h"

namespace millrace {
namespace {

using testing::HasSubstr;

class WrongPeers : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(cluster_.Start()); }

  // The cluster takes records, all that there are come back, and nobody has died.
  void TearDown() override {
    if (HasFatalFailure()) return;
    ProduceAndConsume();
    for (int broker = 1; broker <= cluster_.size(); ++broker) EXPECT_TRUE(cluster_.at(broker).Runs()) << broker;
  }

  ClientOptions Client() {
    ClientOptions options;
    options.bootstrap_servers = cluster_.addresses();
    return options;
  }

  void Produce(int64_t records) {
    auto producer = Producer::Create({.client = Client()});
    ASSERT_TRUE(producer.ok()) << producer.status();
    for (int64_t i = 0; i < records; ++i) {
      ProducerRecord record;
      record.topic = "t";
      record.value = "v";
      ASSERT_TRUE((*producer)->Send(record).ok());
    }
    const absl::Status flushed = (*producer)->Flush();
    EXPECT_TRUE(flushed.ok()) << flushed;
  }

  void ProduceAndConsume() {
    auto admin = Admin::Create(Client());
    ASSERT_TRUE(admin.ok()) << admin.status();
    const auto created = (*admin)->CreateTopic({.name = "t", .partitions = 3, .if_not_exists = true});
    ASSERT_TRUE(created.ok()) << created.status();
    Produce(30);
    auto consumer = Consumer::Create({.client = Client()});
    ASSERT_TRUE(consumer.ok()) << consumer.status();
    const absl::Status assigned = (*consumer)->Assign({{.topic = "t", .until = Position::End()}});
    ASSERT_TRUE(assigned.ok()) << assigned;
    int read = 0;
    for (const auto& record : **consumer) read += record.value ? 1 : 0;
    EXPECT_EQ(read, 30);
  }

  void DeleteTopic() { ASSERT_TRUE(Admin::Create(Client()).value()->DeleteTopic("t").ok()); }

  // `--cluster` as these have it, but for broker 2, which is at `address`.
  std::string MembersWithTwoAt(const std::string& address) {
    std::vector<std::string> members;
    for (int id = 1; id <= cluster_.size(); ++id) {
      members.push_back(absl::StrCat(id, "@", id == 2 ? address : cluster_.at(id).address()));
    }
    return absl::StrJoin(members, ",");
  }

  std::string secret() { return (cluster_.at(1).directory() / "secret").string(); }

  // Starts what never becomes ready, and ends it once it has said this.
  void ExpectSays(BrokerProcess& broker, const std::string& sentence) {
    broker.Spawn();
    while (broker.ErrorOutput().find(sentence) == std::string::npos) {
      ASSERT_TRUE(broker.Runs()) << broker.ErrorOutput();
    }
    broker.Kill();
  }

  ClusterProcesses cluster_;
};

TEST_F(WrongPeers, ADiskThatIsNewUnderATakenNumber) {
  BrokerProcess other;
  other.AddArguments(
      {"--broker-id", "2", "--cluster", MembersWithTwoAt(other.address()), "--peer-secret-file", secret()});
  ExpectSays(other, "has broker 2 with another disk than this one");
}

TEST_F(WrongPeers, ACopyOfABrokersDirectoryWhileThatOneRuns) {
  BrokerProcess copy;
  ASSERT_EQ(cluster_.Stop(2), 0);
  std::filesystem::copy(cluster_.at(2).data_dir(), copy.data_dir(), std::filesystem::copy_options::recursive);
  ASSERT_NO_FATAL_FAILURE(cluster_.Start(2));
  copy.AddArguments(
      {"--broker-id", "2", "--cluster", MembersWithTwoAt(copy.address()), "--peer-secret-file", secret()});
  ExpectSays(copy, "another process is connected as broker 2: stop one of the two");
}

// As from a backup: what it has acked since, and has to vote for, is missing in it.
TEST_F(WrongPeers, AnOlderCopyOfABrokersDirectoryInItsPlace) {
  const std::filesystem::path backup = cluster_.at(2).directory() / "backup";
  ASSERT_EQ(cluster_.Stop(2), 0);
  std::filesystem::copy(cluster_.at(2).data_dir(), backup, std::filesystem::copy_options::recursive);
  ASSERT_NO_FATAL_FAILURE(cluster_.Start(2));
  ASSERT_NO_FATAL_FAILURE(ProduceAndConsume());
  ASSERT_EQ(cluster_.Stop(2), 0);
  const std::filesystem::path newest = cluster_.at(2).directory() / "newest";
  std::filesystem::rename(cluster_.at(2).data_dir(), newest);
  std::filesystem::rename(backup, cluster_.at(2).data_dir());
  cluster_.at(2).Spawn();
  EXPECT_EQ(cluster_.at(2).Wait(), 1);
  EXPECT_THAT(cluster_.at(2).ErrorOutput(),
              HasSubstr("the data directory of broker 2 is an older copy of what it was"));
  std::filesystem::remove_all(cluster_.at(2).data_dir());
  std::filesystem::rename(newest, cluster_.at(2).data_dir());
  ASSERT_NO_FATAL_FAILURE(cluster_.Start(2));
  ASSERT_NO_FATAL_FAILURE(DeleteTopic());
}

TEST_F(WrongPeers, ATakenNumberForWhoJoins) {
  BrokerProcess joining;
  joining.AddArguments({"--broker-id", "2", "--join", cluster_.at(1).address(), "--peer-secret-file", secret()});
  joining.Spawn();
  EXPECT_EQ(joining.Wait(), 1);
  EXPECT_THAT(joining.ErrorOutput(), HasSubstr("broker 2 is known with another disk"));
  EXPECT_THAT(joining.ErrorOutput(), HasSubstr("give the new broker another number"));
  EXPECT_THAT(joining.ErrorOutput(), HasSubstr("start the broker with an empty one and --join, without --broker-id"));
}

TEST_F(WrongPeers, AnotherSecret) {
  BrokerProcess joining;
  const std::filesystem::path file = joining.directory() / "other-secret";
  std::ofstream(file) << "a-secret-that-these-brokers-do-not-know\n";
  std::filesystem::permissions(file, std::filesystem::perms::owner_read);
  joining.AddArguments({"--join", cluster_.at(1).address(), "--peer-secret-file", file.string()});
  ExpectSays(joining, "brokers of this cluster share a secret");
}

// A cluster of its own that was formed with the same secret: the addresses were mixed up.
TEST_F(WrongPeers, ABrokerOfAnotherCluster) {
  BrokerProcess other;
  other.AddArguments({"--broker-id", "2", "--peer-secret-file", secret()});
  ASSERT_NO_FATAL_FAILURE(other.Start());
  EXPECT_EQ(other.Stop(), 0);
  other.AddArguments({"--cluster", MembersWithTwoAt(other.address())});
  other.Spawn();
  EXPECT_EQ(other.Wait(), 1);
  EXPECT_THAT(other.ErrorOutput(), HasSubstr("a cluster of this broker alone, but --cluster names 3 brokers"));
}

// As a member that is started with --join again, it would otherwise go on in its own.
TEST_F(WrongPeers, AMemberOfAnotherClusterThatIsToJoin) {
  BrokerProcess other;
  other.AddArguments({"--broker-id", "4", "--peer-secret-file", secret()});
  ASSERT_NO_FATAL_FAILURE(other.Start());
  EXPECT_EQ(other.Stop(), 0);
  other.AddArguments({"--join", cluster_.at(1).address()});
  other.Spawn();
  EXPECT_EQ(other.Wait(), 1);
  EXPECT_THAT(other.ErrorOutput(), HasSubstr("the data directory is that of broker 4 of cluster "));
  EXPECT_THAT(other.ErrorOutput(), HasSubstr("to join that one, give this broker an empty directory"));
}

TEST_F(WrongPeers, BytesThatAreNoProtocol) {
  std::mt19937_64 random(7);
  std::string noise(1 << 20, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  for (int broker = 1; broker <= cluster_.size(); ++broker) {
    const std::string& address = cluster_.at(broker).address();
    int port = 0;
    ASSERT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
    for (const std::string& beginning : {std::string(), std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}) {
      TcpSocket socket("127.0.0.1", static_cast<uint16_t>(port));
      ASSERT_TRUE(socket.connected());
      socket.SendSome(beginning + noise);
    }
  }
}

// What was on its way to the old one does not come into the new one, and the producer goes on there.
TEST_F(WrongPeers, ATopicThatIsDeletedAndMadeAnewWhileItIsProducedTo) {
  auto admin = Admin::Create(Client());
  ASSERT_TRUE(admin.ok()) << admin.status();
  const NewTopic topic{.name = "t", .partitions = 3};
  ASSERT_TRUE((*admin)->CreateTopic(topic).ok());
  auto producer = Producer::Create({.client = Client()});
  ASSERT_TRUE(producer.ok()) << producer.status();
  int stored = 0;  // since it was counted last
  const auto send = [&producer, &stored](const char* value, int records) {
    for (int i = 0; i < records; ++i) {
      ProducerRecord record;
      record.topic = "t";
      record.value = value;
      (*producer)
          ->Send(record, [&stored](const absl::StatusOr<RecordMetadata>& sent) { stored += sent.ok() ? 1 : 0; })
          .IgnoreError();
    }
    (*producer)->Flush().IgnoreError();
  };
  send("old", 1000);
  EXPECT_EQ(std::exchange(stored, 0), 1000);
  ASSERT_TRUE((*admin)->DeleteTopic("t").ok());
  const auto anew = (*admin)->CreateTopic(topic);
  ASSERT_TRUE(anew.ok()) << anew.status();
  // Until it has heard of the new one it is refused, and says so.
  while (stored == 0) send("new", 1);
  send("new", 29);
  EXPECT_EQ(stored, 30);

  auto consumer = Consumer::Create({.client = Client()});
  ASSERT_TRUE(consumer.ok()) << consumer.status();
  const absl::Status assigned = (*consumer)->Assign({{.topic = "t", .until = Position::End()}});
  ASSERT_TRUE(assigned.ok()) << assigned;
  int read = 0;
  for (const auto& record : **consumer) {
    EXPECT_EQ(record.value, "new");
    ++read;
  }
  EXPECT_EQ(read, 30);
  producer->reset();
  ASSERT_TRUE((*admin)->DeleteTopic("t").ok());
}

}  // namespace
}  // namespace millrace
