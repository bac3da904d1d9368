// A log that is open: its image as readers take it, where sequential readers stand, and what its writer is about to change.
//
// Any thread; the editor is its writer's.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "raft/log_store.h"
#include "storage/log_editor.h"
#include "storage/log_image.h"
#include "storage/tail_cache.h"

namespace millrace::storage {

class OpenLog {
 public:
  OpenLog(raft::GroupId group, LogImage image)
      : group(group), tail(std::make_shared<CachedTail>()), image_(std::move(image)) {}

  LogImage image() const {
    std::lock_guard lock(mutex_);
    return image_;
  }
  raft::LogState state() const {
    std::lock_guard lock(mutex_);
    return image_.ToState();
  }
  // Limits stay those of SetLimits.
  void Publish(LogImage image) {
    std::lock_guard lock(mutex_);
    image.limits = image_.limits;
    image_ = std::move(image);
  }
  void SetLimits(const raft::SegmentLimits& limits) {
    std::lock_guard lock(mutex_);
    image_.limits = limits;
  }

  // Where a sequential reader will go on: spares it the search.
  std::optional<raft::LogIndex> HintFor(raft::Offset offset) const {
    std::lock_guard lock(mutex_);
    for (const Hint& hint : hints_) {
      if (hint.index > raft::LogIndex(0) && hint.offset == offset) return hint.index;
    }
    return std::nullopt;
  }
  void AddHint(raft::Offset offset, raft::LogIndex index) {
    std::lock_guard lock(mutex_);
    hints_[next_hint_++ % hints_.size()] = {offset, index};
  }

  // Set at construction.
  const raft::GroupId group;
  const std::shared_ptr<CachedTail> tail;

  std::atomic<bool> removed{false};
  // LogImage::cuts of the round being written; readers may miss its entries before the image is published.
  std::atomic<uint64_t> cuts_begun{0};
  // Of the group's writer, from a round's first change to the end of its write, stalls included.
  std::optional<LogEditor> editor;

 private:
  struct Hint {
    raft::Offset offset;
    raft::LogIndex index;  // where an entry begins, or did, that begins at `offset`
  };

  mutable std::mutex mutex_;
  // Guarded by mutex_; image_ is changed by the group's writer only.
  LogImage image_;
  std::array<Hint, 4> hints_;
  size_t next_hint_ = 0;
};

}  // namespace millrace::storage
