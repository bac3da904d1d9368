#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "server/flags.h"
#include "tests/server/ops/command_line.h"
#include "tests/support/temp_dir.h"

namespace millrace::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr int64_t kMiB = int64_t{1} << 20;

TEST(Config, IsABrokerOnLoopbackWithoutAnyFlag) {
  const Config config = Accepted({});
  EXPECT_EQ(config.listen.ToString(), "127.0.0.1:9470");
  EXPECT_EQ(config.advertise.ToString(), "127.0.0.1:9470");
  EXPECT_EQ(config.http.ToString(), "127.0.0.1:9471");
  EXPECT_EQ(config.broker_id, std::nullopt);
  EXPECT_THAT(config.cluster, IsEmpty());
  EXPECT_THAT(config.join, IsEmpty());
  EXPECT_EQ(config.rack, "");
  EXPECT_EQ(config.data_dir, (std::filesystem::current_path() / "millrace-data").string());
  EXPECT_EQ(config.memory_limit, 2048 * kMiB);
  EXPECT_EQ(config.io_threads, 1);
  EXPECT_EQ(config.log_level, log::Level::kInfo);
  EXPECT_EQ(config.topic_defaults, TopicConfig());
  EXPECT_THAT(config.notices, IsEmpty());
}

TEST(Config, PutsHttpOnTheNextPortOfTheSameHost) {
  EXPECT_EQ(Accepted({"--listen", "[::1]:7000"}).http.ToString(), "[::1]:7001");
  EXPECT_EQ(Accepted({"--listen", "localhost:0"}).http.ToString(), "localhost:0");
  EXPECT_EQ(Accepted({"--listen", "10.0.0.1:7000", "--http", "127.0.0.1"}).http.ToString(), "127.0.0.1:7001");
  EXPECT_EQ(Accepted({"--listen", "10.0.0.1:7000", "--http", "127.0.0.1:0"}).http.ToString(), "127.0.0.1:0");
  EXPECT_EQ(Accepted({"--listen", "a:65535", "--http", "a:80"}).http.ToString(), "a:80");
  EXPECT_EQ(ErrorOf({"--listen", "a:65535"}),
            "--listen: \"a:65535\" is not accepted; accepted: a port below 65535, or one for --http beside it");
  EXPECT_EQ(ErrorOf({"--listen", "a:80", "--http", "a:80"}),
            "--http: \"a:80\" is not accepted; accepted: another address than that of --listen");
}

TEST(Config, AdvertisesTheHostsNameWhenItListensEverywhere) {
  const Config config = Accepted({"--listen", "0.0.0.0:7000"});
  EXPECT_EQ(config.advertise.ToString(), "broker-7.example.org:7000");
  EXPECT_THAT(config.notices, ElementsAre(AllOf(HasSubstr("broker-7.example.org"), HasSubstr("--advertise"))));
  EXPECT_EQ(Accepted({"--listen", "[::]:0"}).advertise.ToString(), "broker-7.example.org:0");
  const Config told = Accepted({"--listen", "0.0.0.0", "--advertise", "public.example.org"});
  EXPECT_EQ(told.advertise.ToString(), "public.example.org:9470");
  EXPECT_THAT(told.notices, IsEmpty());
  EXPECT_EQ(ErrorOf({"--advertise", "0.0.0.0:80"}),
            "--advertise: \"0.0.0.0:80\" is not accepted; accepted: an address that clients can connect to");
}

TEST(Config, MakesTheDataDirectoryAbsolute) {
  const std::filesystem::path here = std::filesystem::current_path();
  EXPECT_EQ(Accepted({"--data-dir", "a/../b/"}).data_dir, (here / "b").string());
  EXPECT_EQ(Accepted({"--data-dir", "/"}).data_dir, "/");
  EXPECT_EQ(Accepted({"--data-dir", "/var//lib/millrace/."}).data_dir, "/var/lib/millrace");
}

