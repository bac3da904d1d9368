#include "tests/raft_sim/recovery.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/raft_sim/node.h"
#include "tests/raft_sim/workload.h"
#include "tests/raft_sim/world.h"

namespace millrace::raft::sim {
namespace {

// Election timeouts (of the slowest clock and the longest draw) that the whole may take, once all disks have answered that were
// stalled. Copying the log through the smallest of windows takes a round trip for each entry besides.
constexpr int kTimeouts = 40;

}  // namespace

void Recovery::Begin() {
  world_.calm = true;
  world_.network.Heal();
  int64_t entries = 0;
  int64_t disks_answer = world_.now;
  for (const auto& node : world_.nodes) {
    entries = std::max(entries, node->disk().acked().chain().last().value());
    disks_answer = std::max(disks_answer, node->round_ends());
    node->StallDisk(0);
    node->SlowDisk(1);
    node->Calm();
    node->Resume();
    node->Start();
  }
  deadline_ = disks_answer + int64_t{kTimeouts} * 3 * world_.swarm.config.election_ticks * kTick + entries * kTick;
}

bool Recovery::Done() {
  if (world_.now < next_look_) return false;
  next_look_ = world_.now + kTick;
  const std::string missing = Missing();
  if (missing.empty()) return true;
  if (world_.now > deadline_) world_.Fail(absl::StrCat("liveness: ", missing));
  if (Node* leader = Leader()) {
    Propose(*leader);
    if (!read_asked_) workload_.Read(*leader);
    read_asked_ = true;
  }
  return false;
}

// Of the highest term: an older one may not know yet that it is not.
Node* Recovery::Leader() {
  Node* leader = nullptr;
  for (const auto& node : world_.nodes) {
    if (node->leads() && (leader == nullptr || leader->core().term() < node->core().term())) leader = node.get();
  }
  return leader;
}

void Recovery::Propose(Node& leader) {
  if (proposal_ && (world_.invariants.Committed(*proposal_) || world_.now < propose_again_)) return;
  if (std::optional<uint64_t> number = workload_.Propose(leader)) {
    proposal_ = number;
    propose_again_ = world_.now + 2 * world_.swarm.config.election_ticks * kTick;
  }
}

std::string Recovery::Missing() {
  Node* leader = Leader();
  if (leader == nullptr) return "no leader";
  if (!proposal_) return "no proposal is taken";
  if (!world_.invariants.Committed(*proposal_)) return "a fresh proposal is not committed";
  if (!read_asked_) return "no read is asked";
  for (const auto& node : world_.nodes) {
    if (node->owes_read()) return absl::StrCat("broker ", node->broker(), " does not answer a read");
  }
  const Membership& membership = leader->core().membership();
  const LogIndex last = leader->core().last_index();
  if (membership.joint() && membership.auto_leave) return "a joint configuration is not left";
  for (ReplicaId id : membership.Members()) {
    Node* node = world_.Alive(id);
    if (node == nullptr || world_.invariants.IsVictim(id)) continue;
    if (!membership.joint() && Contains(membership.promote, id))
      return absl::StrCat("broker ", node->broker(), " is not promoted");
    if (!node->up()) return absl::StrCat("broker ", node->broker(), " is down");
    if (node->abstaining()) return absl::StrCat("broker ", node->broker(), " abstains");
    if (node->disk().acked().chain().last() != last)
      return absl::StrCat("broker ", node->broker(), " has another log end");
    if (node->applied() != last) return absl::StrCat("broker ", node->broker(), " has not applied all");
    if (node->chain().back().digest != leader->chain().back().digest) {
      return absl::StrCat("broker ", node->broker(), " has another log");
    }
  }
  return "";
}

}  // namespace millrace::raft::sim
