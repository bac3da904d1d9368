#include "storage/spare_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace millrace::storage {
namespace {

// The last of a disk is for what is being written: an allocation that fails has taken all of it until it is given back.
constexpr uint64_t kShareOfFree = 4;

}  // namespace

SpareFile::SpareFile(std::string path) : path_(std::move(path)), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "next-wal");
}

SpareFile::~SpareFile() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  asked_.notify_one();
  thread_.join();
  if (state_ == State::kReady) unlink(path_.c_str());
}

void SpareFile::Prepare(uint64_t bytes) {
  {
    std::lock_guard lock(mutex_);
    if (state_ != State::kNone) return;
    state_ = State::kAsked;
    bytes_ = bytes;
  }
  asked_.notify_one();
}

bool SpareFile::TakeAs(const std::string& path) {
  std::lock_guard lock(mutex_);
  if (state_ != State::kReady) return false;
  state_ = State::kNone;
  return rename(path_.c_str(), path.c_str()) == 0;  // if not, the next one made takes its place
}

bool SpareFile::Drop() {
  std::lock_guard lock(mutex_);
  if (state_ != State::kReady) return false;
  state_ = State::kNone;
  return unlink(path_.c_str()) == 0;
}

void SpareFile::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    asked_.wait(lock, [this] { return stopping_ || state_ == State::kAsked; });
    if (stopping_) return;
    const uint64_t bytes = bytes_;
    lock.unlock();
    const bool made = Make(bytes);
    lock.lock();
    state_ = made ? State::kReady : State::kNone;
  }
}

bool SpareFile::Make(uint64_t bytes) const {
  unlink(path_.c_str());  // never to be emptied: a file that has been renamed meanwhile may have content
  const int fd = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  struct statvfs disk {};
  const bool is_roomy = fstatvfs(fd, &disk) == 0 && bytes < disk.f_bavail * disk.f_frsize / kShareOfFree;
  const bool has_room = is_roomy && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0;
  close(fd);
  if (!has_room) unlink(path_.c_str());
  return has_room;
}

}  // namespace millrace::storage
