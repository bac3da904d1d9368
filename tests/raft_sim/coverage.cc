#include "tests/raft_sim/coverage.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace millrace::raft::sim {
namespace {

constexpr std::array<std::string_view, kRareCount> kTexts = {
#define MILLRACE_RARE(name, text) text,
    MILLRACE_RARE_EVENTS(MILLRACE_RARE)
#undef MILLRACE_RARE
};

void AppendRow(std::string* table, uint64_t count, std::string_view text) {
  absl::StrAppendFormat(table, "%14u  %s\n", count, std::string(text));
}

}  // namespace

std::string_view Text(Rare which) { return kTexts[static_cast<size_t>(which)]; }

void Coverage::Add(const Coverage& other) {
  for (size_t i = 0; i < kRareCount; ++i) rare[i] += other.rare[i];
  for (size_t i = 0; i < faults.size(); ++i) faults[i] += other.faults[i];
  seeds += other.seeds;
  events += other.events;
  messages += other.messages;
  rounds += other.rounds;
  proposals_acked += other.proposals_acked;
  reads_answered += other.reads_answered;
}

bool Coverage::Complete() const {
  return std::all_of(rare.begin(), rare.end(), [](uint64_t count) { return count > 0; });
}

std::string Coverage::Table() const {
  std::string table = "Rare states:\n";
  for (size_t i = 0; i < kRareCount; ++i) AppendRow(&table, rare[i], kTexts[i]);
  table += "Faults (those that act all the time are counted once a seed):\n";
  for (size_t i = 0; i < faults.size(); ++i) AppendRow(&table, faults[i], Name(static_cast<Fault>(i)));
  table += "Work:\n";
  AppendRow(&table, messages, "messages delivered");
  AppendRow(&table, rounds, "rounds of a disk");
  AppendRow(&table, proposals_acked, "proposals acked");
  AppendRow(&table, reads_answered, "reads answered");
  return table;
}

}  // namespace millrace::raft::sim
