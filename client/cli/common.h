// What all commands share: the flags that say where the cluster is and how to answer, exit codes, and how errors are told.
#pragma once

#include <millrace/error.h>
#include <millrace/options.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace millrace::cli {

enum class Output { kText, kJson };

struct Common {
  std::string command;  // "topic create": for `millrace topic create --help`
  std::string address = "127.0.0.1:9470";
  Output output = Output::kText;
  std::optional<std::chrono::nanoseconds> timeout;
  bool quiet = false;
  std::string tls_ca, tls_cert, tls_key;

  bool json() const { return output == Output::kJson; }
  // How the SDK reaches the cluster.
  ClientOptions Client() const;
};

// `--timeout`, or `otherwise` where it was not given.
std::chrono::milliseconds TimeoutOr(const Common& common, std::chrono::milliseconds otherwise);

// Exit codes of every command. A closed pipe is kDone.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnreachable = 3;
inline constexpr int kExitPartly = 4;
inline constexpr int kExitInterrupted = 130;

// kExitUnreachable or kExitFailed.
int ExitCodeOf(const absl::Status& status);

// Tells an error on standard error: as a sentence, followed by `advice` (what to do next; without one, what errors of its code
// call for), or as the document {"error","message","retriable","may_have_happened","topic","partition","address"}.
// Returns ExitCodeOf(status).
int Report(const Common& common, const absl::Status& status, std::string_view advice = "");

// As Report, of a topic that may be missing: advises the command that creates it.
int ReportTopicError(const Common& common, const absl::Status& status, std::string_view topic);

// A command line that is wrong. Returns kExitUsage.
int ReportUsage(const Common& common, std::string_view message);

// Options that the SDK refused. Its sentence names settings; here they become the flags that gave them. Returns kExitUsage.
int ReportOptions(const Common& common, const absl::Status& status);

// A remark on standard error, "millrace: …", unless --quiet.
void Remark(const Common& common, std::string_view text);

// Writes a command's result to standard output. Returns the exit code.
int Print(const Common& common, std::string_view text);

}  // namespace millrace::cli
