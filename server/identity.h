// Which broker a data directory belongs to, and to which cluster: the file BROKER beside the store.
//
//     auto found = FindIdentity(directory, has_store);              // before the store is opened
//     ...
//     if (!*found) found = MakeIdentity(directory, store_is_empty, BrokerId(2), random);
//     WriteIdentity(directory, identity);                           // formation.h says when
//
// The incarnation is drawn once, when the store is made: a broker with another disk is another replica (raft/types.h). The store
// is made first, then the file, so a crash in between leaves an empty store, which gets one at the next start. A directory
// that has only one of the two has lost the other, and is refused: an empty store that went on under the old incarnation
// would have forgotten what it acked and voted.
//
// The file is text, so that people can read it:
//
//     millrace broker 1
//     broker 2
//     incarnation 9e3779b97f4a7c15
//     starts 12
//     cluster 0f3c2a…                  pledged or member: and the founders it is made of
//     member
//     founder 1 bf58476d1ce4e5b9
//     founder 2 9e3779b97f4a7c15
//     crc32c 0a1b2c3d                  of all lines above
//
// Threads: any, one at a time for a directory; blocks. Errors: kDataLoss when the file is damaged, kUnimplemented when a newer
// release wrote it, kFailedPrecondition when file and store do not belong together, kInternal when the system fails (what a
// failed write left is unknown). The text says what to do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/wire/runtime.h"
#include "raft/membership.h"
#include "raft/types.h"

namespace millrace::server {

inline constexpr raft::BrokerId kNoBrokerId = raft::kNoReplica.broker;

// To whoever misses a broker's disk. Nothing in this release puts another one in its place: a new disk comes in as a new broker.
inline constexpr char kLostDiskRemedy[] =
    "bring back the data directory that the broker had (is a mount missing, was a folder moved?); if it is lost, start "
    "the broker with an empty one and --join, without --broker-id: it comes in under a new number, and the replicas on "
    "the lost disk stay missing, as this release cannot replace them";

// Of a directory that is back in an older state: what it acked since is missing in it.
std::string OldCopySentence(raft::BrokerId broker, uint64_t starts, uint64_t known_starts);

struct Identity {
  // How far this disk has come on its way into a cluster (formation.h).
  enum class Stage : uint8_t { kNone, kPledged, kMember };

  raft::ReplicaId self;  // kNoBrokerId: joins a cluster that will give it a number
  Stage stage = Stage::kNone;
  raft::ReplicaSet founders;  // of the cluster; empty at kNone
  uint64_t starts = 0;        // how often a broker was started on the directory: tells an older copy of it

  // Empty at kNone.
  std::string cluster_id() const;

  bool operator==(const Identity&) const = default;
};

// 32 hexadecimal digits that only these very disks give (SHA-256).
std::string ClusterIdOf(const raft::ReplicaSet& founders);

// Nothing: the directory is new (it may not exist), or its store is.
absl::StatusOr<std::optional<Identity>> FindIdentity(const std::string& directory, bool has_store);

// Of a new store; written.
absl::StatusOr<Identity> MakeIdentity(const std::string& directory, bool store_is_empty, raft::BrokerId broker,
                                      Random& random);

// Replaces the file: after a crash there is the old one or this one. On the disk when it returns.
absl::Status WriteIdentity(const std::string& directory, const Identity& identity);

}  // namespace millrace::server
