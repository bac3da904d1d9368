#include "tests/conformance/mail.h"

#include <algorithm>
#include <array>

#include "tests/conformance/text.h"

namespace millrace::conformance {
namespace {

struct TypeOfMessage {
  std::string_view operator()(const raft::AppendEntries&) const { return "MsgApp"; }
  std::string_view operator()(const raft::AppendReply&) const { return "MsgAppResp"; }
  std::string_view operator()(const raft::Heartbeat&) const { return "MsgHeartbeat"; }
  std::string_view operator()(const raft::HeartbeatReply&) const { return "MsgHeartbeatResp"; }
  std::string_view operator()(const raft::VoteRequest& m) const { return m.pre_vote ? "MsgPreVote" : "MsgVote"; }
  std::string_view operator()(const raft::VoteReply& m) const { return m.pre_vote ? "MsgPreVoteResp" : "MsgVoteResp"; }
  std::string_view operator()(const raft::InstallSnapshot&) const { return "MsgSnap"; }
  std::string_view operator()(const raft::TimeoutNow&) const { return "MsgTimeoutNow"; }
};

struct TypeOfContent {
  std::string_view operator()(const raft::Message& m) const { return std::visit(TypeOfMessage(), m.body); }
  std::string_view operator()(const Persisted&) const { return "MsgStorageAppendResp"; }
  std::string_view operator()(const Applied&) const { return "MsgStorageApplyResp"; }
  std::string_view operator()(const Proposal&) const { return "MsgProp"; }
  std::string_view operator()(const Transfer&) const { return "MsgTransferLeader"; }
};

// The last two rows never travel between our nodes, so no mail has these types.
constexpr auto kTypes = std::to_array<std::string_view>({"MsgApp",
                                                         "MsgAppResp",
                                                         "MsgHeartbeat",
                                                         "MsgHeartbeatResp",
                                                         "MsgVote",
                                                         "MsgVoteResp",
                                                         "MsgPreVote",
                                                         "MsgPreVoteResp",
                                                         "MsgSnap",
                                                         "MsgTimeoutNow",
                                                         "MsgStorageAppendResp",
                                                         "MsgStorageApplyResp",
                                                         "MsgProp",
                                                         "MsgTransferLeader",
                                                         "MsgHup",
                                                         "MsgBeat",
                                                         "MsgUnreachable",
                                                         "MsgSnapStatus",
                                                         "MsgCheckQuorum",
                                                         "MsgReadIndex",
                                                         "MsgReadIndexResp",
                                                         "MsgStorageAppend",
                                                         "MsgStorageApply",
                                                         "MsgForgetLeader"});

}  // namespace

std::string Proposal::Label() const {
  std::string label = v1 ? "EntryConfChange" : "EntryConfChangeV2";
  for (const EtcdChange& change : changes) CatTo(&label, " ", std::string(1, change.kind), change.node);
  return label;
}

std::string_view EtcdType(const Mail& mail) { return std::visit(TypeOfContent(), mail.content); }

bool IsEtcdType(std::string_view type) { return std::find(kTypes.begin(), kTypes.end(), type) != kTypes.end(); }

}  // namespace millrace::conformance
