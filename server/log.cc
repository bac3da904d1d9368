#include "server/log.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace millrace::log {
namespace {

// A pipe that poll() calls writable takes this much (PIPE_BUF) without blocking.
constexpr size_t kLineBytesMax = 4096;

const std::chrono::steady_clock::time_point process_start = std::chrono::steady_clock::now();

struct Output {
  std::mutex mutex;
  std::function<void(std::string_view)> sink;  // unset: standard error
  uint64_t dropped = 0;                        // lines since the last one that got out
};

// Never destroyed: threads may log while the process exits.
Output& TheOutput() {
  static Output& output = *new Output;
  return output;
}

bool NeedsQuotes(std::string_view value) {
  if (value.empty()) return true;
  for (const unsigned char c : value) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return true;
  }
  return false;
}

void AppendValue(std::string& line, std::string_view value) {
  if (!NeedsQuotes(value)) {
    line += value;
    return;
  }
  line += '"';
  for (const unsigned char c : value) {
    if (c == '"' || c == '\\') {
      line += '\\';
      line += static_cast<char>(c);
    } else if (c == '\n') {
      line += "\\n";
    } else if (c < ' ' || c == 0x7f) {
      absl::StrAppend(&line, "\\x", absl::Hex(c, absl::kZeroPad2));
    } else {
      line += static_cast<char>(c);
    }
  }
  line += '"';
}

bool WouldBlock() {
  pollfd standard_error{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  return ::poll(&standard_error, 1, 0) == 0;
}

void WriteAll(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // there is nowhere left to report to
    text.remove_prefix(static_cast<size_t>(n));
  }
}

// Keeps to kLineBytesMax including the newline, and to whole UTF-8 characters.
void Shorten(std::string& line) {
  if (line.size() < kLineBytesMax) return;
  constexpr std::string_view kMark = "...";
  size_t end = kLineBytesMax - 1 - kMark.size();
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0) == 0x80) --end;
  line.resize(end);
  line += kMark;
}

}  // namespace

namespace internal {

std::atomic<Level> level = Level::kInfo;

bool RateLimit::Allow(std::chrono::nanoseconds interval, uint64_t& suppressed) {
  const int64_t now = (std::chrono::steady_clock::now() - process_start).count();
  int64_t next = next_ns_.load(std::memory_order_relaxed);
  if (now < next || !next_ns_.compare_exchange_strong(next, now + interval.count(), std::memory_order_relaxed)) {
    suppressed_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
  return true;
}

void Write(Level level, std::string_view file, int line_number, std::string_view message, uint64_t suppressed,
           std::initializer_list<Field> fields) {
  const std::chrono::duration<double> up = std::chrono::steady_clock::now() - process_start;
  const std::string_view base = file.substr(file.rfind('/') + 1);
  std::string line = absl::StrCat("ts=", absl::FormatTime("%E4Y-%m-%dT%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone()));
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, " up=%.6f", up.count());
  line += seconds;
  line += " level=";
  line += LevelName(level);
  line += " at=";
  line += base;
  absl::StrAppend(&line, ":", line_number, " msg=");
  AppendValue(line, message);
  for (const Field& field : fields) field.AppendTo(line);
  if (suppressed > 0) Field("suppressed", suppressed).AppendTo(line);

  Output& output = TheOutput();
  const std::lock_guard lock(output.mutex);
  if (output.sink) {
    output.sink(line);
    return;
  }
  if (WouldBlock()) {
    ++output.dropped;
    return;
  }
  if (output.dropped > 0) Field("dropped", output.dropped).AppendTo(line);
  output.dropped = 0;
  Shorten(line);
  line += '\n';
  WriteAll(line);
}

}  // namespace internal

void Field::AppendTo(std::string& line) const {
  line += ' ';
  line += key_;
  line += '=';
  if (const auto* text = std::get_if<std::string_view>(&value_)) {
    AppendValue(line, *text);
  } else if (const auto* real = std::get_if<double>(&value_)) {
    absl::StrAppend(&line, *real);
  } else if (const auto* number = std::get_if<int64_t>(&value_)) {
    absl::StrAppend(&line, *number);
  } else {
    absl::StrAppend(&line, std::get<uint64_t>(value_));
  }
}

std::string_view LevelName(Level level) {
  switch (level) {
    case Level::kDebug:
      return "debug";
    case Level::kInfo:
      return "info";
    case Level::kWarning:
      return "warn";
    case Level::kError:
      return "error";
  }
  __builtin_unreachable();
}

std::optional<Level> ParseLevel(std::string_view name) {
  for (const Level level : {Level::kDebug, Level::kInfo, Level::kWarning, Level::kError}) {
    if (name == LevelName(level)) return level;
  }
  return std::nullopt;
}

void SetLevel(Level level) { internal::level.store(level, std::memory_order_relaxed); }

void SetSink(std::function<void(std::string_view line)> sink) {
  Output& output = TheOutput();
  const std::lock_guard lock(output.mutex);
  output.sink = std::move(sink);
}

}  // namespace millrace::log