TEST(Config, GivesMemoryByWhatTheProcessMayUse) {
  Host host = TestHost();
  host.usable_memory = 1000 * kMiB;
  EXPECT_EQ(Accepted({}, host).memory_limit, 400 * kMiB);
  host.usable_memory = 20 * kMiB;
  EXPECT_EQ(Accepted({}, host).memory_limit, 16 * kMiB);
  EXPECT_EQ(Accepted({"--set", "memory.limit=8GiB"}).memory_limit, 8192 * kMiB);
  for (const char* value : {"8193MiB", "15MiB", "0", "-1", "40%"}) {
    EXPECT_EQ(ErrorOf({"--set", std::string("memory.limit=") + value}),
              "--set, memory.limit: \"" + std::string(value) +
                  "\" is not accepted; accepted: a size such as 512MiB, from 16MiB to 8GiB, which is all that this "
                  "process may use");
  }
}

TEST(Config, GivesThreadsByUsableCores) {
  Host host = TestHost();
  const std::map<int, int> threads_of = {{1, 1}, {3, 1}, {4, 2}, {5, 2}, {8, 4}, {16, 8}, {128, 8}};
  for (const auto& [cores, threads] : threads_of) {
    host.usable_cores = cores;
    EXPECT_EQ(Accepted({}, host).io_threads, threads) << cores;
  }
  EXPECT_EQ(Accepted({"--set", "io.threads=3"}).io_threads, 3);
  for (const char* value : {"0", "65", "-1", "many"}) {
    EXPECT_EQ(ErrorOf({"--set", std::string("io.threads=") + value}),
              "--set, io.threads: \"" + std::string(value) + "\" is not accepted; accepted: a number from 1 to 64");
  }
}

TEST(Config, KeepsAShareOfTheDiskFree) {
  EXPECT_GT(Accepted({}).disk_free_floor, 0);
  EXPECT_LE(Accepted({}).disk_free_floor, 1024 * kMiB);
  EXPECT_EQ(Accepted({"--set", "disk.free.floor=0"}).disk_free_floor, 0);
  EXPECT_EQ(ErrorOf({"--set", "disk.free.floor=-5"}),
            "--set, disk.free.floor: \"-5\" is not accepted; accepted: a size such as 1GiB, or 0 for none");
}

TEST(Config, SetsTopicDefaultsAndLogLevel) {
  const Config config = Accepted({"--set", "retention.ms=1d", "--set", "flush=async", "--set=log.level=debug"});
  EXPECT_EQ(config.topic_defaults.retention_ms, 86'400'000);
  EXPECT_EQ(config.topic_defaults.flush, FlushPolicy::kAsync);
  EXPECT_EQ(config.log_level, log::Level::kDebug);
  EXPECT_EQ(ErrorOf({"--set", "log.level=loud"}),
            "--set, log.level: \"loud\" is not accepted; accepted: debug, info, warn or error");
  EXPECT_EQ(ErrorOf({"--set", "flush=maybe"}), "--set: \"maybe\" is no value for flush; accepted: commit or async");
}

TEST(Config, NamesTheNearestOfAnUnknownSettingOrFlag) {
  EXPECT_EQ(ErrorOf({"--set", "retenton.ms=1"}),
            "--set: unknown setting \"retenton.ms\"; did you mean \"retention.ms\"?");
  EXPECT_EQ(ErrorOf({"--set", "memory.limits=1"}),
            "--set: unknown setting \"memory.limits\"; did you mean \"memory.limit\"?");
  EXPECT_EQ(ErrorOf({"--set", "xyz=1"}), "--set: unknown setting \"xyz\"");
  EXPECT_THAT(ErrorOf({"--set", "min.insync.replicas=2"}), AllOf(StartsWith("--set: "), HasSubstr("majority")));
  EXPECT_EQ(ErrorOf({"--lisen", "a:1"}), "unknown flag --lisen; did you mean \"--listen\"?");
  EXPECT_EQ(ErrorOf({"--data_dir=/x"}), "unknown flag --data_dir; did you mean \"--data-dir\"?");
  EXPECT_EQ(ErrorOf({"--quantum"}), "unknown flag --quantum");
  EXPECT_EQ(ErrorOf({"start"}), "unexpected argument \"start\"; millraced takes flags only");
}

