#include "storage/open_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "storage/iovecs.h"

namespace millrace::storage {

using rocksdb::IOStatus;

namespace {

// Read at once where less is asked for and it is not in memory. What follows in a file is of other logs as a rule, so a reader of
// all of them wants it, and one of a single log with large payloads does not. The kernel's own reading ahead (8 MiB on some
// disks) takes a sync of the log into its queue.
constexpr size_t kReadAhead = 256 << 10;

}  // namespace

OpenFiles::File::~File() { close(fd_); }

IOStatus OpenFiles::File::Read(uint64_t offset, std::vector<iovec>& pieces) const {
  for (auto piece = Behind(pieces.begin(), pieces.end(), 0); piece != pieces.end();) {
    const int count = static_cast<int>(std::min<ptrdiff_t>(pieces.end() - piece, IOV_MAX));
    ssize_t got = preadv2(fd_, &*piece, count, static_cast<off_t>(offset), RWF_NOWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EOPNOTSUPP)) {
      const size_t bytes =
          std::accumulate(piece, pieces.end(), size_t{0}, [](size_t n, const iovec& p) { return n + p.iov_len; });
      const auto ahead = static_cast<off_t>(std::max(bytes, kReadAhead));
      posix_fadvise(fd_, static_cast<off_t>(offset), ahead, POSIX_FADV_WILLNEED);
      got = preadv(fd_, &*piece, count, static_cast<off_t>(offset));
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
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // see kReadAhead
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
