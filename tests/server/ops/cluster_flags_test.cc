#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "server/config.h"
#include "server/secret_file.h"
#include "tests/server/ops/command_line.h"
#include "tests/support/temp_dir.h"

namespace millrace::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::StartsWith;
namespace fs = std::filesystem;

constexpr const char* kSecret = "0123456789abcdef";

class ClusterFlags : public ::testing::Test {
 protected:
  std::string SecretFile(const std::string& text, fs::perms permissions = fs::perms::owner_read) {
    const std::string path = dir_.Write("secret" + std::to_string(++files_), text);
    fs::permissions(path, permissions);
    return path;
  }

  // With a secret.
  std::vector<std::string> With(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--peer-secret-file", SecretFile(kSecret)});
    return arguments;
  }

  TempDir dir_;
  int files_ = 0;
};

TEST_F(ClusterFlags, TakeTheBrokersNumberOrTheOneInTheHostsName) {
  EXPECT_EQ(Accepted({"--broker-id", "0"}).broker_id, 0);
  EXPECT_EQ(Accepted({"--broker-id", "2147483647"}).broker_id, 2147483647);
  Host host = TestHost();
  EXPECT_EQ(Accepted({"--broker-id", "hostname"}, host).broker_id, 7);
  host.name = "millrace-0";
  EXPECT_EQ(Accepted({"--broker-id", "hostname"}, host).broker_id, 0);
  host.name = "42";
  EXPECT_EQ(Accepted({"--broker-id", "hostname"}, host).broker_id, 42);
  for (const char* name : {"millrace", "a1b", "b99999999999", "db.2"}) {
    host.name = name;
    EXPECT_EQ(ErrorOf({"--broker-id", "hostname"}, host),
              "--broker-id: the host's name \"" + host.name +
                  "\" does not end in a number from 0 to 2147483647; give the number itself");
  }
  for (const char* id : {"-1", "2147483648", "one", ""}) {
    EXPECT_EQ(ErrorOf({std::string("--broker-id=") + id}),
              id == std::string() ? "--broker-id: 1 required N|hostname missing"
                                  : "--broker-id: \"" + std::string(id) +
                                        "\" is not accepted; accepted: a number from 0 to 2147483647, or hostname");
  }
}

TEST_F(ClusterFlags, NameAClusterOfThisBrokerOnly) {
  EXPECT_EQ(Accepted({"--cluster", "1@127.0.0.1"}).broker_id, 1);
  EXPECT_EQ(Accepted({"--cluster", "5@localhost:9470"}).broker_id, 5);
  EXPECT_EQ(Accepted({"--cluster", "0@[::1]:70", "--listen", "[::1]:70", "--broker-id", "0"}).broker_id, 0);
  EXPECT_EQ(ErrorOf({"--cluster", "5@localhost", "--broker-id", "4"}),
            "--cluster: does not name broker 4, which this is by --broker-id");
  EXPECT_EQ(ErrorOf({"--cluster", "1@a:1"}),
            "--cluster: names a:1, but this broker is at 127.0.0.1:9470; the ports have to agree");
}

TEST_F(ClusterFlags, NameTheBrokersThatFormACluster) {
  const Config config = Accepted(With({"--cluster", "3@c,1@a:7000,2@[::1]", "--broker-id", "2"}));
  EXPECT_THAT(config.cluster,
              ElementsAre(Pair(1, HostPort{"a", 7000}), Pair(2, HostPort{"::1", 9470}), Pair(3, HostPort{"c", 9470})));
  EXPECT_EQ(config.broker_id, 2);
  EXPECT_EQ(config.peer_secret, kSecret);
}

