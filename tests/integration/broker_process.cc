#include "tests/integration/broker_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "proto/wire/check.h"

namespace millrace {
namespace {

std::filesystem::path MakeTempDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "millrace-XXXXXX").string();
  MILLRACE_CHECK(mkdtemp(pattern.data()) != nullptr) << pattern << ": " << std::strerror(errno);
  return pattern;
}

std::string ReadFile(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

// The test's own environment without what would configure a broker, and `added`.
std::vector<std::string> MakeEnvironment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "MILLRACE_", std::strlen("MILLRACE_")) != 0) result.emplace_back(*entry);
  }
  for (const auto& [name, value] : added) result.push_back(name + "=" + value);
  return result;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// millraced with these file descriptors for standard output and standard error, in a cgroup and a network of its own if named.
pid_t Launch(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
             int output, int error, const std::string& cgroup = "", int network = -1) {
  std::vector<std::string> texts = {MILLRACED_BINARY};
  texts.insert(texts.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment_texts = MakeEnvironment(environment);
  const std::vector<char*> argv = Pointers(texts);
  const std::vector<char*> envp = Pointers(environment_texts);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  MILLRACE_CHECK(pid >= 0) << "fork: " << std::strerror(errno);
  if (pid > 0) return pid;

  // In the child, where only what is safe in a signal handler may be called.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(126);
  dup2(output, STDOUT_FILENO);
  dup2(error, STDERR_FILENO);
  if (!cgroup.empty()) {
    const int procs = open(cgroup.c_str(), O_WRONLY | O_CLOEXEC);
    if (write(procs, "0", 1) != 1) _exit(125);
  }
  if (network >= 0 && setns(network, CLONE_NEWNET) != 0) _exit(124);
  execve(argv[0], argv.data(), envp.data());
  _exit(127);
}

int WaitFor(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) MILLRACE_CHECK(errno == EINTR) << "waitpid: " << std::strerror(errno);
  constexpr int kShellsSignalBase = 128;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kShellsSignalBase + WTERMSIG(status);
}

int OpenForAppend(const std::filesystem::path& file) {
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  MILLRACE_CHECK(fd >= 0) << file << ": " << std::strerror(errno);
  return fd;
}

// A bound socket that never listens: with SO_REUSEADDR on both, the broker can listen on its port, and nobody is given it.
int HoldFreePort(std::string& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof loopback;
  const bool held = bind(fd, reinterpret_cast<sockaddr*>(&loopback), length) == 0 &&
                    getsockname(fd, reinterpret_cast<sockaddr*>(&loopback), &length) == 0;
  MILLRACE_CHECK(held) << "no free port: " << std::strerror(errno);
  address = "127.0.0.1:" + std::to_string(ntohs(loopback.sin_port));
  return fd;
}

// Up to the first newline, or what came until the other end closed.
std::string ReadLine(int fd) {
  std::string line;
  for (char c; read(fd, &c, 1) == 1 && c != '\n';) line += c;
  return line;
}

// The word behind `name=` in a ready line.
std::string WordOf(const std::string& line, const std::string& name) {
  const size_t at = line.find(" " + name + "=");
  if (at == std::string::npos) return "";
  const size_t first = at + name.size() + 2;
  return line.substr(first, line.find(' ', first) - first);
}

}  // namespace

Exit RunBroker(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment) {
  const std::filesystem::path directory = MakeTempDirectory();
  const int output = OpenForAppend(directory / "output");
  const int error = OpenForAppend(directory / "error");
  Exit result;
  result.code = WaitFor(Launch(arguments, environment, output, error));
  close(output);
  close(error);
  result.output = ReadFile(directory / "output");
  result.error = ReadFile(directory / "error");
  std::filesystem::remove_all(directory);
  return result;
}

BrokerProcess::BrokerProcess(Options options)
    : options_(std::move(options)), directory_(MakeTempDirectory()), port_holder_(HoldFreePort(address_)) {
  if (!options_.address.empty()) address_ = options_.address;
}

BrokerProcess::~BrokerProcess() {
  Kill();
  close(port_holder_);
  std::filesystem::remove_all(directory_);
}

void BrokerProcess::Spawn() {
  MILLRACE_CHECK_EQ(pid_, -1) << "it runs already";
  const std::string& listen = options_.listen.empty() ? address_ : options_.listen;
  std::vector<std::string> arguments = {"--listen", listen, "--http", "127.0.0.1:0", "--data-dir", data_dir()};
  arguments.insert(arguments.end(), options_.arguments.begin(), options_.arguments.end());
  std::array<int, 2> output{};
  MILLRACE_CHECK(pipe2(output.data(), O_CLOEXEC) == 0) << std::strerror(errno);
  const int error = OpenForAppend(directory_ / "error");
  pid_ = Launch(arguments, options_.environment, output[1], error, options_.cgroup, options_.network);
  close(output[1]);
  close(error);
  output_ = output[0];
}

void BrokerProcess::AddArguments(const std::vector<std::string>& arguments) {
  options_.arguments.insert(options_.arguments.end(), arguments.begin(), arguments.end());
}

void BrokerProcess::Start() {
  Spawn();
  AwaitReady();
}

void BrokerProcess::AwaitReady() {
  ready_line_ = ReadLine(output_);
  if (!ready_line_.starts_with("ready ")) {
    const int code = Wait();
    FAIL() << "millraced ended with " << code << " instead of becoming ready; it printed \"" << ready_line_
           << "\" and said:\n"
           << ErrorOutput();
  }
  if (options_.address.empty()) address_ = WordOf(ready_line_, "listen");
  http_address_ = WordOf(ready_line_, "http");
}

void BrokerProcess::StartAndKillWithin(std::chrono::milliseconds delay) {
  Spawn();
  pollfd ready{.fd = output_, .events = POLLIN, .revents = 0};
  poll(&ready, 1, static_cast<int>(delay.count()));
  Kill();
}

void BrokerProcess::Kill() {
  if (pid_ == -1) return;
  Signal(SIGKILL);
  Wait();
}

int BrokerProcess::Stop() {
  Signal(SIGTERM);
  return Wait();
}

void BrokerProcess::Signal(int signal) {
  MILLRACE_CHECK_NE(pid_, -1) << "it does not run";
  kill(pid_, signal);
}

bool BrokerProcess::Runs() const {
  siginfo_t ended{};
  return pid_ != -1 && waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         ended.si_pid == 0;
}

int BrokerProcess::Wait() {
  MILLRACE_CHECK_NE(pid_, -1) << "it does not run";
  const int code = WaitFor(pid_);
  pid_ = -1;
  close(output_);
  output_ = -1;
  return code;
}

std::string BrokerProcess::ErrorOutput() const { return ReadFile(directory_ / "error"); }

}  // namespace millrace
