// A store's life on a recorded disk: random rounds, syncs, log removals, restarts. Besides what was done to the disk it knows
// what the store must hold after a crash at any of its operations.
//
//     auto files = std::make_shared<RecordingFileSystem>(directory);
//     const RecordedLife life = Live({.directory = directory, .seed = 7}, files);
//     life.At(position, /*power_cut=*/true)     // which states may be found, whether it may be clean
#pragma once

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "tests/storage/disk_log.h"
#include "tests/storage/recording_file_system.h"
#include "tests/storage/workload.h"

namespace millrace::storage {

// What the store was told, as positions in the disk's log at that moment.
struct RecordedLife {
  static constexpr size_t kNever = ~size_t{0};

  // One atomic change, and what the logs hold after it. The first one is what the life began with.
  struct Step {
    std::string text;     // TextOf
    Workload::Logs logs;  // not saved
    size_t begun = 0;
    size_t written = kNever;
  };
  // From `position` on the changes up to `step` must not get lost.
  struct Ack {
    size_t step;
    size_t position;
  };
  // From one Open to the end of the use, which is at `closing` if it was in order.
  struct Use {
    size_t opening;
    size_t opened = kNever;
    size_t closing = kNever;
    size_t closed = kNever;
  };
  // After a crash: one of the steps from `first` to `last`.
  struct Expected {
    size_t first;
    size_t last;
    bool may_be_clean;
    bool must_be_clean;
  };

  DiskLog log;
  size_t begin = 0;  // of the log: what is before was there when the life began
  std::string boot_id;
  bool os_crashed = false;  // what the store says all along
  std::vector<Step> steps;
  std::vector<Ack> acks;
  std::vector<Use> uses;

  Expected At(size_t cut, bool power_cut) const;

  void Save(std::ostream& out) const;
  static RecordedLife Load(std::istream& in);
};

struct LifeOptions {
  std::string directory;
  uint64_t seed;
  int rounds = 300;
  std::string boot_id = "first";
  Workload::Logs logs;      // in `directory` already
  bool os_crashed = false;  // how the store in `directory` opens under boot_id
};

// The store is used through `files`, which records `options.directory`.
RecordedLife Live(const LifeOptions& options, const std::shared_ptr<RecordingFileSystem>& files);

}  // namespace millrace::storage