TEST_F(ClusterFlags, FindThisBrokerInTheListByItsAddress) {
  const std::string cluster = "1@127.0.0.1:7000,2@127.0.0.1:7001,3@c:7001";
  EXPECT_EQ(Accepted(With({"--cluster", cluster, "--listen", "127.0.0.1:7001"})).broker_id, 2);
  EXPECT_EQ(Accepted(With({"--cluster", cluster, "--listen", "0.0.0.0:7001", "--advertise", "c"})).broker_id, 3);
  EXPECT_EQ(ErrorOf(With({"--cluster", cluster})),
            "--cluster: names no broker at 127.0.0.1:9470, where this one is; --broker-id tells which of them it is");
}

// What clients are told may lead through another port.
TEST_F(ClusterFlags, NameThePortThatThisBrokerListensOnOrAdvertises) {
  for (const char* port : {"7000", "8000"}) {
    EXPECT_EQ(Accepted(With({"--cluster", std::string("1@x:") + port + ",2@y", "--broker-id", "1", "--listen",
                             "0.0.0.0:7000", "--advertise", "public:8000"}))
                  .broker_id,
              1);
  }
  EXPECT_THAT(ErrorOf(With({"--cluster", "1@x:9000,2@y", "--broker-id", "1"})), HasSubstr("the ports have to agree"));
}

TEST_F(ClusterFlags, RefuseAListThatCannotBe) {
  EXPECT_EQ(ErrorOf({"--cluster", "1@a,1@b"}), "--cluster: broker 1 is named twice");
  EXPECT_EQ(ErrorOf({"--cluster", "1@a,2@a:9470"}), "--cluster: a:9470 is named twice");
  EXPECT_EQ(ErrorOf({"--cluster", "1@a,2@b,3@c,4@d,5@e,6@f", "--broker-id", "1"}),
            "--cluster: names 6 brokers; at most 5 form a cluster, and the others join it (--join)");
  EXPECT_EQ(ErrorOf({"--cluster", "1@a,2@b", "--broker-id", "3"}),
            "--cluster: does not name broker 3, which this is by --broker-id");
  EXPECT_EQ(ErrorOf({"--cluster", "1@a:0"}),
            "--cluster: \"a:0\" is not accepted; accepted: a port that others can connect to");
  for (const char* list : {"a:9470", "x@a", "-1@a", "1@a,", "", "1@a,,2@b"}) {
    EXPECT_THAT(ErrorOf({std::string("--cluster=") + list}), StartsWith("--cluster: ")) << list;
  }
  EXPECT_THAT(ErrorOf({"--cluster", "1@a,"}),
              HasSubstr("is not accepted; accepted: ID@HOST[:PORT] of each broker, separated by commas"));
}

TEST_F(ClusterFlags, NameBrokersToJoinThrough) {
  const Config config = Accepted(With({"--join", "a,[::1]:7000"}));
  EXPECT_THAT(config.join, ElementsAre(HostPort{"a", 9470}, HostPort{"::1", 7000}));
  EXPECT_EQ(config.broker_id, std::nullopt) << "the cluster gives one";
  EXPECT_EQ(Accepted(With({"--join", "a", "--broker-id", "9"})).broker_id, 9);
  EXPECT_EQ(ErrorOf(With({"--join", "a,a:9470"})), "--join: a:9470 is named twice");
  EXPECT_EQ(ErrorOf(With({"--join", "a", "--cluster", "1@127.0.0.1"})),
            "--join: a broker either forms a cluster with others (--cluster) or joins one; leave one out");
  EXPECT_THAT(ErrorOf(With({"--join", "a,"})), StartsWith("--join: \"\" names no host"));
}

TEST_F(ClusterFlags, NeedASecretWhereThereAreOtherBrokers) {
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{"--join", "a"}, {"--cluster", "1@127.0.0.1,2@b"}}) {
    EXPECT_EQ(ErrorOf(flags), flags[0] +
                                  ": the brokers of a cluster recognise each other by a secret; give each the same "
                                  "--peer-secret-file (openssl rand -hex 32 > FILE && chmod 600 FILE)");
  }
  EXPECT_EQ(Accepted({"--cluster", "1@127.0.0.1"}).peer_secret, "");
  EXPECT_EQ(Accepted(With({})).peer_secret, kSecret);
}

