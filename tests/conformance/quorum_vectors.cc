#include "tests/conformance/quorum_vectors.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "raft/quorum.h"
#include "tests/conformance/etcd_text.h"
#include "tests/conformance/text.h"

namespace millrace::conformance {
namespace {

using raft::LogIndex;
using raft::Membership;
using raft::ReplicaId;
using raft::ReplicaSet;

// No key: no answer.
using Acked = std::map<ReplicaId, LogIndex>;
using Votes = std::map<ReplicaId, bool>;

struct Vector {
  std::vector<ReplicaId> voters, outgoing;  // as given
  bool joint = false;
  std::vector<std::string> answers;  // idx or votes

  ReplicaSet All() const {
    ReplicaSet all = voters;
    all.insert(all.end(), outgoing.begin(), outgoing.end());
    return Sorted(all);
  }
  static ReplicaSet Sorted(ReplicaSet set) {
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
    return set;
  }
};

absl::StatusOr<Vector> ReadVector(const Directive& d) {
  Vector v;
  for (const Argument& argument : d.arguments) {
    if (argument.key == "cfg" || argument.key == "cfgj") {
      v.joint |= argument.key == "cfgj";
      if (argument.key == "cfgj" && argument.values == std::vector<std::string>{"zero"}) continue;
      for (const std::string& value : argument.values) {
        absl::StatusOr<int64_t> node = ToNumber(d, value);
        if (!node.ok()) return node.status();
        (argument.key == "cfg" ? v.voters : v.outgoing).push_back(NodeId(*node));
      }
    } else if (argument.key == (d.command == "vote" ? "votes" : "idx")) {
      v.answers = argument.values;
    } else {
      return ErrorAt(d, Cat("unknown argument ", argument.key));
    }
  }
  return v;
}

// Each answer with its node.
std::map<ReplicaId, std::string> Answers(const Vector& v) {
  std::map<ReplicaId, std::string> answers;
  size_t next = 0;
  for (const std::vector<ReplicaId>* half : {&v.voters, &v.outgoing}) {
    for (const ReplicaId id : *half) {
      if (answers.contains(id) || next == v.answers.size()) continue;
      answers[id] = v.answers[next++];
    }
  }
  std::erase_if(answers, [](const auto& answer) { return answer.second == "_"; });
  return answers;
}

// Of one set of voters, or of two joined; either may be empty.
LogIndex Committed(const ReplicaSet& voters, const std::optional<ReplicaSet>& outgoing, const Acked& acked) {
  const auto index = [&](ReplicaId id) {
    const auto found = acked.find(id);
    return found == acked.end() ? LogIndex(0) : found->second;
  };
  if (!outgoing) return raft::CommittedIndex(voters, index);
  return raft::CommittedIndex(Membership{.voters = voters, .outgoing = *outgoing}, index);
}

std::string ToText(LogIndex index) {
  return index == LogIndex(std::numeric_limits<int64_t>::max()) ? "∞" : Cat(index.value());
}

// Who holds how much: the bar is as long as the number of voters that hold less.
std::string Picture(const ReplicaSet& all, const Acked& acked) {
  if (all.empty()) return "<empty majority quorum>";
  const auto index = [&](ReplicaId id) { return acked.contains(id) ? acked.at(id) : LogIndex(0); };
  std::string text = Cat(std::string(all.size() + 4, ' '), "idx\n");
  for (const ReplicaId id : all) {
    const auto less = [&](ReplicaId other) { return index(other) < index(id); };
    const size_t bar = static_cast<size_t>(std::count_if(all.begin(), all.end(), less));
    const std::string picture = acked.contains(id) ? Cat(std::string(bar, 'x'), ">", std::string(all.size() - bar, ' '))
                                                   : Cat("?", std::string(all.size(), ' '));
    absl::StrAppendFormat(&text, "%s %5d    (id=%x)\n", picture, index(id).value(), NodeNumber(id));
  }
  return text;
}

// Lowering what already did not count must change nothing.
std::string LoweredAcks(const ReplicaSet& voters, const Acked& acked, LogIndex committed) {
  std::string text;
  for (const auto& [id, index] : acked) {
    if (index >= committed) continue;
    for (const LogIndex lower : {index - 1, LogIndex(0)}) {
      Acked lowered = acked;
      lowered[id] = lower;
      if (Committed(voters, std::nullopt, lowered) == committed) continue;
      CatTo(&text, committed.value(), " <-- overlaying ", NodeNumber(id), "->", lower.value(), "\n");
    }
  }
  return text;
}

absl::StatusOr<std::string> AnswerCommitted(const Directive& d, const Vector& v) {
  Acked acked;
  for (const auto& [id, text] : Answers(v)) {
    absl::StatusOr<int64_t> index = ToNumber(d, text);
    if (!index.ok()) return index.status();
    if (*index == 0) return ErrorAt(d, "0 cannot be told from no answer: use _");
    acked[id] = LogIndex(*index);
  }
  const ReplicaSet voters = Vector::Sorted(v.voters);
  const ReplicaSet outgoing = Vector::Sorted(v.outgoing);
  const LogIndex committed = Committed(voters, v.joint ? std::optional(outgoing) : std::nullopt, acked);
  std::string output = Picture(v.All(), acked);
  const auto same = [&](LogIndex other, std::string_view way) {
    if (other != committed) CatTo(&output, ToText(other), " <-- via ", way, "\n");
  };
  if (v.joint) {
    same(Committed(outgoing, voters, acked), "symmetry");
  } else {
    same(Committed(voters, ReplicaSet(), acked), "zero-joint quorum");
    same(Committed(voters, voters, acked), "self-joint quorum");
    output += LoweredAcks(voters, acked, committed);
  }
  return Cat(output, ToText(committed), "\n");
}

std::string Tallied(const ReplicaSet& voters, const ReplicaSet& outgoing, const Votes& votes) {
  const auto vote = [&](ReplicaId id) -> std::optional<bool> {
    const auto found = votes.find(id);
    return found == votes.end() ? std::nullopt : std::optional<bool>(found->second);
  };
  switch (raft::Tally(Membership{.voters = voters, .outgoing = outgoing}, vote)) {
    case raft::VoteResult::kPending:
      return "VotePending";
    case raft::VoteResult::kLost:
      return "VoteLost";
    case raft::VoteResult::kWon:
      return "VoteWon";
  }
  return "?";
}

absl::StatusOr<std::string> AnswerVote(const Directive& d, const Vector& v) {
  Votes votes;
  for (const auto& [id, text] : Answers(v)) {
    if (text != "y" && text != "n") return ErrorAt(d, Cat("unknown vote: ", text));
    votes[id] = text == "y";
  }
  const ReplicaSet voters = Vector::Sorted(v.voters);
  const ReplicaSet outgoing = Vector::Sorted(v.outgoing);
  const std::string result = Tallied(voters, outgoing, votes);
  const std::string exchanged = Tallied(outgoing, voters, votes);
  return Cat(exchanged == result ? "" : Cat(exchanged, " <-- via symmetry\n"), result, "\n");
}

// As Go prints a set and a list of numbers.
std::string Mismatch(const ReplicaSet& all, const std::vector<std::string>& answers) {
  std::string voters, given;
  for (const ReplicaId id : all) CatTo(&voters, voters.empty() ? "" : " ", NodeNumber(id), ":{}");
  for (const std::string& answer : answers) {
    CatTo(&given, given.empty() ? "" : " ",
          answer == "_"   ? "0"
          : answer == "n" ? "1"
          : answer == "y" ? "2"
                          : answer.c_str());
  }
  return Cat("error: mismatched input (explicit or _) for voters map[", voters, "]: [", given, "]\n");
}

}  // namespace

absl::StatusOr<std::string> AnswerQuorumVector(const Directive& directive) {
  if (directive.command != "committed" && directive.command != "vote") {
    return ErrorAt(directive, Cat("unknown command ", directive.command));
  }
  absl::StatusOr<Vector> v = ReadVector(directive);
  if (!v.ok()) return v.status();
  const ReplicaSet all = v->All();
  if (all.size() != v->answers.size()) {
    return Mismatch(all, v->answers);
  }
  return directive.command == "vote" ? AnswerVote(directive, *v) : AnswerCommitted(directive, *v);
}

}  // namespace millrace::conformance
