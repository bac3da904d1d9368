#include "storage/wal_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>
#include <vector>

#include "storage/file_system.h"
#include "storage/iovecs.h"
#include "storage/wal_format.h"

namespace millrace::storage {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr uint64_t kBeforeNext = 8;  // the next file is asked for when this one has an eighth of what it may hold

IOStatus Failed(const std::string& doing, const std::string& path) {
  const std::string what = "While " + doing + ": " + path;
  return errno == ENOSPC ? IOStatus::NoSpace(what, strerror(errno)) : IOStatus::IOError(what, strerror(errno));
}

// Where one is among the fragments of a WAL file.
class FragmentWalker {
 public:
  // Takes the next bytes, up to where a record ends; says how many, and whether one does.
  size_t Take(std::string_view bytes, bool* ends_record) {
    *ends_record = false;
    size_t taken = 0;
    while (taken < bytes.size() && !*ends_record) {
      const size_t size = TakePart(bytes.substr(taken));
      taken += size;
      position_ += size;
      *ends_record = header_bytes_ == kWalHeaderBytes && left_ == 0 && EndFragment();
    }
    return taken;
  }

 private:
  size_t TakePart(std::string_view bytes) {
    if (header_bytes_ == kWalHeaderBytes) {
      const size_t size = std::min(bytes.size(), left_);
      left_ -= size;
      return size;
    }
    const size_t block_left = kWalBlockBytes - position_ % kWalBlockBytes;
    if (header_bytes_ == 0 && block_left < kWalHeaderBytes) return std::min(bytes.size(), block_left);  // zeros
    const size_t size = std::min(bytes.size(), kWalHeaderBytes - header_bytes_);
    std::memcpy(header_ + header_bytes_, bytes.data(), size);
    header_bytes_ += size;
    if (header_bytes_ == kWalHeaderBytes) left_ = WalFragmentBytes(header_);
    return size;
  }
  // Whether it was a record's last one.
  bool EndFragment() {
    header_bytes_ = 0;
    return header_[6] == kFull || header_[6] == kLast;
  }

  uint64_t position_ = 0;  // in the file
  char header_[kWalHeaderBytes];
  size_t header_bytes_ = 0;
  size_t left_ = 0;  // of the fragment's data
};

class WalFile : public rocksdb::FSWritableFile {
 public:
  WalFile(std::string path, int fd, SpareFile& spare) : path_(std::move(path)), fd_(fd), spare_(spare) {}
  ~WalFile() override {
    if (fd_ >= 0) Close(IOOptions(), nullptr).PermitUncheckedError();
  }

