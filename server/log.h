// The broker's log: one line of key=value pairs on standard error for each event.
//
//     MILLRACE_LOG(kInfo, "store opened", {"data", dir}, {"ms", elapsed});
//     MILLRACE_LOG_EVERY(std::chrono::seconds(1), kWarning, "client is slow", {"peer", peer}, {"bytes", backlog});
//
//     ts=2026-01-31T08:00:00.123456Z up=3.000412 level=info at=broker.cc:41 msg="store opened" data=/var/lib/millrace ms=41
//
// `up` is seconds of monotonic time since the process started: differences between lines are right even when the wall clock
// jumps. Below the level set, the arguments are not evaluated and nothing is allocated. Any thread may log. A reader of
// standard error that stops reading never stops the broker: lines it has no room for are dropped and counted (`dropped=`).
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace millrace::log {

enum class Level : int { kDebug, kInfo, kWarning, kError };

// debug, info, warn, error.
std::string_view LevelName(Level level);
std::optional<Level> ParseLevel(std::string_view name);

// One key=value pair of a line. Refers to the value: only for use within the logging statement.
class Field {
 public:
  template <std::signed_integral T>
  Field(std::string_view key, T value) : key_(key), value_(int64_t{value}) {}
  template <std::unsigned_integral T>
  Field(std::string_view key, T value) : key_(key), value_(uint64_t{value}) {}
  Field(std::string_view key, bool value) : key_(key), value_(std::string_view(value ? "true" : "false")) {}
  Field(std::string_view key, double value) : key_(key), value_(value) {}
  Field(std::string_view key, std::string_view value) : key_(key), value_(value) {}
  Field(std::string_view key, const std::string& value) : key_(key), value_(std::string_view(value)) {}
  Field(std::string_view key, const char* value) : key_(key), value_(std::string_view(value)) {}

  void AppendTo(std::string& line) const;

 private:
  std::string_view key_;
  std::variant<int64_t, uint64_t, double, std::string_view> value_;
};

namespace internal {
extern std::atomic<Level> level;

// A call site's allowance: one line per interval, the rest counted.
class RateLimit {
 public:
  // True when a line may go out; `suppressed` is then how many did not since the last.
  bool Allow(std::chrono::nanoseconds interval, uint64_t& suppressed);

 private:
  std::atomic<int64_t> next_ns_{0};
  std::atomic<uint64_t> suppressed_{0};
};

void Write(Level level, std::string_view file, int line, std::string_view message, uint64_t suppressed,
           std::initializer_list<Field> fields);
}  // namespace internal

inline bool IsOn(Level level) { return level >= internal::level.load(std::memory_order_relaxed); }
void SetLevel(Level level);

// Lines go to `sink` instead of standard error, one at a time, without the newline; nullptr: back to standard error.
void SetSink(std::function<void(std::string_view line)> sink);

}  // namespace millrace::log

#define MILLRACE_LOG(severity, message, ...)                                                             \
  do {                                                                                                   \
    if (::millrace::log::IsOn(::millrace::log::Level::severity)) {                                       \
      ::millrace::log::internal::Write(::millrace::log::Level::severity, __FILE__, __LINE__, message, 0, \
                                       {__VA_ARGS__});                                                   \
    }                                                                                                    \
  } while (false)

// At most one line per `interval` from this place in the code; the line says how many were `suppressed` since the last.
#define MILLRACE_LOG_EVERY(interval, severity, message, ...)                                            \
  do {                                                                                                  \
    if (::millrace::log::IsOn(::millrace::log::Level::severity)) {                                      \
      static ::millrace::log::internal::RateLimit millrace_limit;                                       \
      uint64_t millrace_suppressed = 0;                                                                 \
      if (millrace_limit.Allow(interval, millrace_suppressed)) {                                        \
        ::millrace::log::internal::Write(::millrace::log::Level::severity, __FILE__, __LINE__, message, \
                                         millrace_suppressed, {__VA_ARGS__});                           \
      }                                                                                                 \
    }                                                                                                   \
  } while (false)
