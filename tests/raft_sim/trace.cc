#include "tests/raft_sim/trace.h"

#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace millrace::raft::sim {
namespace {

struct BriefBody {
  Brief& out;

  void operator()(const AppendEntries& m) {
    out.a = m.prev.index.value();
    out.b = static_cast<int64_t>(m.entries.size());
    out.c = m.commit.value();
    out.flags = m.lost_in_life != 0;
  }
  void operator()(const AppendReply& m) {
    out.flags = static_cast<uint8_t>(m.accepted | (m.abstention != 0) << 1);
    out.a = m.accepted ? m.match.value() : m.rejected.value();
    out.b = m.accepted ? m.last_index.value() : m.hint.index.value();
    out.c = m.hint.term.value();
  }
  void operator()(const Heartbeat& m) {
    out.flags = m.quiesce;
    out.a = m.commit.index.value();
    out.b = static_cast<int64_t>(m.read_round);
    out.c = m.confirmed.index.value();
  }
  void operator()(const HeartbeatReply& m) {
    out.flags = static_cast<uint8_t>(m.quiet | (m.abstention != 0) << 1);
    out.a = static_cast<int64_t>(m.read_round);
    out.b = m.last_index.value();
  }
  void operator()(const VoteRequest& m) {
    out.flags = static_cast<uint8_t>(m.pre_vote | m.transfer << 1);
    out.a = m.last.term.value();
    out.b = m.last.index.value();
  }
  void operator()(const VoteReply& m) {
    out.flags = static_cast<uint8_t>(m.granted | m.pre_vote << 1 | m.abstaining << 2);
  }
  void operator()(const InstallSnapshot& m) {
    out.a = m.last.term.value();
    out.b = m.last.index.value();
  }
  void operator()(const TimeoutNow&) {}
};

constexpr const char* kKinds[] = {"deliver", "tick",   "disk",   "drain", "apply",    "answer",
                                  "start",   "resume", "client", "fault", "fault end"};

std::string Text(ReplicaId id) { return absl::StrFormat("%d/%d", id.broker.value(), id.incarnation); }

}  // namespace

Brief BriefOf(const Message& message) {
  Brief brief{
      .kind = static_cast<uint8_t>(message.body.index()), .from = message.from, .to = message.to, .term = message.term};
  std::visit(BriefBody{brief}, message.body);
  return brief;
}

std::string ToString(const Brief& m) {
  std::string out = absl::StrFormat("%s -> %s term %d ", Text(m.from), Text(m.to), m.term.value());
  auto add = [&](const auto& format, auto... values) { absl::StrAppendFormat(&out, format, values...); };
  switch (m.kind) {
    case kAppend:
      add("append behind %d: %d entries, commit %d%s", m.a, m.b, m.c, m.flags ? ", abstain" : "");
      break;
    case kAppendReply:
      if (m.flags & 1) add("append accepted, match %d last %d%s", m.a, m.b, m.flags & 2 ? ", abstaining" : "");
      if (!(m.flags & 1)) add("append refused at %d, hint %d/%d%s", m.a, m.c, m.b, m.flags & 2 ? ", abstaining" : "");
      break;
    case kHeartbeat:
      add("heartbeat commit %d round %d confirmed %d%s", m.a, m.b, m.c, m.flags ? ", go quiet" : "");
      break;
    case kHeartbeatReply:
      add("heartbeat reply round %d last %d%s%s", m.a, m.b, m.flags & 1 ? ", quiet" : "",
          m.flags & 2 ? ", abstaining" : "");
      break;
    case kVoteRequest:
      add("%svote request, last %d/%d%s", m.flags & 1 ? "pre-" : "", m.a, m.b, m.flags & 2 ? ", transfer" : "");
      break;
    case kVoteReply:
      add("%svote %s%s", m.flags & 2 ? "pre-" : "", m.flags & 1 ? "granted" : "refused",
          m.flags & 4 ? ", abstaining" : "");
      break;
    case kSnapshot:
      add("snapshot at %d/%d", m.a, m.b);
      break;
    default:
      out += "timeout now";
  }
  return out;
}

std::string ToString(const Trace::Line& line) {
  std::string out = absl::StrFormat("%7d %9d  broker %d  %-9s", line.number, line.time, line.broker,
                                    kKinds[static_cast<size_t>(line.kind)]);
  if (line.kind == EventKind::kDeliver) absl::StrAppend(&out, " ", ToString(line.message));
  if (line.note[0] != '\0') absl::StrAppend(&out, " [", line.note, "]");
  return out;
}

std::string Trace::Text() const {
  std::string out;
  size_t begin = next_ > kLength ? next_ - kLength : 0;
  for (size_t i = begin; i < next_; ++i) absl::StrAppend(&out, ToString(lines_[i % kLength]), "\n");
  return out;
}

}  // namespace millrace::raft::sim
