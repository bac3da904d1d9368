// What becomes of a consumer group when members come, go, let go of partitions, topics change or positions are reset: the records to
// write, as a function of the group's state and of what has happened since the last ones. Nothing else is decided anywhere.
//
//     const internal::v1::GroupChange change = Decide(state, events, *image, patterns);
//     if (IsChange(change)) …append it; when it is replayed, members are told
//
// The rules (group.proto): a partition is given to a member only while it is in nobody's hands; one that should be elsewhere is first
// told to be let go of; each that is given, or whose position is reset, has the group's new epoch there. So two members can have the same
// partition under the same epoch in no state that was ever replayed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/group_state.h"
#include "server/metadata_image.h"

namespace millrace::server {

// Of whole topic names, in RE2's syntax. Keeps what it compiled.
class TopicPatterns {
 public:
  TopicPatterns();
  ~TopicPatterns();
  TopicPatterns(const TopicPatterns&) = delete;

  // Empty: it compiles; else why not.
  std::string Problem(const std::string& pattern);
  // Never the cluster's own topics, nor by a pattern that does not compile.
  bool Matches(const std::string& pattern, const std::string& topic);

 private:
  struct Compiled;
  const Compiled& Compile(const std::string& pattern);

  std::unordered_map<std::string, std::unique_ptr<Compiled>> compiled_;
};

// Since the last decision.
struct GroupEvents {
  // As they describe themselves; epoch, joined and holdings are not theirs to say.
  std::map<std::string, MemberState> described;  // new ones, and changed ones
  std::set<std::string> joined;                  // of these, those that begin anew, holding nothing
  std::set<std::string> left;                    // or silent for too long
  std::map<std::string, std::set<PartitionId>> let_go;
  std::map<PartitionId, CommittedOffset> resets;  // an offset of -1 forgets
  bool topics_changed = false;

  bool empty() const;
};

internal::v1::GroupChange Decide(const GroupState& state, const GroupEvents& events, const MetadataImage& image,
                                 TopicPatterns& patterns);
bool IsChange(const internal::v1::GroupChange& change);

// As the oldest member wants it.
int32_t AssignorOf(const GroupState& group);

}  // namespace millrace::server
