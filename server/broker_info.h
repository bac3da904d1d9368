// A broker as the metadata knows it.
#pragma once

#include <cstdint>
#include <string>

#include "raft/types.h"

namespace millrace::internal::v1 {
class BrokerRecord;
}

namespace millrace::server {

// What a release speaks (ARCHITECTURE D18), both ends included.
struct FeatureLevels {
  int32_t min = 1;
  int32_t max = 1;

  bool operator==(const FeatureLevels&) const = default;
};
inline constexpr FeatureLevels kFeatureLevels{1, 1};  // this one

struct BrokerInfo {
  raft::ReplicaId id;
  std::string address;  // advertised HOST:PORT
  std::string rack;
  FeatureLevels feature_levels;
  std::string build;
  uint64_t session = 0;  // drawn at each start of the process
  uint64_t starts = 0;   // of its data directory; 0: not known

  bool operator==(const BrokerInfo&) const = default;
};

// Whether this start of a broker was begun from a copy of its directory that is older than what `known` registered with.
inline bool IsOldCopy(uint64_t session, uint64_t starts, const BrokerInfo& known) {
  return session != known.session && starts != 0 && starts <= known.starts;
}

BrokerInfo FromRecord(const internal::v1::BrokerRecord& record);
void FillRecord(internal::v1::BrokerRecord& record, const BrokerInfo& broker);

}  // namespace millrace::server
