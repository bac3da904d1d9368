#include "raft/messages.h"

#include "absl/strings/str_cat.h"

namespace millrace::raft {
namespace {

std::string Text(ReplicaId id) { return absl::StrCat(id.broker.value(), "/", id.incarnation); }
std::string Text(EntryId id) { return absl::StrCat(id.term.value(), "/", id.index.value()); }

struct Describe {
  std::string operator()(const AppendEntries& m) const {
    std::string text =
        absl::StrCat("AppendEntries request=", m.request, " prev=", Text(m.prev), " commit=", m.commit.value(),
                     " confirmed=", m.confirmed.index.value(), m.lost_in_life != 0 ? " abstain" : "", " entries=[");
    for (const Entry& e : m.entries) {
      absl::StrAppend(&text, " ", Text({e.header.term, e.header.index}), "(", e.payload.size(), ")");
    }
    return text + " ]";
  }
  std::string operator()(const AppendReply& m) const {
    return absl::StrCat("AppendReply request=", m.request,
                        m.accepted ? absl::StrCat(" match=", m.match.value(), m.unsynced ? " unsynced" : "")
                                   : absl::StrCat(" rejected=", m.rejected.value(), " hint=", Text(m.hint)),
                        " last=", m.last_index.value(), m.abstention != 0 ? " abstaining" : "");
  }
  std::string operator()(const Heartbeat& m) const {
    return absl::StrCat("Heartbeat commit=", Text(m.commit), " round=", m.read_round,
                        m.quiesce ? absl::StrCat(" quiesce at ", m.last_index.value()) : "");
  }
  std::string operator()(const HeartbeatReply& m) const {
    return absl::StrCat("HeartbeatReply round=", m.read_round,
                        m.quiet ? absl::StrCat(" quiet at ", m.last_index.value()) : "",
                        m.abstention != 0 ? " abstaining" : "");
  }
  std::string operator()(const VoteRequest& m) const {
    return absl::StrCat(m.pre_vote ? "PreVote" : "Vote", "Request last=", Text(m.last), m.transfer ? " transfer" : "");
  }
  std::string operator()(const VoteReply& m) const {
    return absl::StrCat(m.pre_vote ? "PreVote" : "Vote", "Reply ", m.granted ? "granted" : "refused",
                        m.abstaining ? " abstaining" : "");
  }
  std::string operator()(const InstallSnapshot& m) const {
    return absl::StrCat("InstallSnapshot last=", Text(m.last), " offset=", m.end_offset.value(),
                        " state=", m.state.size(), " ", ToString(m.membership));
  }
  std::string operator()(const TimeoutNow&) const { return "TimeoutNow"; }
};

}  // namespace

std::string ToString(const Message& message) {
  return absl::StrCat(Text(message.from), "->", Text(message.to), " term=", message.term.value(), " ",
                      std::visit(Describe(), message.body));
}

}  // namespace millrace::raft
