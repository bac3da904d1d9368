// A real broker for the tests of programs that use Millrace: on a free port of the loopback, with its data in a directory that goes with
// it.
//
//     auto broker = millrace::testing::Broker::Start().value();
//     auto producer = millrace::Producer::Create({.client = {.bootstrap_servers = broker->address()}}).value();
//     ...
//     broker->Kill();                                // kill -9
//     absl::Status back = broker->Restart();         // same address, same data
//
// Ready within a fraction of a second. Not part of millrace.h: include it in tests.
// Thread safety: one thread at a time. Ownership: the destructor ends the process and removes its data.
// Errors: kFailedPrecondition where there is no such binary, or it ends instead of becoming ready; the text has the end of its log.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace::testing {

class Broker {
 public:
  struct Options {
    // The binary. Empty: what the environment variable MILLRACED names, or else `millraced` on the PATH.
    std::string millraced = {};
    std::vector<std::string> arguments = {};  // besides address and directory, such as {"--set", "flush=async"}
  };

  static absl::StatusOr<std::unique_ptr<Broker>> Start(Options options);
  static absl::StatusOr<std::unique_ptr<Broker>> Start() { return Start(Options()); }
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  const std::string& address() const { return address_; }  // HOST:PORT
  const std::string& directory() const { return directory_; }

  // Ends it at once, as a crash does. Nothing if it does not run.
  void Kill();
  // Kills it if it runs, and starts it again; back once it is ready.
  absl::Status Restart();

 private:
  Broker(Options options, std::string directory) : options_(std::move(options)), directory_(std::move(directory)) {}

  absl::Status Launch();
  std::string EndOfLog() const;

  const Options options_;
  const std::string directory_;
  std::string address_;
  int pid_ = 0;  // 0: it does not run
};

}  // namespace millrace::testing
