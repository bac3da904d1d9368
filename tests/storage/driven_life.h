// A store's life on a recorded disk, as recorded_life.h, but that Raft groups drive it: a follower of scripted leaders, a leader
// with a scripted follower, and a group of one, in shared rounds with shared syncs. What the disk must not lose is not what a sync
// has covered, but what a replica has said: a vote, a term, an ack.
//
//     const RecordedLife life = LiveDriven({.directory = directory, .seed = 7}, files);
//     CheckImage(life, image, …)              // the image is the state after a round, and not before anything said
//     CheckReplicas(directory, state)         // replicas start from it as from that state, and go on
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "tests/storage/recorded_life.h"
#include "tests/storage/recording_file_system.h"

namespace millrace::storage {

struct DrivenLifeOptions {
  std::string directory;
  uint64_t seed;
  int rounds = 250;
};

RecordedLife LiveDriven(const DrivenLifeOptions& options, const std::shared_ptr<RecordingFileSystem>& files);

// Starts the replicas of a driven life from the store in `directory`, which is in the state after `step`: they have the term,
// vote, terms and offsets of that log, memberships that agree with its entries, and take what comes next. Not OK: what is wrong.
absl::Status CheckReplicas(const std::string& directory, const std::string& boot_id, const RecordedLife::Step& step);

}  // namespace millrace::storage
