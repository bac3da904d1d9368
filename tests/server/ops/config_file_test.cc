#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/config.h"
#include "tests/server/ops/command_line.h"
#include "tests/support/temp_dir.h"

namespace millrace::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ConfigFile : public ::testing::Test {
 protected:
  std::string Write(const std::string& text) { return dir_.Write("millrace.yaml", text); }
  std::string ErrorIn(const std::string& text) {
    const std::string error = ErrorOf({"--config", Write(text)});
    const std::string path = (dir_.Path() / "millrace.yaml").string();
    return error.starts_with(path) ? "FILE" + error.substr(path.size()) : error;
  }

  TempDir dir_;
};

TEST_F(ConfigFile, TakesFlagsAndSettingsAsKeys) {
  const CommandLine command = Parse({"--config", Write("# a broker\n"
                                                       "data-dir: /srv/millrace\n"
                                                       "listen: \"[::1]:7000\"\n"
                                                       "broker-id: 0\n"
                                                       "rack: eu\n"
                                                       "cluster: [\"0@[::1]:7000\"]\n"
                                                       "memory.limit: 64MiB\n"
                                                       "io.threads: 3\n"
                                                       "retention.ms: 1h\n")});
  ASSERT_EQ(command.exit_code, std::nullopt) << command.error;
  EXPECT_EQ(command.config.data_dir, "/srv/millrace");
  EXPECT_EQ(command.config.listen.ToString(), "[::1]:7000");
  EXPECT_EQ(command.config.broker_id, 0);
  EXPECT_EQ(command.config.rack, "eu");
  EXPECT_EQ(command.config.memory_limit, 64 << 20);
  EXPECT_EQ(command.config.io_threads, 3);
  EXPECT_EQ(command.config.topic_defaults.retention_ms, 3'600'000);
}

TEST_F(ConfigFile, IsBelowTheEnvironmentWhichIsBelowFlags) {
  const std::string file =
      Write("rack: file\nbroker-id: 1\nlisten: file:1\nretention.ms: 1\nsegment.ms: 1\nmax.message.bytes: 1\n");
  Host host = TestHost();
  host.environment = {{"MILLRACE_CONFIG", file},
                      {"MILLRACE_BROKER_ID", "2"},
                      {"MILLRACE_LISTEN", "environment:2"},
                      {"MILLRACE_SET", "segment.ms=2,max.message.bytes=2"}};
  const CommandLine command = Parse({"--listen", "flag:3", "--set", "max.message.bytes=3"}, host);
  ASSERT_EQ(command.exit_code, std::nullopt) << command.error;
  EXPECT_EQ(command.config.rack, "file");
  EXPECT_EQ(command.config.broker_id, 2);
  EXPECT_EQ(command.config.listen.ToString(), "flag:3");
  EXPECT_EQ(command.config.topic_defaults.retention_ms, 1);
  EXPECT_EQ(command.config.topic_defaults.segment_ms, 2);
  EXPECT_EQ(command.config.topic_defaults.max_message_bytes, 3);
}

TEST_F(ConfigFile, GivenByFlagWinsOverTheOneInTheEnvironment) {
  Host host = TestHost();
  host.environment = {{"MILLRACE_CONFIG", "/no/such/file"}};
  EXPECT_EQ(Parse({"--config", Write("rack: flag\n")}, host).config.rack, "flag");
}

TEST_F(ConfigFile, MayBeEmpty) {
  EXPECT_EQ(Parse({"--config", Write("")}).exit_code, std::nullopt);
  EXPECT_EQ(Parse({"--config", Write("# nothing yet\n")}).exit_code, std::nullopt);
}

TEST_F(ConfigFile, NamesLineAndNearestOfAnUnknownKey) {
  EXPECT_EQ(ErrorIn("rack: a\nlisten_on: b\n"), "FILE line 2: unknown key \"listen_on\"; did you mean \"listen\"?");
  EXPECT_EQ(ErrorIn("retention: 5\n"), "FILE line 1: unknown key \"retention\"; did you mean \"retention.ms\"?");
  EXPECT_EQ(ErrorIn("zzzzzz: 5\n"), "FILE line 1: unknown key \"zzzzzz\"");
  for (const char* key : {"config", "check-config", "set", "help", "completion"}) {
    EXPECT_THAT(ErrorIn(std::string(key) + ": x\n"), StartsWith("FILE line 1: unknown key"));
  }
}

TEST_F(ConfigFile, NamesLineAndKeyOfABadValue) {
  EXPECT_THAT(ErrorIn("\n\nlisten: nowhere:x\n"), StartsWith("FILE line 3, listen: \"nowhere:x\" has no valid port"));
  EXPECT_EQ(ErrorIn("broker-id: first\n"),
            "FILE line 1, broker-id: \"first\" is not accepted; accepted: a number from 0 to 2147483647, or hostname");
  EXPECT_EQ(ErrorIn("io.threads: 0\n"),
            "FILE line 1, io.threads: \"0\" is not accepted; accepted: a number from 1 to 64");
  EXPECT_EQ(ErrorIn("flush: never\n"), "FILE line 1: \"never\" is no value for flush; accepted: commit or async");
  EXPECT_THAT(ErrorIn("min.insync.replicas: 2\n"), AllOf(StartsWith("FILE line 1: "), HasSubstr("majority")));
  EXPECT_THAT(ErrorIn("join: a:x\n"), StartsWith("FILE line 1, join: \"a:x\" has no valid port"));
  EXPECT_THAT(ErrorIn("data-dir: \"\"\n"), StartsWith("FILE line 1, data-dir: \"\" is not accepted"));
}

TEST_F(ConfigFile, RefusesWhatIsNoListOfNamesAndValues) {
  EXPECT_EQ(ErrorIn("rack: a\nrack: b\n"), "FILE line 2, rack: is given twice");
  EXPECT_EQ(ErrorIn("rack:\n"), "FILE line 1, rack: has no plain value; accepted: NAME: VALUE");
  EXPECT_EQ(ErrorIn("retention:\n  ms: 5\n"), "FILE line 1: unknown key \"retention\"; did you mean \"retention.ms\"?");
  EXPECT_EQ(ErrorIn("rack: {a: b}\n"), "FILE line 1, rack: has no plain value; accepted: NAME: VALUE");
  EXPECT_EQ(ErrorIn("cluster: [[1]]\n"), "FILE line 1, cluster: has a list of something other than plain values");
  EXPECT_EQ(ErrorIn("- a\n- b\n"), "FILE: is not made of NAME: VALUE lines");
  EXPECT_EQ(ErrorIn("[a]: b\n"), "FILE line 1: the key is not plain text");
  EXPECT_THAT(ErrorIn("rack: [a\nlisten: b\n"), AllOf(StartsWith("FILE line "), HasSubstr("not valid YAML: ")));
  EXPECT_EQ(ErrorOf({"--config", "/no/such/file.yaml"}),
            "/no/such/file.yaml: cannot be read: No such file or directory");
  EXPECT_EQ(ErrorOf({"--config", dir_.Path().string()}), dir_.Path().string() + ": cannot be read: Is a directory");
}

}  // namespace
}  // namespace millrace::server
