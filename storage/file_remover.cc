#include "storage/file_remover.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace millrace::storage {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

namespace {

constexpr IODebugContext* kNoDebug = nullptr;
constexpr std::chrono::milliseconds kPause{5};
// With more than half a GiB waiting pieces grow, so that retention does not outrun it, but not beyond some GB/s: after a large
// topic was deleted acks matter more than its space.
constexpr uint64_t kPiecesPending = 256;
constexpr uint64_t kPieceBytesMax = 5 << 20;

}  // namespace

FileRemover::FileRemover(rocksdb::FileSystem& files, uint64_t piece_bytes)
    : files_(files), piece_bytes_(piece_bytes), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "remover");
}

FileRemover::~FileRemover() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

IOStatus FileRemover::Remove(const std::string& path) {
  uint64_t bytes = 0;
  const IOStatus known = files_.GetFileSize(path, IOOptions(), &bytes, kNoDebug);
  uint64_t links = 1;  // somebody's copy of the directory, which must keep its content
  files_.NumFileLinks(path, IOOptions(), &links, kNoDebug).PermitUncheckedError();
  if (!known.ok() || bytes <= 2 * piece_bytes_ || links > 1) return files_.DeleteFile(path, IOOptions(), kNoDebug);
  const std::string doomed = path + std::string(kRemovedSuffix);
  IOStatus status = files_.RenameFile(path, doomed, IOOptions(), kNoDebug);
  if (status.ok()) Resume(doomed);
  return status;
}

void FileRemover::Resume(const std::string& path) {
  Doomed file{.path = path};
  files_.GetFileSize(path, IOOptions(), &file.bytes, kNoDebug).PermitUncheckedError();
  {
    std::lock_guard lock(mutex_);
    pending_bytes_ += file.bytes;
    doomed_.push_back(std::move(file));
  }
  wake_.notify_one();
}

void FileRemover::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !doomed_.empty(); });
    if (stopping_) return;
    Doomed file = std::move(doomed_.front());
    doomed_.pop_front();
    for (bool gone = false; !gone && !stopping_;) {
      const uint64_t piece = std::max(piece_bytes_, std::min(pending_bytes_ / kPiecesPending, kPieceBytesMax));
      const uint64_t before = file.bytes;
      lock.unlock();
      gone = Shorten(file, piece);
      lock.lock();
      pending_bytes_ -= before - file.bytes;
      wake_.wait_for(lock, kPause, [this] { return stopping_; });
    }
  }
}

bool FileRemover::Shorten(Doomed& file, uint64_t piece) {
  if (file.bytes > piece && files_.Truncate(file.path, file.bytes - piece, IOOptions(), kNoDebug).ok()) {
    file.bytes -= piece;
    return false;
  }
  // If it fails the next start tries again.
  files_.DeleteFile(file.path, IOOptions(), kNoDebug).PermitUncheckedError();
  file.bytes = 0;
  return true;
}

}  // namespace millrace::storage
