// Reads the store of a broker that is stopped, every file and every checksum of it, and changes nothing.
//
//     absl::StatusOr<std::unique_ptr<StoreInspector>> store = StoreInspector::Open("/var/lib/millrace/store");
//     for (const StoreInspector::File& file : (*store)->files()) ...       // with what is wrong with it as a whole
//     if ((*store)->has_logs()) {
//       for (raft::GroupId group : (*store)->Groups().value()) {
//         (*store)->ReadLog(group, (*store)->Log(group).value(), on_entry, on_damage);
//       }
//     }
//
// Tables are checked block by block, the log that was not flushed yet as at a start, the manifest by opening it. Files that hold
// payloads are not checked as such: each payload that an entry refers to is, by whoever reads it.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "raft/log_store.h"
#include "storage/file_system.h"
#include "storage/log_image.h"

namespace millrace::storage {

class StoreInspector {
 public:
  struct File {
    std::string name;  // in the directory
    FileKind kind = FileKind::kOther;
    uint64_t bytes = 0;
    uint64_t live_bytes = 0;  // of payloads that tables refer to; of other files, and of the log: 0
    absl::Status status;      // what is wrong with it
  };

  // kNotFound, kFailedPrecondition: there is no store, it is in use, of another format, or cannot be read. Damage is no error: what
  // is damaged is told by files() and damage().
  static absl::StatusOr<std::unique_ptr<StoreInspector>> Open(const std::string& directory);
  ~StoreInspector();

  const std::vector<File>& files() const;
  // What is wrong with the write-ahead log, or with the manifest or a table so that the store cannot be opened.
  const absl::Status& damage() const;
  // What a broker found, for which it does not start (the file DAMAGED); empty: nothing.
  const std::string& damaged_mark() const;
  // RocksLogStore::cut_log().
  const std::string& cut_log() const;
  // Whether logs can be read all the same: if the write-ahead log is damaged, as they were before that point.
  bool has_logs() const;

  absl::StatusOr<std::vector<raft::GroupId>> Groups() const;
  absl::StatusOr<LogImage> Log(raft::GroupId group) const;
  // From the first entry kept to the last one. What an entry's payload_crc covers is for `on_entry` to check; `on_damage` is told
  // of what cannot be read: raft/damage.h.
  void ReadLog(raft::GroupId group, const LogImage& log, const std::function<void(const raft::Entry&)>& on_entry,
               const std::function<void(raft::LogIndex, const absl::Status&)>& on_damage) const;

 private:
  class Impl;
  explicit StoreInspector(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace::storage
