// Standard output and standard error: one large buffer for data, tables that line up, a progress line on a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace millrace::cli {

// Data on its way to a file descriptor. Append to buffer(); what is in it goes out in large writes.
//
//     out.buffer() += value;
//     if (!out.FlushIfLarge()) return out.closed() ? 0 : Report(out.status());
class OutputBuffer {
 public:
  explicit OutputBuffer(int fd);

  std::string& buffer() { return buffer_; }
  bool FlushIfLarge() { return buffer_.size() < kFlushBytes || Flush(); }
  // Writes everything. False when that failed; the rest is dropped then.
  bool Flush();

  // The reader went away: no error, `millrace consume t | head` ends this way. Asks the system when nothing was written lately.
  bool closed();
  // kUnknown when writing failed for another reason, such as a full disk.
  const absl::Status& status() const { return status_; }

 private:
  static constexpr size_t kFlushBytes = size_t{256} << 10;

  int fd_;
  std::string buffer_;
  bool closed_ = false;
  absl::Status status_;
};

// Rows under a heading, columns as wide as their widest cell.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string name;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // As many cells as columns.
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string Text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// One line on standard error that is written over, when that is a terminal and `quiet` is not set; otherwise nothing.
class Progress {
 public:
  explicit Progress(bool quiet);
  ~Progress() { Clear(); }

  // Shows what `text` returns, at most five times a second; `text` is not called more often.
  void Show(const std::function<std::string()>& text);
  void Clear();

 private:
  bool enabled_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point next_{};
};

// Writes to standard error, at once.
void Say(std::string_view text);

}  // namespace millrace::cli
