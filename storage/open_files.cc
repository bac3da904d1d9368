#include "storage/open_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "storage/iovecs.h"

namespace millrace::storage {

using rocksdb::IOStatus;

namespace {

// What is not in memory is asked of the disk in so many bytes at a time: a sync of the log waits for what it finds in the disk's
// queue. So many also where less is wanted, and the last read was near: what follows in a file is of other logs as a rule, and who
// reads all of them wants it, while who reads one of thousands does not. The kernel itself would read 8 MiB ahead on some disks.
constexpr size_t kReadAtOnce = 256 << 10;

// At least one; not more than the kernel takes.
std::vector<iovec> FirstOf(std::vector<iovec>::const_iterator piece, std::vector<iovec>::const_iterator end,
                           size_t bytes) {
  std::vector<iovec> first;
  for (; piece != end && bytes > 0 && first.size() < IOV_MAX; ++piece) {
    first.push_back({piece->iov_base, std::min(piece->iov_len, bytes)});
    bytes -= first.back().iov_len;
  }
  return first;
}

}  // namespace

OpenFiles::File::~File() { close(fd_); }

bool OpenFiles::File::FollowsOn(uint64_t offset) const {
  for (std::atomic<uint64_t>& last : last_reads_) {
    if (offset - last.load(std::memory_order_relaxed) > kReadAtOnce) continue;
    last.store(offset, std::memory_order_relaxed);
    return true;
  }
  const size_t oldest = next_reader_.fetch_add(1, std::memory_order_relaxed) % last_reads_.size();
  last_reads_[oldest].store(offset, std::memory_order_relaxed);
  return false;
}

IOStatus OpenFiles::File::Read(uint64_t offset, std::vector<iovec>& pieces) const {
  for (auto piece = Behind(pieces.begin(), pieces.end(), 0); piece != pieces.end();) {
    const int count = static_cast<int>(std::min<ptrdiff_t>(pieces.end() - piece, IOV_MAX));
    ssize_t got = preadv2(fd_, &*piece, count, static_cast<off_t>(offset), RWF_NOWAIT);
    // Linux 5.9 and 5.10 may say 0 for what is not in memory (preadv2(2), BUGS).
    if (got == 0 || (got < 0 && (errno == EAGAIN || errno == EOPNOTSUPP))) {
      if (FollowsOn(offset)) {
        posix_fadvise(fd_, static_cast<off_t>(offset), kReadAtOnce, POSIX_FADV_WILLNEED);
      }
      const std::vector<iovec> first = FirstOf(piece, pieces.end(), kReadAtOnce);
      got = preadv(fd_, first.data(), static_cast<int>(first.size()), static_cast<off_t>(offset));
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return IOStatus::IOError("reading", strerror(errno));
    if (got == 0) return IOStatus::Corruption("the file ends early", absl::StrCat("at ", offset));
    offset += got;
    piece = Behind(piece, pieces.end(), got);
  }
  return IOStatus::OK();
}

std::shared_ptr<const OpenFiles::File> OpenFiles::Find(uint64_t number) {
  std::lock_guard lock(mutex_);
  auto found = by_number_.find(number);
  if (found == by_number_.end()) return nullptr;
  by_use_.splice(by_use_.begin(), by_use_, found->second);
  return found->second->file;
}

IOStatus OpenFiles::Get(uint64_t number, const std::string& path, std::shared_ptr<const File>* file) {
  *file = Find(number);
  if (*file != nullptr) return IOStatus::OK();
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? IOStatus::PathNotFound(path) : IOStatus::IOError(path, strerror(errno));
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // see kReadAtOnce
  *file = std::make_shared<File>(fd);
  std::lock_guard lock(mutex_);
  if (by_number_.contains(number)) return IOStatus::OK();  // somebody else opened it, too
  by_use_.push_front({number, *file});
  by_number_[number] = by_use_.begin();
  if (by_use_.size() > files_max_) {
    by_number_.erase(by_use_.back().number);
    by_use_.pop_back();
  }
  return IOStatus::OK();
}

void OpenFiles::Forget(uint64_t number) {
  std::lock_guard lock(mutex_);
  auto found = by_number_.find(number);
  if (found == by_number_.end()) return;
  by_use_.erase(found->second);
  by_number_.erase(found);
}

}  // namespace millrace::storage
