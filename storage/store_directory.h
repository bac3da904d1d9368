// A store's directory before RocksDB sees it: made if it may be, held by one process, of a format that this release knows.
// A directory that is refused is left as it is.
//
//     absl::StatusOr<StoreDirectory> directory = StoreDirectory::Claim(path, files, /*create_if_missing=*/true);
//     ...                                     // ours until `directory` is destroyed
//
// Held by flock() on the directory itself: unlike RocksDB's own lock it is taken before anything is read or written, and it
// holds against a second store of the same process. The format stands in the file FORMAT, apart from RocksDB, which would
// have to replay its log to be asked: "millrace store format 3\n".
#pragma once

#include <optional>
#include <string>
#include <utility>

#include <rocksdb/file_system.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace::storage {

class StoreDirectory {
 public:
  // Raised when an older release could not read what this one writes.
  static constexpr int kFormat = 3;  // 1 and 2: builds before the first release, which had payloads in blob files

  // kNotFound: missing, and not to be made. kFailedPrecondition: in use, not to be written to, of another format, no store of
  // ours, or on a full disk. kDataLoss: FORMAT is damaged, or CURRENT or the manifest that it names is missing. The text says what
  // to do.
  static absl::StatusOr<StoreDirectory> Claim(const std::string& path, rocksdb::FileSystem& files,
                                              bool create_if_missing);

  // To read a store that nobody uses, without changing anything. `damage`: that CURRENT or the manifest is missing.
  static absl::StatusOr<StoreDirectory> ClaimToRead(const std::string& path, rocksdb::FileSystem& files,
                                                    absl::Status* damage);

  // Whether a store was made there, whatever became of it.
  static bool Exists(const std::string& path);

  // From now on Claim() refuses it: kDataLoss, with `text`, until somebody has mended it and removed the file DAMAGED.
  static rocksdb::IOStatus MarkDamaged(const std::string& path, rocksdb::FileSystem& files, const std::string& text);

  // That text, if there is one.
  static std::optional<std::string> DamagedMark(const std::string& path, rocksdb::FileSystem& files);

  StoreDirectory() = default;
  StoreDirectory(StoreDirectory&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  StoreDirectory& operator=(StoreDirectory&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~StoreDirectory();

 private:
  explicit StoreDirectory(int fd) : fd_(fd) {}

  int fd_ = -1;
};

}  // namespace millrace::storage
