// Files kept open for reading, at most so many, found by RocksDB's file number.
//
//     OpenFiles files(256);
//     std::shared_ptr<const OpenFiles::File> file;
//     rocksdb::IOStatus status = files.Get(number, path, &file);
//     if (status.ok()) status = file->Read(offset, pieces);
//
// Thread-safe. A file that is renamed stays readable while somebody reads it; one that is removed may be cut short meanwhile
// (file_remover.h), and a read then fails.
#pragma once

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include <rocksdb/io_status.h>

namespace millrace::storage {

class OpenFiles {
 public:
  explicit OpenFiles(size_t files_max) : files_max_(files_max) {}

  class File {
   public:
    explicit File(int fd) : fd_(fd) {}
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File();

    // Fills `pieces` with the bytes from `offset` on, in one call where the kernel gives them at once. An error if the file ends
    // before. `pieces` is used up.
    rocksdb::IOStatus Read(uint64_t offset, std::vector<iovec>& pieces) const;

   private:
    // Whether a reader who asked the disk for something a little before may be the one who asks now.
    bool FollowsOn(uint64_t offset) const;

    const int fd_;
    static constexpr size_t kReaders = 8;
    mutable std::array<std::atomic<uint64_t>, kReaders> last_reads_{};
    mutable std::atomic<size_t> next_reader_{0};
  };

  // nullptr: it is not open.
  std::shared_ptr<const File> Find(uint64_t number);
  // Opens `path` unless file `number` is open.
  rocksdb::IOStatus Get(uint64_t number, const std::string& path, std::shared_ptr<const File>* file);
  // The file is to be deleted: its last blocks come back when its last reader is done.
  void Forget(uint64_t number);

 private:
  struct Open {
    uint64_t number;
    std::shared_ptr<const File> file;
  };

  const size_t files_max_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::list<Open> by_use_;  // newest first
  std::unordered_map<uint64_t, std::list<Open>::iterator> by_number_;
};

}  // namespace millrace::storage
