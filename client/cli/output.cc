#include "client/cli/output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace millrace::cli {
namespace {

constexpr int kPipeBytes = 1 << 20;

}  // namespace

OutputBuffer::OutputBuffer(int fd) : fd_(fd) {
  fcntl(fd, F_SETPIPE_SZ, kPipeBytes);  // fewer wake-ups; refused, without harm, for all but pipes
}

bool OutputBuffer::Flush() {
  const char* at = buffer_.data();
  size_t left = buffer_.size();
  while (left > 0 && !closed_ && status_.ok()) {
    ssize_t written = write(fd_, at, left);
    if (written >= 0) {
      at += written;
      left -= written;
    } else if (errno == EPIPE) {
      closed_ = true;
    } else if (errno == EAGAIN) {
      pollfd writable{fd_, POLLOUT, 0};
      poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      status_ = absl::UnknownError(absl::StrCat("cannot write to standard output: ", std::strerror(errno)));
    }
  }
  buffer_.clear();
  return !closed_ && status_.ok();
}

bool OutputBuffer::closed() {
  pollfd state{fd_, 0, 0};
  if (!closed_ && poll(&state, 1, 0) == 1 && (state.revents & POLLERR) != 0) closed_ = true;
  return closed_;
}

std::string Table::Text() const {
  std::vector<size_t> width;
  for (size_t c = 0; c < columns_.size(); ++c) {
    width.push_back(columns_[c].name.size());
    for (const auto& row : rows_) width[c] = std::max(width[c], row[c].size());
  }
  std::string text;
  auto add_row = [&](auto cell_of) {
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string& cell = cell_of(c);
      std::string padding(width[c] - cell.size(), ' ');
      text += c == 0 ? "" : "  ";
      text += columns_[c].align == Align::kRight ? padding + cell : cell + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  };
  add_row([&](size_t c) -> const std::string& { return columns_[c].name; });
  for (const auto& row : rows_) add_row([&](size_t c) -> const std::string& { return row[c]; });
  return text;
}

Progress::Progress(bool quiet) : enabled_(!quiet && isatty(STDERR_FILENO) == 1) {}

void Progress::Show(const std::function<std::string()>& text) {
  if (!enabled_) return;
  auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(200);
  Say("\r\033[K" + text());
  shown_ = true;
}

void Progress::Clear() {
  if (shown_) Say("\r\033[K");
  shown_ = false;
}

void Say(std::string_view text) {
  while (!text.empty()) {
    ssize_t written = write(STDERR_FILENO, text.data(), text.size());
    if (written < 0 && errno != EINTR) return;  // nobody is left to tell
    if (written > 0) text.remove_prefix(written);
  }
}

}  // namespace millrace::cli
