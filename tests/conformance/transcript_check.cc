#include "tests/conformance/transcript_check.h"

#include <algorithm>
#include <map>
#include <utility>

#include "tests/conformance/datadriven.h"
#include "tests/conformance/text.h"
#include "tests/conformance/transcript_model.h"
#include "tests/conformance/transcript_runner.h"

namespace millrace::conformance {
namespace {

constexpr std::string_view kNothing = "nothing";

// "1: StateReplicate match=11 next=12 paused" without what only tells how a leader gets there (differences.md).
std::string StateAndMatch(std::string_view line) {
  std::string kept;
  for (const std::string_view word : Words(line)) {
    const bool keeps =
        word.ends_with(':') || word.starts_with("State") || word.starts_with("match=") || word == "learner";
    if (keeps) CatTo(&kept, kept.empty() ? "" : " ", word);
  }
  return kept.empty() ? std::string(line) : kept;
}

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

class Checker {
 public:
  Checker(std::string file, const std::vector<Directive>& directives)
      : file_(std::move(file)), directives_(directives), runner_(directives) {}

  absl::StatusOr<std::vector<Difference>> Run() {
    for (const Directive& d : directives_) {
      absl::StatusOr<std::string> output = runner_.Run(d);
      if (!output.ok()) return output.status();
      line_ = Cat(d.line);
      CompareOutput(d, *output);
      model_.Read(d);
      if (model_.settled()) CompareNodes();
    }
    line_ = "end";
    reported_.clear();
    CompareNodes();
    return std::move(differences_);
  }

 private:
  void Compare(const std::string& what, std::string_view etcd, std::string_view ours) {
    if (etcd == ours) {
      reported_.erase(what);
      return;
    }
    Difference d{file_, line_, what, std::string(etcd), std::string(ours)};
    // As long as it lasts it is one difference.
    const std::string values = Cat(etcd, "|", ours);
    if (std::exchange(reported_[what], values) != values) differences_.push_back(std::move(d));
  }
  void Compare(const std::string& what, std::optional<int64_t> etcd, int64_t ours) {
    if (etcd) Compare(what, Cat(*etcd), Cat(ours));
  }

  void CompareOutput(const Directive& d, const std::string& output) {
    if (d.command == "raft-log" || d.command == "raft-state" || d.command == "status" || d.command == "compact") {
      if (d.expected == "ok\n") return;  // silenced, or nothing to print
      return CompareLines(d, d.expected, d.command == "raft-log" ? SinceEtcdsSnapshot(d, output) : output);
    }
    // Of the rest only whether a proposal was refused: what else it prints is a trace.
    static constexpr std::string_view kDropped = "raft proposal dropped";
    if (!d.command.starts_with("propose")) return;
    const std::string_view ours = Contains(output, kDropped) ? kDropped : "taken";
    const std::string_view etcd = Contains(d.expected, kDropped) ? kDropped : "taken";
    reported_.erase(d.text);
    Compare(d.text, etcd, ours);
  }

  // Where a node has got a snapshot ours may stand at an earlier entry, with those between it and etcd's in the log.
  std::string SinceEtcdsSnapshot(const Directive& d, const std::string& output) {
    const absl::StatusOr<Node*> node = runner_.NodeOf(d);
    if (!node.ok() || !(*node)->has_had_snapshot()) return output;
    const std::vector<std::string_view> etcd = Words(d.expected, "\n"), ours = Words(output, "\n");
    if (etcd.empty() || !Contains(etcd.front(), "Entry")) {
      // etcd's log is empty behind its snapshot: ours must end there.
      const bool ends = d.expected.ends_with(Cat("last index=", (*node)->disk().last_index().value(), "\n"));
      return ends ? d.expected : output;
    }
    const auto first = std::find(ours.begin(), ours.end(), etcd.front());
    if (first == ours.end()) return output;
    std::string rest;
    for (auto line = first; line != ours.end(); ++line) CatTo(&rest, *line, "\n");
    return rest;
  }

  void CompareLines(const Directive& d, std::string_view etcd, std::string_view ours) {
    const std::vector<std::string_view> theirs = Words(etcd, "\n");
    const std::vector<std::string_view> own = Words(ours, "\n");
    for (size_t i = 0; i < std::max(theirs.size(), own.size()); ++i) {
      std::string their_line(i < theirs.size() ? theirs[i] : kNothing);
      if (d.command == "status") their_line = StateAndMatch(their_line);
      const std::string what = Cat(d.text, ", line ", i + 1);
      reported_.erase(what);
      Compare(what, their_line, i < own.size() ? own[i] : kNothing);
    }
  }

  void CompareNodes() {
    for (const auto& [number, etcd] : model_.nodes()) {
      if (number < 1 || number > static_cast<int64_t>(runner_.nodes().size())) {
        Compare(Cat("node ", number), "there", kNothing);
        continue;
      }
      CompareNode(Cat("node ", number, " "), etcd, *runner_.nodes()[static_cast<size_t>(number - 1)]);
    }
  }

  void CompareNode(const std::string& node, const TranscriptModel::Node& etcd, const Node& ours) {
    const raft::Core& core = ours.core();
    if (!model_.stale()) {
      const raft::ReplicaId lead = etcd.lead_is_newer ? core.leader() : ours.shown().leader;
      Compare(node + "term", etcd.term, EtcdTerm(core.term()));
      Compare(node + "vote", etcd.vote, NodeNumber(core.term_and_vote().voted_for));
      Compare(node + "lead", etcd.lead, NodeNumber(lead));
      if (etcd.role) Compare(node + "role", *etcd.role, ToEtcdText(core.role()));
    }
    Compare(node + "commit", etcd.commit, ours.shown().commit.value());
    if (etcd.config) Compare(node + "configuration", *etcd.config, ToEtcdText(ours.snapshot().membership));
    const raft::ReadyLog& log = ours.log();
    Compare(node + "last index", etcd.last, log.last_index().value());
    for (const auto& [index, entry] : etcd.entries) {
      const bool has = log.Has(raft::LogIndex(index));
      Compare(Cat(node, "entry ", index), entry, has ? runner_.EntryText(log.At(raft::LogIndex(index))) : kNothing);
    }
  }

  const std::string file_;
  const std::vector<Directive>& directives_;
  TranscriptRunner runner_;
  TranscriptModel model_;
  std::string line_;
  std::map<std::string, std::string> reported_;  // differences that last: what, and both values
  std::vector<Difference> differences_;
};

}  // namespace

absl::StatusOr<std::vector<Difference>> CheckTranscript(const std::string& file, std::string_view text) {
  absl::StatusOr<std::vector<Directive>> directives = ParseDataDriven(file, text);
  if (!directives.ok()) return directives.status();
  return Checker(file, *directives).Run();
}

}  // namespace millrace::conformance