  using FSWritableFile::Append;
  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    for (std::string_view rest(data.data(), data.size()); !rest.empty();) {
      bool ends_record = false;
      const size_t size = walker_.Take(rest, &ends_record);
      Gather(rest.substr(0, size), data.size() <= kWalBufferBytes && !ends_record);
      rest.remove_prefix(size);
      if (!ends_record) continue;
      if (IOStatus status = WriteGathered(); !status.ok()) return status;
    }
    return IOStatus::OK();
  }

  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    return fdatasync(fd_) == 0 ? IOStatus::OK() : Failed("fdatasync", path_);
  }
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return fsync(fd_) == 0 ? IOStatus::OK() : Failed("fsync", path_);
  }
  bool IsSyncThreadSafe() const override { return true; }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return size_; }
  // Close() cuts it to what was written.
  IOStatus Truncate(uint64_t, const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  // For the next file: see the header.
  IOStatus Allocate(uint64_t, uint64_t bytes, const IOOptions&, IODebugContext*) override {
    ahead_bytes_ = bytes;
    return IOStatus::OK();
  }
  IOStatus InvalidateCache(size_t offset, size_t bytes) override {
    posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
    return IOStatus::OK();
  }

  // A record that is not complete is dropped: its write has failed, and its bytes may be gone.
  IOStatus Close(const IOOptions&, IODebugContext*) override {
    IOStatus status = FreeUnused();
    if (close(std::exchange(fd_, -1)) != 0 && status.ok()) status = Failed("close", path_);
    return status;
  }

 private:
  void Gather(std::string_view bytes, bool copy) {
    if (!copy) {
      pieces_.push_back({bytes.data(), 0, bytes.size()});
    } else if (!pieces_.empty() && pieces_.back().data == nullptr) {
      pieces_.back().size += bytes.size();
    } else {
      pieces_.push_back({nullptr, copied_.size(), bytes.size()});
    }
    if (copy) copied_.append(bytes);
  }

  IOStatus WriteGathered() {
    std::vector<iovec>& vectors = vectors_;
    vectors.clear();
    for (const Piece& piece : pieces_) {
      const char* data = piece.data != nullptr ? piece.data : copied_.data() + piece.copied_at;
      vectors.push_back({const_cast<char*>(data), piece.size});
    }
    pieces_.clear();
    for (auto next = Behind(vectors.begin(), vectors.end(), 0); next != vectors.end();) {
      const int count = static_cast<int>(std::min<ptrdiff_t>(vectors.end() - next, IOV_MAX));
      ssize_t written = pwritev(fd_, &*next, count, static_cast<off_t>(size_));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0 && errno == ENOSPC && spare_.Drop()) continue;  // nothing was written: there may be room now
      if (written < 0) return Failed("appending", path_);
      size_ += written;
      next = Behind(next, vectors.end(), written);
    }
    copied_.clear();
    AskForNext();
    return IOStatus::OK();
  }

  void AskForNext() {
    if (ahead_bytes_ == 0 || size_ < ahead_bytes_ / kBeforeNext) return;
    spare_.Prepare(ahead_bytes_);
    ahead_bytes_ = 0;
  }

  // What came with the file when it was made ahead, of which the file's size says nothing.
  IOStatus FreeUnused() {
    return ftruncate(fd_, static_cast<off_t>(size_)) == 0 ? IOStatus::OK() : Failed("truncating", path_);
  }

  struct Piece {
    const char* data;  // nullptr: in copied_
    size_t copied_at;
    size_t size;
  };

  const std::string path_;
  int fd_;
  SpareFile& spare_;
  uint64_t ahead_bytes_ = 0;  // to be allocated for the next file, which has not been asked for yet
  uint64_t size_ = 0;         // of what was written
  FragmentWalker walker_;
  std::vector<Piece> pieces_;  // gathered
  std::string copied_;
  std::vector<iovec> vectors_;  // keeps its memory
};

}  // namespace

rocksdb::FileOptions WalFileSystem::OptimizeForLogWrite(const rocksdb::FileOptions& options,
                                                        const rocksdb::DBOptions& db_options) const {
  rocksdb::FileOptions optimized = target()->OptimizeForLogWrite(options, db_options);
  optimized.writable_file_max_buffer_size = kWalBufferBytes;
  return optimized;
}

IOStatus WalFileSystem::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* dbg) {
  if (!FileNumber(path, kWalSuffix)) return target()->NewWritableFile(path, options, file, dbg);
  std::call_once(spare_made_, [&] { spare_.emplace(path.substr(0, path.rfind('/') + 1) + std::string(kNextWalName)); });
  const bool made = spare_->TakeAs(path);
  int fd = -1;
  do {
    fd = open(path.c_str(), O_WRONLY | O_CLOEXEC | (made ? 0 : O_CREAT | O_TRUNC), 0644);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return Failed("opening a WAL file to write", path);
  *file = std::make_unique<WalFile>(path, fd, *spare_);
  return IOStatus::OK();
}

IOStatus WalFileSystem::Truncate(const std::string& path, size_t size, const IOOptions&, IODebugContext*) {
  return truncate(path.c_str(), static_cast<off_t>(size)) == 0 ? IOStatus::OK() : Failed("truncating", path);
}

}  // namespace millrace::storage
