// Where etcd's nodes stand, read from what a transcript says that they print: Ready blocks, "INFO 2 became leader at term 3",
// "switched to configuration", logs. No Raft in it: it takes down what it reads.
//
//     TranscriptModel model;
//     for (const Directive& d : directives) model.Read(d);
//     model.nodes().at(2).commit;  // nullopt: not to be told from the transcript
//
// Much of a transcript may be silenced (log-level none): what is known before is then forgotten, since it may have changed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "tests/conformance/datadriven.h"

namespace millrace::conformance {

class TranscriptModel {
 public:
  struct Node {
    std::optional<int64_t> term, vote, commit, lead, last;
    std::optional<std::string> role;         // "StateLeader"
    std::optional<std::string> config;       // "voters=(1 2)", as applied
    std::map<int64_t, std::string> entries;  // by index, as printed
    // Lead and role as of the last Ready; a Ready prints them only when they have changed.
    std::optional<int64_t> ready_lead;
    std::optional<std::string> ready_role;
    bool lead_is_newer = false;  // than the last Ready
  };

  void Read(const Directive& d);

  const std::map<int64_t, Node>& nodes() const { return nodes_; }
  // Nothing is left to be done after the last command, so that everything known is up to date.
  bool settled() const { return settled_; }
  // Some of what has happened may not have been printed yet.
  bool stale() const { return stale_; }

 private:
  enum class Section : uint8_t { kNone, kEntries, kCommitted, kMessages };

  void ReadOutput(const Directive& d);
  void ReadLine(std::string_view line);
  bool ReadHeadline(std::string_view line);
  bool ReadReadyLine(std::string_view line);
  void ReadHardState(std::string_view line);
  void ReadSnapshot(std::string_view line);
  void ReadEntry(std::string_view line);
  void ReadLogLine(std::string_view line);
  void ReadNewNode(std::string_view line);
  void Became(Node& node, int64_t number, std::string_view role, int64_t term);
  void ReadRaftLog(const Directive& d);
  void ReadRaftState(const Directive& d);

  std::map<int64_t, Node> nodes_;
  std::string level_ = "debug";
  bool async_ = false;  // raft-log shows the disk, which lags behind
  bool settled_ = false;
  bool stale_ = false;

  // Within a command's output.
  int64_t current_ = 0;  // the node whose Ready is printed
  Section section_ = Section::kNone;
  bool truncates_ = false;  // the next entry replaces what follows it
};

}  // namespace millrace::conformance
