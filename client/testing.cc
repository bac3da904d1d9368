#include "millrace/testing.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

extern char** environ;

namespace millrace::testing {
namespace {

constexpr size_t kLogShown = 2'000;

std::string BinaryOf(const std::string& given) {
  if (!given.empty()) return given;
  const char* named = std::getenv("MILLRACED");
  return named != nullptr && *named != '\0' ? named : "millraced";
}

// The first line that comes out of a pipe; "" if it is closed before.
std::string FirstLine(int fd) {
  std::string line;
  for (char c = 0; ::read(fd, &c, 1) == 1 && c != '\n';) line += c;
  return line;
}

// The value of `listen=` in the line that a broker says once it is ready; "" in any other.
std::string AddressIn(const std::string& line) {
  constexpr std::string_view kField = " listen=";
  const size_t begin = line.find(kField);
  if (!line.starts_with("ready ") || begin == std::string::npos) return "";
  const size_t value = begin + kField.size();
  return line.substr(value, line.find(' ', value) - value);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Broker>> Broker::Start(Options options) {
  std::string directory = (std::filesystem::temp_directory_path() / "millrace-test-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) {
    return absl::FailedPreconditionError("cannot make a directory for a broker: " + std::string(std::strerror(errno)));
  }
  std::unique_ptr<Broker> broker(new Broker(std::move(options), std::move(directory)));
  if (absl::Status status = broker->Launch(); !status.ok()) return status;
  return broker;
}

Broker::~Broker() {
  Kill();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void Broker::Kill() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(std::exchange(pid_, 0), nullptr, 0);
}

absl::Status Broker::Restart() {
  Kill();
  return Launch();
}

absl::Status Broker::Launch() {
  const std::string binary = BinaryOf(options_.millraced), log = directory_ + "/log";
  std::vector<std::string> words = {
      binary,   "--data-dir", directory_ + "/data", "--listen", address_.empty() ? "127.0.0.1:0" : address_,
      "--http", "127.0.0.1:0"};
  words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  std::array<int, 2> out{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0) {
    return absl::FailedPreconditionError("cannot make a pipe for a broker: " + std::string(std::strerror(errno)));
  }
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  const int failed = ::posix_spawnp(&pid_, binary.c_str(), &files, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  ::close(out[1]);
  const std::string line = failed == 0 ? FirstLine(out[0]) : "";
  ::close(out[0]);
  if (failed != 0) {
    pid_ = 0;
    return absl::FailedPreconditionError("cannot start " + binary + ": " + std::strerror(failed) +
                                         "; build millraced, and name it in MILLRACED or have it on the PATH");
  }
  std::string address = AddressIn(line);
  if (address.empty()) {
    Kill();
    return absl::FailedPreconditionError(binary + " ended instead of becoming ready: " + EndOfLog());
  }
  address_ = std::move(address);
  return absl::OkStatus();
}

std::string Broker::EndOfLog() const {
  std::ifstream file(directory_ + "/log");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return text.substr(text.size() - std::min(text.size(), kLogShown));
}

}  // namespace millrace::testing
