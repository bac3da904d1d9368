#include "client/cli/line_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/interrupt.h"

namespace millrace::cli {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr int kPipeBytes = 1 << 20;

class FileSource : public ByteSource {
 public:
  FileSource(int fd, std::string name) : fd_(fd), name_(std::move(name)) {
    struct stat info {};
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) size_ = info.st_size;
    if (S_ISFIFO(info.st_mode)) fcntl(fd, F_SETPIPE_SZ, kPipeBytes);  // fewer wake-ups; no harm when refused
  }
  ~FileSource() override {
    if (fd_ != STDIN_FILENO) close(fd_);
  }

  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    while (true) {
      pollfd ready[2] = {{fd_, POLLIN, 0}, {WakeFd(), POLLIN, 0}};
      if (!size_ && poll(ready, 2, -1) < 0 && errno != EINTR) return Failed("poll");
      if (Interrupted() || ready[1].revents != 0) return absl::CancelledError("interrupted");
      if (!size_ && ready[0].revents == 0) continue;
      ssize_t got = read(fd_, to, size);
      if (got >= 0) {
        done_ += got;
        return static_cast<size_t>(got);
      }
      if (errno != EINTR && errno != EAGAIN) return Failed("read");
    }
  }

  std::optional<double> Fraction() const override {
    if (!size_ || *size_ == 0) return std::nullopt;
    return std::min(1.0, static_cast<double>(done_) / static_cast<double>(*size_));
  }

  const std::string& name() const { return name_; }

 private:
  absl::Status Failed(const char* call) const {
    return absl::UnknownError(absl::StrCat("cannot ", call, " ", name_, ": ", std::strerror(errno)));
  }

  int fd_;
  std::string name_;
  std::optional<int64_t> size_;  // of a regular file, which is always ready
  int64_t done_ = 0;
};

// Unpacks gzip; several members after each other are one text, as gunzip has it.
class GzipSource : public ByteSource {
 public:
  explicit GzipSource(std::unique_ptr<FileSource> file) : file_(std::move(file)), packed_(new char[kPackedBytes]) {
    inflateInit2(&stream_, 15 + 16);  // largest window, gzip header
  }
  ~GzipSource() override { inflateEnd(&stream_); }

  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = static_cast<uInt>(std::min<size_t>(size, 1u << 30));
    const uInt wanted = stream_.avail_out;
    while (stream_.avail_out == wanted) {
      if (stream_.avail_in == 0) {
        absl::StatusOr<size_t> got = file_->Read(packed_.get(), kPackedBytes);
        if (!got.ok()) return got.status();
        if (*got == 0) {
          if (between_members_) return 0;
          return absl::DataLossError(absl::StrCat(file_->name(), " ends in the middle: the gzip file is cut short"));
        }
        stream_.next_in = reinterpret_cast<Bytef*>(packed_.get());
        stream_.avail_in = static_cast<uInt>(*got);
      }
      between_members_ = false;
      int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        between_members_ = true;
        inflateReset(&stream_);
      } else if (result != Z_OK) {
        return absl::DataLossError(
            absl::StrCat(file_->name(), " is no sound gzip file: ", stream_.msg != nullptr ? stream_.msg : "damaged"));
      }
    }
    return wanted - stream_.avail_out;
  }

  std::optional<double> Fraction() const override { return file_->Fraction(); }

 private:
  static constexpr size_t kPackedBytes = size_t{256} << 10;

  std::unique_ptr<FileSource> file_;
  std::unique_ptr<char[]> packed_;
  z_stream stream_{};
  bool between_members_ = false;  // an empty file is cut short
};

int32_t ReadBigEndian(const char* at) {
  const auto* b = reinterpret_cast<const unsigned char*>(at);
  return static_cast<int32_t>(uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | b[3]);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ByteSource>> OpenInput(const std::string& name) {
  if (name == "-") return std::make_unique<FileSource>(STDIN_FILENO, "standard input");
  int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (fd >= 0 && fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
    close(fd);
    fd = -1;
    errno = EISDIR;
  }
  if (fd < 0) return absl::NotFoundError(absl::StrCat("cannot open ", name, ": ", std::strerror(errno)));
  posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  auto file = std::make_unique<FileSource>(fd, name);
  if (name.ends_with(".gz")) return std::make_unique<GzipSource>(std::move(file));
  return file;
}

RecordInput::RecordInput(std::unique_ptr<ByteSource> source, Framing framing)
    : source_(std::move(source)), framing_(framing), buffer_(new char[kBufferBytes]), capacity_(kBufferBytes) {}

bool RecordInput::Next() {
  bool got = framing_ == Framing::kLines ? NextLine() : NextPrefixed();
  if (got) ++number_;
  return got;
}

bool RecordInput::NextLine() {
  size_t searched = 0;
  while (true) {
    const char* from = buffer_.get() + begin_;
    const char* newline = static_cast<const char*>(std::memchr(from + searched, '\n', rest() - searched));
    searched = newline != nullptr ? newline - from : rest();
    if (searched > kRecordBytesMax) {
      status_ =
          absl::InvalidArgumentError(absl::StrCat("is longer than the largest record, ", kRecordBytesMax, " bytes"));
      return false;
    }
    if (newline != nullptr) {
      record_ = std::string_view(from, searched);
      begin_ += searched + 1;
      return true;
    }
    if (!Fill()) break;
  }
  if (!status_.ok() || rest() == 0) return false;
  record_ = std::string_view(buffer_.get() + begin_, rest());
  begin_ = end_;
  return true;
}

bool RecordInput::NextPrefixed() {
  constexpr size_t kPrefixBytes = 4;
  while (rest() < kPrefixBytes) {
    if (Fill()) continue;
    if (status_.ok() && rest() != 0) status_ = absl::InvalidArgumentError("ends within its length");
    return false;
  }
  int32_t length = ReadBigEndian(buffer_.get() + begin_);
  if (length < -1 || length > static_cast<int64_t>(kRecordBytesMax)) {
    status_ = absl::InvalidArgumentError(absl::StrCat("has the length ", length, "; a length is -1 for null, or 0 to ",
                                                      kRecordBytesMax, " (4 bytes, big-endian, before each value)"));
    return false;
  }
  size_t size = kPrefixBytes + std::max(length, 0);
  while (rest() < size) {
    if (Fill()) continue;
    if (status_.ok()) {
      status_ =
          absl::InvalidArgumentError(absl::StrCat("ends after ", rest() - kPrefixBytes, " of ", length, " bytes"));
    }
    return false;
  }
  record_.reset();
  if (length >= 0) record_ = std::string_view(buffer_.get() + begin_ + kPrefixBytes, length);
  begin_ += size;
  return true;
}

bool RecordInput::Fill() {
  if (at_end_ || !status_.ok()) return false;
  if (begin_ > 0 && end_ == capacity_) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, rest());
    end_ -= begin_;
    begin_ = 0;
  }
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ == capacity_) {
    auto larger = std::unique_ptr<char[]>(new char[capacity_ * 2]);
    std::memcpy(larger.get(), buffer_.get(), end_);
    buffer_ = std::move(larger);
    capacity_ *= 2;
  }
  absl::StatusOr<size_t> got = source_->Read(buffer_.get() + end_, capacity_ - end_);
  if (!got.ok()) {
    status_ = got.status();
    return false;
  }
  end_ += *got;
  at_end_ = *got == 0;
  return !at_end_;
}

}  // namespace millrace::cli
