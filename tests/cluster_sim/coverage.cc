#include "tests/cluster_sim/coverage.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace millrace::sim {
namespace {

#define MILLRACE_TEXT(name, text) text,
constexpr std::array<std::string_view, kFaultCount> kFaultTexts = {MILLRACE_FAULTS(MILLRACE_TEXT)};
constexpr std::array<std::string_view, kRareCount> kRareTexts = {MILLRACE_RARE_EVENTS(MILLRACE_TEXT)};
#undef MILLRACE_TEXT

void AppendRow(std::string* table, uint64_t count, std::string_view text) {
  absl::StrAppendFormat(table, "%14u  %s\n", count, std::string(text));
}

bool AllSeen(const auto& counts) {
  return std::all_of(counts.begin(), counts.end(), [](uint64_t count) { return count > 0; });
}

}  // namespace

std::string_view Text(Fault fault) { return kFaultTexts[static_cast<size_t>(fault)]; }

void Coverage::Add(const Coverage& other) {
  for (size_t i = 0; i < faults.size(); ++i) faults[i] += other.faults[i];
  for (size_t i = 0; i < rare.size(); ++i) rare[i] += other.rare[i];
  seeds += other.seeds;
  messages += other.messages;
  simulated_ms += other.simulated_ms;
  sent += other.sent;
  acked += other.acked;
  read += other.read;
}

bool Coverage::Complete() const { return AllSeen(faults) && AllSeen(rare); }

std::string Coverage::Table() const {
  std::string table = "Rare states:\n";
  for (size_t i = 0; i < rare.size(); ++i) AppendRow(&table, rare[i], kRareTexts[i]);
  table += "Faults:\n";
  for (size_t i = 0; i < faults.size(); ++i) AppendRow(&table, faults[i], kFaultTexts[i]);
  table += "Work:\n";
  AppendRow(&table, simulated_ms / 1000, "simulated seconds");
  AppendRow(&table, messages, "messages");
  AppendRow(&table, sent, "records sent");
  AppendRow(&table, acked, "records acked");
  AppendRow(&table, read, "records read");
  return table;
}

}  // namespace millrace::sim
