#include "tests/conformance/transcript_model.h"

#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "tests/conformance/text.h"

namespace millrace::conformance {
namespace {

// The number behind `key`, up to the next character that is none.
std::optional<int64_t> NumberAfter(std::string_view line, std::string_view key) {
  const size_t at = line.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  const size_t begin = at + key.size();
  const size_t end = line.find_first_not_of("0123456789", begin);
  return Number(line.substr(begin, end - begin));
}

// What stands behind `key`, up to `end`.
std::string_view TextAfter(std::string_view line, std::string_view key, std::string_view end) {
  const size_t at = line.find(key);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = line.substr(at + key.size());
  return rest.substr(0, rest.find(end));
}

// Node ids stand in log lines as hexadecimal numbers.
int64_t NodeOf(std::string_view word) {
  int64_t node = 0;
  const char* end = word.data() + word.size();
  return std::from_chars(word.data(), end, node, 16).ptr == end ? node : 0;
}

bool ChangesNothing(std::string_view command) {
  return command == "log-level" || command == "raft-log" || command == "raft-state" || command == "status" ||
         command == "_breakpoint";
}

bool IsEntry(std::string_view line) {
  const std::vector<std::string_view> words = Split(line, " ");
  return words.size() >= 2 && words[0].find('/') != std::string_view::npos && words[1].starts_with("Entry") &&
         words[0].find_first_not_of("0123456789/") == std::string_view::npos;
}

}  // namespace

void TranscriptModel::Read(const Directive& d) {
  if (d.command == "log-level") {
    if (!d.arguments.empty()) level_ = Lower(d.arguments[0].key);
    return;
  }
  const std::string level = level_;
  bool named = false;  // nodes
  for (const Argument& argument : d.arguments) {
    named |= argument.values.empty();
    async_ |= argument.key == "async-storage-writes" && argument.values == std::vector<std::string>{"true"};
    if (d.command == "stabilize" && argument.key == "log-level") level_ = Lower(argument.values.back());
  }
  settled_ = false;
  if (ChangesNothing(d.command)) {
    if (level_ != "none" && d.command == "raft-log") ReadRaftLog(d);
    if (level_ != "none" && d.command == "raft-state") ReadRaftState(d);
  } else if (level_ == "none") {
    nodes_.clear();
    stale_ = false;
  } else {
    const bool to_rest = d.command == "stabilize" && !named;
    // Without INFO lines only Readys tell, and those that are still to come will.
    const bool silent = level_ != "debug" && level_ != "info";
    ReadOutput(d);
    settled_ = to_rest;
    stale_ = !to_rest && (stale_ || silent);
    if (silent) {
      for (auto& [number, node] : nodes_) node.config.reset();
    }
  }
  level_ = level;
}

void TranscriptModel::ReadOutput(const Directive& d) {
  section_ = Section::kNone;
  current_ = 0;
  if (d.command == "process-ready" && !d.arguments.empty()) current_ = NodeOf(d.arguments[0].key);
  if (d.command == "compact" && !d.arguments.empty()) return ReadRaftLog(d);
  for (std::string_view line : Split(d.expected, "\n")) {
    line = Strip(line);
    if (!line.empty()) ReadLine(line);
  }
}

void TranscriptModel::ReadLine(std::string_view line) {
  static constexpr std::array<std::string_view, 4> kLevels = {"DEBUG ", "INFO ", "WARN ", "ERROR "};
  for (const std::string_view level : kLevels) {
    if (!line.starts_with(level)) continue;
    section_ = Section::kNone;
    return ReadLogLine(line.substr(level.size()));
  }
  if (ReadHeadline(line)) return;
  if (current_ == 0 || ReadReadyLine(line)) return;
  if ((section_ == Section::kEntries || section_ == Section::kCommitted) && IsEntry(line)) ReadEntry(line);
}

bool TranscriptModel::ReadHeadline(std::string_view line) {
  if (line.starts_with("> ")) {
    const std::vector<std::string_view> words = Split(line, " ");
    section_ = Section::kNone;
    current_ = line.ends_with("handling Ready") && words.size() > 1 ? NodeOf(words[1]) : 0;
    return true;
  }
  if (!line.starts_with("Ready MustSync=") || current_ == 0) return false;
  Node& node = nodes_[current_];
  section_ = Section::kNone;
  node.role = node.ready_role;
  node.lead = node.ready_lead;
  node.lead_is_newer = false;
  return true;
}

bool TranscriptModel::ReadReadyLine(std::string_view line) {
  Node& node = nodes_[current_];
  if (line == "Entries:" || line == "CommittedEntries:" || line == "Messages:") {
    section_ = line == "Entries:" ? Section::kEntries : line == "Messages:" ? Section::kMessages : Section::kCommitted;
    truncates_ = section_ == Section::kEntries;
  } else if (section_ == Section::kMessages) {
    return true;  // what is sent is not where the node stands
  } else if (line.starts_with("Lead:")) {
    node.lead = node.ready_lead = NumberAfter(line, "Lead:");
    node.role = node.ready_role = std::string(TextAfter(line, "State:", " "));
  } else if (line.starts_with("HardState ")) {
    ReadHardState(line);
  } else if (line.starts_with("Snapshot ")) {
    ReadSnapshot(line);
  } else {
    return false;
  }
  return true;
}

void TranscriptModel::ReadHardState(std::string_view line) {
  Node& node = nodes_[current_];
  node.term = NumberAfter(line, "Term:");
  node.vote = NumberAfter(line, "Vote:").value_or(0);
  node.commit = NumberAfter(line, "Commit:");
}

void TranscriptModel::ReadSnapshot(std::string_view line) {
  Node& node = nodes_[current_];
  const std::string_view outgoing = TextAfter(line, "VotersOutgoing:[", "]");
  const std::string_view learners = TextAfter(line, "Learners:[", "]");
  const std::string_view next = TextAfter(line, "LearnersNext:[", "]");
  node.entries.clear();
  node.last = NumberAfter(line, "Index:");
  node.config = Cat("voters=(", TextAfter(line, "Voters:[", "]"), ")");
  if (!outgoing.empty()) CatTo(&*node.config, "&&(", outgoing, ")");
  if (!learners.empty()) CatTo(&*node.config, " learners=(", learners, ")");
  if (!next.empty()) CatTo(&*node.config, " learners_next=(", next, ")");
  if (line.find("AutoLeave:true") != std::string_view::npos) CatTo(&*node.config, " autoleave");
}

void TranscriptModel::ReadEntry(std::string_view line) {
  Node& node = nodes_[current_];
  const std::optional<int64_t> index = NumberAfter(line, "/");
  if (!index) return;
  if (std::exchange(truncates_, false)) node.entries.erase(node.entries.lower_bound(*index), node.entries.end());
  node.entries[*index] = std::string(line);
  if (section_ == Section::kEntries) node.last = *index;
}

void TranscriptModel::ReadLogLine(std::string_view line) {
  const std::vector<std::string_view> words = Split(line, " ");
  if (words[0] == "newRaft") return ReadNewNode(line);
  const int64_t number = NodeOf(words[0]);
  if (number == 0 || words.size() < 3) return;
  Node& node = nodes_[number];
  if (words[1] == "became") {
    if (const std::optional<int64_t> term = NumberAfter(line, "at term ")) Became(node, number, words[2], *term);
  } else if (line.find("switched to configuration ") != std::string_view::npos) {
    node.config = std::string(TextAfter(line, "switched to configuration ", "\n"));
  } else if (const std::string_view voted = TextAfter(line, " cast MsgVote for ", " "); !voted.empty()) {
    node.vote = NodeOf(voted);
  }
}

void TranscriptModel::ReadNewNode(std::string_view line) {
  Node& node = nodes_[NodeOf(TextAfter(line, "newRaft ", " "))];
  node.term = NumberAfter(line, " term: ");
  node.commit = NumberAfter(line, "commit: ");
  node.last = NumberAfter(line, "lastindex: ");
  node.vote = 0;
  node.lead = node.ready_lead = 0;
  node.role = node.ready_role = "StateFollower";
}

void TranscriptModel::Became(Node& node, int64_t number, std::string_view role, int64_t term) {
  static const std::map<std::string_view, std::string> roles = {{"follower", "StateFollower"},
                                                                {"candidate", "StateCandidate"},
                                                                {"pre-candidate", "StatePreCandidate"},
                                                                {"leader", "StateLeader"}};
  const auto found = roles.find(role);
  if (found == roles.end()) return;
  node.role = found->second;
  node.lead_is_newer = true;
  if (role == "follower") {
    node.lead.reset();  // the next Ready tells
    if (!node.term) node.vote.reset();
    if (node.term && term > *node.term) node.vote = 0;
  } else {
    node.lead = role == "leader" ? number : 0;
    if (role == "candidate") node.vote = number;
  }
  node.term = term;
}

void TranscriptModel::ReadRaftLog(const Directive& d) {
  std::map<int64_t, std::string> entries;
  for (const std::string_view line : Words(d.expected, "\n")) {
    const std::optional<int64_t> index = IsEntry(line) ? NumberAfter(line, "/") : std::nullopt;
    if (index) entries[*index] = std::string(line);
  }
  const std::optional<int64_t> empty_from = NumberAfter(d.expected, "log is empty: first index=");
  if (d.arguments.empty() || (entries.empty() && !empty_from)) return;
  Node& node = nodes_[NodeOf(d.arguments[0].key)];
  node.entries.erase(node.entries.begin(), node.entries.lower_bound(empty_from ? *empty_from : entries.begin()->first));
  if (async_) return;
  node.last = empty_from ? NumberAfter(d.expected, "last index=") : entries.rbegin()->first;
  node.entries = std::move(entries);
}

void TranscriptModel::ReadRaftState(const Directive& d) {
  for (const std::string_view line : Words(d.expected, "\n")) {
    const std::vector<std::string_view> words = Split(line, " ");
    if (words.size() < 2) continue;
    Node& node = nodes_[NodeOf(words[0].substr(0, words[0].size() - 1))];
    node.term = NumberAfter(line, "Term:");
    node.lead = node.ready_lead = NumberAfter(line, "Lead:");
    node.role = node.ready_role = std::string(words[1]);
    node.lead_is_newer = true;
  }
}

}  // namespace millrace::conformance