TEST_F(ClusterFlags, TakeASecretWithoutTheSpaceAroundIt) {
  EXPECT_EQ(*ReadSecretFile(SecretFile(std::string("  ") + kSecret + "\r\n\n")), kSecret);
  EXPECT_EQ(*ReadSecretFile(SecretFile(std::string(1024, 'x') + "\n")), std::string(1024, 'x'));
  for (const std::string& text :
       {std::string(), std::string("0123456789abcde"), std::string("0123 456789abcdef"), std::string(1025, 'x'),
        std::string(5000, 'x'), std::string(20, '\0'), std::string(kSecret) + "\x80"}) {
    EXPECT_EQ(
        ReadSecretFile(SecretFile(text)).status().message(),
        "does not hold 16 to 1024 printable characters without spaces; a good one comes from: openssl rand -hex 32")
        << text.size();
  }
}

TEST_F(ClusterFlags, RefuseASecretThatOthersMayRead) {
  using fs::perms;
  for (perms open : {perms::others_read, perms::others_write}) {
    const std::string file = SecretFile(kSecret, perms::owner_read | open);
    EXPECT_THAT(ErrorOf({"--peer-secret-file", file}),
                AllOf(StartsWith("--peer-secret-file: " + file + " is open to every user of this machine"),
                      HasSubstr("chmod 600")));
  }
  EXPECT_TRUE(ReadSecretFile(SecretFile(kSecret, perms::owner_read | perms::group_read)).ok());
  EXPECT_EQ(ErrorOf({"--peer-secret-file", "/missing"}),
            "--peer-secret-file: /missing cannot be read: No such file or directory");
  EXPECT_EQ(ErrorOf({"--peer-secret-file", dir_.Path().string()}),
            "--peer-secret-file: " + dir_.Path().string() + " is not a file");
}

TEST_F(ClusterFlags, ComeFromTheEnvironmentAndFromTheFileToo) {
  Host host = TestHost();
  const std::string secret = SecretFile(kSecret);
  host.environment = {
      {"MILLRACE_CLUSTER", "1@a,2@b"}, {"MILLRACE_BROKER_ID", "2"}, {"MILLRACE_PEER_SECRET_FILE", secret}};
  EXPECT_EQ(Accepted({}, host).cluster.size(), 2u);
  EXPECT_EQ(Accepted({}, host).peer_secret, kSecret);
  host.environment["MILLRACE_CLUSTER"] = "1@a";
  EXPECT_EQ(ErrorOf({}, host), "MILLRACE_CLUSTER: does not name broker 2, which this is by --broker-id");
  const Config config =
      Accepted({"--config", dir_.Write("c.yaml", "join: [a, b:1]\npeer-secret-file: " + secret + "\n")});
  EXPECT_THAT(config.join, ElementsAre(HostPort{"a", 9470}, HostPort{"b", 1}));
}

TEST_F(ClusterFlags, ArePrintedAsAFileThatMeansTheSameWithoutTheSecret) {
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{"--join", "a,b:1"}, {"--cluster", "1@a,2@[::1]:7000", "--broker-id", "1"}}) {
    std::vector<std::string> arguments = With(flags);
    const Config config = Accepted(arguments);
    arguments.push_back("--check-config");
    const CommandLine checked = Parse(arguments);
    EXPECT_EQ(checked.output.find(kSecret), std::string::npos);
    const Config read = Accepted({"--config", dir_.Write("printed.yaml", checked.output)});
    EXPECT_EQ(read.cluster, config.cluster);
    EXPECT_EQ(read.join, config.join);
    EXPECT_EQ(read.broker_id, config.broker_id);
    EXPECT_EQ(read.peer_secret, kSecret);
  }
}

}  // namespace
}  // namespace millrace::server
