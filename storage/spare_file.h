// An empty file with room on the disk, made ahead on a thread of its own, for whoever needs one at once.
//
//     SpareFile spare("/data/next-wal");
//     spare.Prepare(48 << 20);              // begins to make it
//     spare.TakeAs("/data/000123.log");     // false: it is not there (yet); make a file yourself
//
// To find that room ext4 may have to read bitmaps, behind everything that is being written. A loop that did so itself for each
// WAL file stood still for tens of milliseconds; one that did without spent more on each write that needs a block.
//
// If it cannot be made, or would take more than a quarter of the room left, it is not there; nothing else comes of it.
// Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace millrace::storage {

class SpareFile {
 public:
  explicit SpareFile(std::string path);
  // Removes what was not taken.
  ~SpareFile();

  // Nothing changes if there is one, or will be.
  void Prepare(uint64_t bytes);
  // Renames it, within the directory, which the caller has to sync.
  bool TakeAs(const std::string& path);
  // Gives its room back; whether there was one.
  bool Drop();

 private:
  enum class State { kNone, kAsked, kReady };

  void Run();
  bool Make(uint64_t bytes) const;

  const std::string path_;
  std::mutex mutex_;
  std::condition_variable asked_;
  // Guarded by mutex_.
  State state_ = State::kNone;
  uint64_t bytes_ = 0;
  bool stopping_ = false;
  std::thread thread_;  // last: runs as soon as it is made
};

}  // namespace millrace::storage
