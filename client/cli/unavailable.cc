#include "client/cli/unavailable.h"

namespace millrace::cli {
namespace {

constexpr std::string_view kNoGroups =
    "consumer groups are not in this release; a reader keeps its own place: millrace consume TOPIC --from OFFSET";
constexpr std::string_view kOneBroker =
    "clusters of more than one broker are not in this release; see the one there is with: millrace cluster status";
constexpr std::string_view kNoClusterConfig =
    "settings of a running broker are not in this release; it takes them when it starts: millraced --set NAME=VALUE";
constexpr std::string_view kNoVerify =
    "verify is not in this release; that offsets follow on each other is checked by: millrace bench consume --topic "
    "TOPIC";

struct Entry {
  std::string_view command;
  std::string_view word;
  std::string_view why;
};

constexpr Entry kEntries[] = {
    {"", "group", kNoGroups},
    {"", "verify", kNoVerify},
    {"consume", "--group", kNoGroups},
    {"consume", "-g", kNoGroups},
    {"cluster", "brokers", kOneBroker},
    {"cluster", "drain", kOneBroker},
    {"cluster", "remove", kOneBroker},
    {"cluster", "replace", kOneBroker},
    {"cluster", "reassign", kOneBroker},
    {"cluster", "balance", kOneBroker},
    {"cluster", "recover", kOneBroker},
    {"cluster", "finalize", kOneBroker},
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
