// What is under way between the nodes of a transcript. Besides the core's own messages these are what etcd sends as messages and
// our core leaves to its driver: a write or an apply that is done, a proposal or a transfer asked of a follower.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "raft/messages.h"
#include "raft/types.h"
#include "tests/conformance/etcd_text.h"

namespace millrace::conformance {

struct Persisted {};  // the node's oldest write that it has not heard of
struct Applied {
  raft::LogIndex last;
};

struct Proposal {
  enum class Kind : uint8_t { kData, kChange };
  enum class Transition : uint8_t { kAuto, kImplicit, kExplicit };

  Kind kind = Kind::kData;
  std::string data;
  std::vector<EtcdChange> changes;
  Transition transition = Transition::kAuto;
  bool v1 = false;  // etcd has an older kind of entry for single changes; only its name differs

  // etcd's name of the entry, for a change.
  std::string Label() const;
};

struct Transfer {
  int64_t to_node = 0;
};

struct Mail {
  int64_t from = 0;
  int64_t to = 0;
  std::variant<raft::Message, Persisted, Applied, Proposal, Transfer> content;

  bool Local() const { return from == to; }  // not subject to loss
};

// "MsgApp" and so on.
std::string_view EtcdType(const Mail& mail);
bool IsEtcdType(std::string_view type);

}  // namespace millrace::conformance
