// What millraced promises as a process: its ready line, exit codes, signals, HTTP port and threads.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/integration/broker_process.h"
#include "tests/support/http_get.h"
#include "tests/support/tcp_socket.h"
#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

int CountOf(const std::string& word, const std::string& text) {
  int count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

// Somebody else who listens on a port of 127.0.0.1.
class Listener {
 public:
  Listener() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~Listener() { close(fd_); }

  const std::string& address() const { return address_; }

 private:
  int fd_;
  std::string address_;
};

// The ready line, and standard output beside it.

TEST(ReadyLine, NamesBrokerAddressesDataAndTime) {
  BrokerProcess broker({.arguments = {"--broker-id", "7"}});
  const std::string address = broker.address();
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_THAT(broker.ready_line(), MatchesRegex("ready broker=7 listen=127\\.0\\.0\\.1:[1-9][0-9]* "
                                                "http=127\\.0\\.0\\.1:[1-9][0-9]* data=/[^ ]* start_ms=[0-9]+"));
  EXPECT_THAT(broker.ready_line(),
              AllOf(HasSubstr(" listen=" + address + " "), HasSubstr(" data=" + broker.data_dir() + " ")));
}

TEST(ReadyLine, NamesThePortThatWasFree) {
  for (const char* listen : {"localhost:0", "[::1]:0"}) {
    BrokerProcess broker({.listen = listen});
    ASSERT_NO_FATAL_FAILURE(broker.Start());
    const std::string host(listen, std::string(listen).rfind(':'));
    EXPECT_THAT(broker.address(), StartsWith(host + ":"));
    EXPECT_THAT(broker.address(), Not(EndsWith(":0")));
    const size_t colon = broker.address().rfind(':');
    const std::string bare = host == "[::1]" ? "::1" : host;
    EXPECT_TRUE(TcpSocket(bare, static_cast<uint16_t>(std::stoi(broker.address().substr(colon + 1)))).connected());
  }
}

TEST(ReadyLine, IsTheSameAfterARestartOnTheSameData) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  const std::string address = broker.address();
  EXPECT_EQ(broker.Stop(), 0);
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_EQ(broker.address(), address);
  broker.Kill();
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_EQ(broker.address(), address);
}

// Exit codes: 2 for usage and configuration, 1 for what the machine does not let it have.

