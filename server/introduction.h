// What a broker says of itself to one that it may share a cluster with (formation.h), and its bytes on the wire.
//
//     std::string bytes = EncodeIntroduction(formation.Introduce());
//     absl::StatusOr<Introduction> theirs = DecodeIntroduction(bytes);
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "raft/membership.h"
#include "raft/types.h"
#include "server/identity.h"

namespace millrace::server {

// An entry of --cluster.
struct ListedBroker {
  raft::BrokerId id;
  std::string address;  // HOST:PORT

  auto operator<=>(const ListedBroker&) const = default;
};

struct Introduction {
  raft::ReplicaId self;
  std::vector<ListedBroker> cluster;  // its --cluster, by id
  Identity::Stage stage = Identity::Stage::kNone;
  raft::ReplicaSet founders;  // that it has pledged itself to, or of its cluster
  raft::ReplicaSet seen;      // at kNone: the disks of all of `cluster`, once it has heard of all
  // Of a member: the other's disk is one of its cluster's by now (MetadataImage::Counts). The caller sets it.
  bool counts_you = false;

  bool operator==(const Introduction&) const = default;
};

// A serialized millrace.internal.v1.Introduction.
std::string EncodeIntroduction(const Introduction& introduction);
// Takes any bytes. kInvalidArgument: no introduction, or one that contradicts itself.
absl::StatusOr<Introduction> DecodeIntroduction(std::string_view bytes);

}  // namespace millrace::server
