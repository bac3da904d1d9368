#include "client/cli/unavailable.h"

namespace millrace::cli {
namespace {

constexpr std::string_view kNoBrokers =
    "cluster brokers is not in this release; see them with: millrace cluster status";
constexpr std::string_view kNoMoves =
    "draining, removing and replacing brokers, and moving replicas and leaders, are not in this release; see what "
    "there is with: millrace cluster status";
constexpr std::string_view kNoRecover =
    "recovering without a majority of the brokers is not in this release; start those that are down: millrace cluster "
    "status shows them";
constexpr std::string_view kNoFinalize =
    "feature levels to finalize are not in this release, which has only one; see what each broker runs with: millrace "
    "cluster status";
constexpr std::string_view kNoClusterConfig =
    "settings of a running cluster are not in this release; a broker takes them when it starts: millraced --set "
    "NAME=VALUE";
constexpr std::string_view kNoVerify =
    "verify is not in this release; that offsets follow on each other is checked by: millrace bench consume --topic "
    "TOPIC";

struct Entry {
  std::string_view command;
  std::string_view word;
  std::string_view why;
};

constexpr Entry kEntries[] = {
    {"", "verify", kNoVerify},
    {"cluster", "brokers", kNoBrokers},
    {"cluster", "drain", kNoMoves},
    {"cluster", "remove", kNoMoves},
    {"cluster", "replace", kNoMoves},
    {"cluster", "reassign", kNoMoves},
    {"cluster", "balance", kNoMoves},
    {"cluster", "recover", kNoRecover},
    {"cluster", "finalize", kNoFinalize},
    {"cluster", "config", kNoClusterConfig},
};

}  // namespace

std::string_view WhyUnavailable(std::string_view command, std::string_view word) {
  for (const Entry& entry : kEntries) {
    if (entry.command == command && entry.word == word) return entry.why;
  }
  return "";
}

}  // namespace millrace::cli
