// Removes large files a piece at a time, on a thread of its own.
//
// A file system that tells the disk what is free (ext4 with `discard`) does so within the next commit of its journal, about a third
// of a millisecond per MiB, and a sync of the log waits for that commit: to unlink 64 MiB at once takes 20 ms out of every ack. So
// the file is cut shorter by a few MiB every few milliseconds (README.md, "Files go a piece at a time").
//
//     FileRemover remover(files);
//     remover.Remove("/d/000123.payloads");      // the name is free when this returns
//
// What is being removed is called 000123.payloads.removed; whatever is still there when the process ends is for the next one to
// remove: Resume(). Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include <rocksdb/file_system.h>

namespace millrace::storage {

inline constexpr std::string_view kRemovedSuffix = ".removed";

class FileRemover {
 public:
  static constexpr uint64_t kPieceBytes = 2 << 20;

  // `files` outlives it. Files of two pieces or less go at once.
  explicit FileRemover(rocksdb::FileSystem& files, uint64_t piece_bytes = kPieceBytes);
  // Leaves what is under way.
  ~FileRemover();

  rocksdb::IOStatus Remove(const std::string& path);
  // A file that has its suffix already.
  void Resume(const std::string& path);

 private:
  struct Doomed {
    std::string path;
    uint64_t bytes = 0;  // left
  };

  void Run();
  // Cuts a piece off; whether the file is gone.
  bool Shorten(Doomed& file, uint64_t piece);

  rocksdb::FileSystem& files_;
  const uint64_t piece_bytes_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::deque<Doomed> doomed_;
  uint64_t pending_bytes_ = 0;
  bool stopping_ = false;
  std::thread thread_;  // last: runs as soon as it is made
};

}  // namespace millrace::storage