TEST(ExitCode, Is0ForWhatOnlyPrints) {
  const Exit help = RunBroker({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.output, HasSubstr("Examples:"));
  EXPECT_THAT(help.error, IsEmpty());
  EXPECT_EQ(RunBroker({"--version"}).code, 0);
  EXPECT_EQ(RunBroker({"--check-config"}).code, 0);
  EXPECT_EQ(RunBroker({"--completion", "bash"}).code, 0);
}

TEST(ExitCode, Is2ForBadUsageOrConfiguration) {
  TempDir dir;
  const std::vector<std::vector<std::string>> bad = {
      {"--lisen", "127.0.0.1:0"},
      {"--listen", "127.0.0.1:port"},
      {"--set", "retention.mss=5"},
      {"--set", "min.insync.replicas=2"},
      {"--config", dir.Write("unknown-key.yaml", "rack: a\nlissen: b\n")},
      {"--config", dir.Write("bad-value.yaml", "broker-id: b\n")},
      {"--config", (dir.Path() / "missing.yaml").string()},
      {"--join", "127.0.0.1:9470"},
      {"--cluster", "1@a:9470,2@b:9470"},
      {"--tls-cert", "cert.pem"},
      {"--resync"},
  };
  for (const auto& arguments : bad) {
    const Exit exit = RunBroker(arguments);
    EXPECT_EQ(exit.code, 2) << arguments.front();
    EXPECT_THAT(exit.output, IsEmpty());
    EXPECT_THAT(exit.error, StartsWith("millraced: ")) << arguments.front();
  }
  EXPECT_EQ(RunBroker({}, {{"MILLRACE_BROKER_ID", "none"}}).code, 2);
}

// `because` is in what it says, and there is no ready line.
void ExpectNoStart(const std::vector<std::string>& arguments, const std::string& because) {
  const Exit exit = RunBroker(arguments);
  EXPECT_EQ(exit.code, 1) << exit.error;
  EXPECT_THAT(exit.output, IsEmpty());
  EXPECT_THAT(exit.error, HasSubstr(because));
}

TEST(ExitCode, Is1ForAPortInUse) {
  TempDir dir;
  Listener other;
  const std::string data = (dir.Path() / "data").string();
  ExpectNoStart({"--data-dir", data, "--listen", other.address(), "--http", "127.0.0.1:0"},
                other.address() + ": Address already in use");
  ExpectNoStart({"--data-dir", data, "--listen", "127.0.0.1:0", "--http", other.address()}, other.address());
}

TEST(ExitCode, Is1ForAPortOfAnotherBroker) {
  TempDir dir;
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ExpectNoStart({"--data-dir", (dir.Path() / "data").string(), "--listen", broker.address(), "--http", "127.0.0.1:0"},
                broker.address());
}

TEST(ExitCode, Is1ForAnAddressThatIsNotOfThisMachine) {
  TempDir dir;
  const std::string data = (dir.Path() / "data").string();
  ExpectNoStart({"--data-dir", data, "--listen", "no-such-host.invalid:0"}, "no-such-host.invalid is not known");
  ExpectNoStart({"--data-dir", data, "--listen", "192.0.2.1:0"}, "not an address of this machine");
}

TEST(ExitCode, Is1ForADataDirectoryInUseAndItsOwnerGoesOn) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ExpectNoStart({"--data-dir", broker.data_dir(), "--listen", "127.0.0.1:0"}, broker.data_dir());
  EXPECT_THAT(HttpGet(broker.http_address(), "/readyz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(broker.Stop(), 0);
}

TEST(ExitCode, Is1ForADataDirectoryThatCannotBe) {
  TempDir dir;
  const std::string file = dir.Write("file", "not a folder");
  ExpectNoStart({"--data-dir", file, "--listen", "127.0.0.1:0"}, file);
  ExpectNoStart({"--data-dir", file + "/data", "--listen", "127.0.0.1:0"}, file + "/data");
}

TEST(ExitCode, Is1ForADataDirectoryWithoutPermission) {
  TempDir dir;
  std::filesystem::permissions(dir.Path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  // Root may do everything, but make folders there.
  const std::string locked = geteuid() == 0 ? "/sys/millrace" : (dir.Path() / "data").string();
  ExpectNoStart({"--data-dir", locked, "--listen", "127.0.0.1:0"}, locked);
  std::filesystem::permissions(dir.Path(), std::filesystem::perms::owner_all);
}

TEST(ExitCode, Is1ForADataDirectoryOfANewerFormat) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ASSERT_EQ(broker.Stop(), 0);
  std::ofstream(broker.data_dir() + "/FORMAT") << "millrace store format 999\n";
  ExpectNoStart({"--data-dir", broker.data_dir(), "--listen", "127.0.0.1:0"}, "999");
}

// Signals.

TEST(Signals, TermAndIntEndItWith0) {
  for (const int signal : {SIGTERM, SIGINT}) {
    BrokerProcess broker;
    ASSERT_NO_FATAL_FAILURE(broker.Start());
    broker.Signal(signal);
    EXPECT_EQ(broker.Wait(), 0);
    EXPECT_THAT(broker.ErrorOutput(), Not(HasSubstr("level=error")));
  }
}

TEST(Signals, ASecondTermEndsItToo) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  broker.Signal(SIGTERM);
  broker.Signal(SIGTERM);
  EXPECT_EQ(broker.Wait(), 0);
}

TEST(Signals, HangUpOfAReaderDoesNot) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  broker.Signal(SIGPIPE);
  EXPECT_THAT(HttpGet(broker.http_address(), "/healthz"), StartsWith("HTTP/1.1 200 "));
}

// The HTTP port, the log, the threads.