TEST(Config, RefusesFlagsThatAreIncompleteOrRepeated) {
  EXPECT_EQ(ErrorOf({"--listen"}), "--listen: 1 required HOST[:PORT] missing");
  EXPECT_EQ(ErrorOf({"--set", "retention.ms"}), "--set: \"retention.ms\" is not accepted; accepted: NAME=VALUE");
  EXPECT_EQ(ErrorOf({"--set", "=1"}), "--set: \"=1\" is not accepted; accepted: NAME=VALUE");
  EXPECT_THAT(ErrorOf({"--listen", "a:1", "--listen", "b:1"}), HasSubstr("--listen"));
  EXPECT_THAT(ErrorOf({"--listen", "::1"}), AllOf(StartsWith("--listen: \"::1\""), HasSubstr("brackets")));
  EXPECT_EQ(ErrorOf({"--rack", std::string(256, 'r')}).substr(0, 8), "--rack: ");
  EXPECT_EQ(Accepted({"--rack", "eu-west 1a"}).rack, "eu-west 1a");
}

TEST(Config, RefusesWhatThisVersionDoesNotDo) {
  const std::string not_yet = " is not implemented in this version; leave it out";
  EXPECT_EQ(ErrorOf({"--resync"}), "--resync: taking the data anew from other brokers" + not_yet);
  for (const char* flag : {"--tls-cert", "--tls-key", "--tls-ca", "--tls-client-auth"}) {
    EXPECT_EQ(ErrorOf({flag, "none"}), std::string(flag) + ": TLS" + not_yet);
  }
}

TEST(Environment, GivesEveryFlagAValueBelowTheCommandLine) {
  Host host = TestHost();
  host.environment = {
      {"MILLRACE_LISTEN", "a:1"},  {"MILLRACE_DATA_DIR", "/from/environment"},      {"MILLRACE_RACK", ""},
      {"MILLRACE_BROKER_ID", "9"}, {"MILLRACE_SET", "flush=async, retention.ms=5"}, {"HOME", "/root"}};
  const Config config = Accepted({"--broker-id", "3", "--set", "retention.ms=6"}, host);
  EXPECT_EQ(config.listen.ToString(), "a:1");
  EXPECT_EQ(config.data_dir, "/from/environment");
  EXPECT_EQ(config.broker_id, 3);
  EXPECT_EQ(config.topic_defaults.flush, FlushPolicy::kAsync);
  EXPECT_EQ(config.topic_defaults.retention_ms, 6);
  EXPECT_THAT(config.notices, IsEmpty());
}

TEST(Environment, IsNamedInErrors) {
  Host host = TestHost();
  host.environment = {{"MILLRACE_LISTEN", "a:b"}};
  EXPECT_THAT(ErrorOf({}, host), StartsWith("MILLRACE_LISTEN: \"a:b\" has no valid port"));
  host.environment = {{"MILLRACE_SET", "flish=async"}};
  EXPECT_EQ(ErrorOf({}, host), "MILLRACE_SET: unknown setting \"flish\"; did you mean \"flush\"?");
  host.environment = {{"MILLRACE_RESYNC", "perhaps"}};
  EXPECT_EQ(ErrorOf({}, host), "MILLRACE_RESYNC: \"perhaps\" is not accepted; accepted: true or false");
  host.environment = {{"MILLRACE_RESYNC", "false"}, {"MILLRACE_CHECK_CONFIG", "true"}};
  EXPECT_EQ(Parse({}, host).exit_code, 0);
}

TEST(Environment, ReportsUnknownVariablesInOneNoticeAndIgnoresThem) {
  Host host = TestHost();
  host.environment = {{"MILLRACE_SERVICE_HOST", "10.0.0.1"},
                      {"MILLRACE_PORT", "tcp://10.0.0.1:9470"},
                      {"MILLRACE_HELP", "1"},
                      {"millrace_listen", "x"}};
  EXPECT_THAT(Accepted({}, host).notices,
              ElementsAre("ignored environment variables that are no flags of millraced: MILLRACE_HELP, MILLRACE_PORT, "
                          "MILLRACE_SERVICE_HOST"));
}

TEST(CheckConfig, PrintsEveryValueInEffectAsAFileThatMeansTheSame) {
  const std::vector<std::string> arguments = {
      "--listen", "[::1]:7000",          "--rack", "a: b", "--broker-id", "4", "--set", "memory.limit=100MB",
      "--set",    "retention.bytes=5GiB"};
  std::vector<std::string> check = arguments;
  check.push_back("--check-config");
  const CommandLine checked = Parse(check);
  EXPECT_EQ(checked.exit_code, 0);
  EXPECT_THAT(checked.output, AllOf(HasSubstr("\nlisten: \"[::1]:7000\"\n"), HasSubstr("\nrack: \"a: b\"\n"),
                                    HasSubstr("\nretention.bytes: 5368709120\n")));
  TempDir dir;
  EXPECT_EQ(Parse({"--config", dir.Write("c.yaml", checked.output), "--check-config"}).output, checked.output);
}

TEST(CheckConfig, ShowsNoticesAndRefusesWhatAStartWouldRefuse) {
  const CommandLine checked = Parse({"--check-config", "--listen", "0.0.0.0"});
  EXPECT_EQ(checked.exit_code, 0);
  EXPECT_THAT(checked.error, HasSubstr("--advertise"));
  EXPECT_EQ(ErrorOf({"--check-config", "--broker-id", "x"}).substr(0, 12), "--broker-id:");
}

TEST(Help, ShowsEveryFlagAndSettingAndAnExample) {
  for (const char* flag : {"--help", "-h"}) {
    const CommandLine help = Parse({flag});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_EQ(help.error, "");
    for (const Flag& known : Flags()) EXPECT_THAT(help.output, HasSubstr("--" + std::string(known.name)));
    for (const std::string_view name : TopicSettingNames()) EXPECT_THAT(help.output, HasSubstr(std::string(name)));
    EXPECT_THAT(help.output, AllOf(HasSubstr("memory.limit"), HasSubstr("Examples:\n  millraced\n")));
  }
}

TEST(Help, WinsOverABadConfiguration) {
  Host host = TestHost();
  host.environment = {{"MILLRACE_LISTEN", ":::"}};
  EXPECT_EQ(Parse({"--help"}, host).exit_code, 0);
  EXPECT_EQ(Parse({"--version", "--broker-id", "x"}, host).exit_code, 0);
}

TEST(Version, IsOneLine) {
  EXPECT_THAT(Parse({"--version"}).output, ::testing::MatchesRegex("millraced [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(Completion, IsAScriptThatBashAcceptsAndThatKnowsEveryFlag) {
  const CommandLine bash = Parse({"--completion", "bash"});
  EXPECT_EQ(bash.exit_code, 0);
  TempDir dir;
  const std::string script = dir.Write("completion", bash.output);
  const std::string check =
      "bash -c 'source " + script +
      "; COMP_WORDS=(millraced --bro) COMP_CWORD=1; _millraced; [ \"${COMPREPLY[*]}\" = --broker-id ]"
      " && COMP_WORDS=(millraced --tls-client-auth r) COMP_CWORD=2; _millraced; [ \"${COMPREPLY[*]}\" = require ]'";
  EXPECT_EQ(std::system(check.c_str()), 0);
  for (const Flag& flag : Flags()) EXPECT_THAT(bash.output, HasSubstr("--" + std::string(flag.name)));
  EXPECT_THAT(Parse({"--completion=zsh"}).output, StartsWith("autoload -U +X bashcompinit"));
  EXPECT_EQ(ErrorOf({"--completion", "tcsh"}), "--completion: \"tcsh\" is not accepted; accepted: bash or zsh");
}

TEST(Host, OfThisProcessHasNameEnvironmentMemoryAndCores) {
  setenv("MILLRACE_TEST_VARIABLE", "a=b", 1);
  const Host host = Host::Current();
  unsetenv("MILLRACE_TEST_VARIABLE");
  EXPECT_EQ(host.environment.at("MILLRACE_TEST_VARIABLE"), "a=b");
  EXPECT_NE(host.name, "");
  EXPECT_GT(host.usable_memory, 16 * kMiB);
  EXPECT_GE(host.usable_cores, 1);
}

}  // namespace
}  // namespace millrace::server