TEST(HttpPort, IsHealthyReadyAndHasEveryFixedMetric) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_THAT(HttpGet(broker.http_address(), "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(HttpGet(broker.http_address(), "/readyz"), StartsWith("HTTP/1.1 200 "));
  const std::string metrics = HttpGet(broker.http_address(), "/metrics");
  for (const char* name :
       {"millrace_produce_seconds", "millrace_fetch_seconds", "millrace_bytes_in_total", "millrace_bytes_out_total",
        "millrace_under_replicated_partitions", "millrace_leaderless_partitions", "millrace_disk_free_bytes",
        "millrace_clock_offset_seconds", "millrace_group_lag_records", "millrace_group_lag_seconds"}) {
    EXPECT_EQ(CountOf("\n# TYPE " + std::string(name) + " ", metrics), 1) << name;
  }
}

TEST(HttpPort, ShowsNoSeriesTwice) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  const std::string answer = HttpGet(broker.http_address(), "/metrics");
  std::istringstream body(answer.substr(answer.find("\r\n\r\n") + 4));
  std::map<std::string, int> series;
  for (std::string line; std::getline(body, line);) {
    if (line.starts_with('#')) continue;
    EXPECT_EQ(++series[line.substr(0, line.rfind(' '))], 1) << line;
  }
  EXPECT_GT(series.size(), 50u);
}

TEST(Log, ReportsUnknownVariablesOnce) {
  BrokerProcess broker({.environment = {{"MILLRACE_SERVICE_PORT", "tcp://10.0.0.1:9470"}, {"MILLRACE_RACK", "r1"}}});
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_EQ(broker.Stop(), 0);
  EXPECT_EQ(CountOf("MILLRACE_SERVICE_PORT", broker.ErrorOutput()), 1);
  EXPECT_EQ(CountOf("MILLRACE_RACK", broker.ErrorOutput()), 0);
}

TEST(Log, SaysWhatIsAdvertisedWhenListeningEverywhere) {
  BrokerProcess broker({.listen = "0.0.0.0:0"});
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  EXPECT_THAT(broker.ErrorOutput(), HasSubstr("--advertise"));
}

std::string FirstLine(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

// Name and system call ("232 0x9 ...", or "running") of each of a process's threads.
std::vector<std::pair<std::string, std::string>> Threads(pid_t pid) {
  std::vector<std::pair<std::string, std::string>> threads;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    threads.emplace_back(FirstLine(task.path() / "comm"), FirstLine(task.path() / "syscall"));
  }
  return threads;
}

// The same once all of them wait for something.
std::vector<std::pair<std::string, std::string>> RestingThreads(pid_t pid) {
  for (;;) {
    auto threads = Threads(pid);
    if (std::ranges::none_of(threads, [](const auto& thread) { return thread.second == "running"; })) return threads;
  }
}

bool IsPolling(const std::string& system_call) {
  const int number = std::atoi(system_call.c_str());
#ifdef SYS_epoll_wait
  if (number == SYS_epoll_wait) return true;
#endif
#ifdef SYS_poll
  if (number == SYS_poll) return true;
#endif
  return number == SYS_epoll_pwait || number == SYS_ppoll;
}

// Goal: one polling thread for all of gRPC. A second one, even of an idle health service, would triple the CPU time per byte.
// Method: threads of gRPC's synchronous and callback servers wait on condition variables while another one polls, so counting
// who is in epoll_wait is not enough; they have names of their own, though, and a name that is not known here is one too many.
TEST(Threads, OnePollsForAllOfGrpc) {
  BrokerProcess broker;
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  // gRPC's timer, resolver and executor threads come with the library and do not poll its sockets; the event_engine threads
  // poll a set of their own, in which nothing is.
  const std::set<std::string> known = {
      "millraced",       "loop",         "sync",           "next-wal",   "remover",         "read",
      "rocksdb:low",     "rocksdb:high", "rocksdb:bottom", "MHD-single", "default-executo", "resolver-execut",
      "grpc_global_tim", "event_engine", "timer_manager"};
  std::map<std::string, int> polling;
  for (const auto& [name, system_call] : RestingThreads(broker.pid())) {
    ASSERT_FALSE(system_call.empty()) << "this needs a kernel that shows /proc/PID/task/*/syscall to a parent";
    EXPECT_TRUE(known.contains(name)) << "a thread named " << name << ": does it poll a completion queue?";
    if (IsPolling(system_call)) ++polling[name];
  }
  EXPECT_EQ(polling["loop"], 1);
  EXPECT_LE(polling["event_engine"], 1);
  EXPECT_EQ(polling["MHD-single"], 1);
}

}  // namespace
}  // namespace millrace
