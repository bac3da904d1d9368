// When writes are refused, and who waits until they are taken again. Two things refuse them: RocksDB (no_slowdown), while memtables
// cannot be flushed, or keys not be compacted, as fast as they come; and we ourselves, while payloads are moved: what dies
// meanwhile takes space until the end, so only so many bytes may come in, and as many again as that compaction has done.
//
//     options.listeners.push_back(stall);                    // std::make_shared<WriteStall>()
//     if (stall->MayWrite()) { ... stall->Wrote(bytes); }
//     stall->WhenOver(db, [&] { ... write again ... });      // MayWrite() said no, or Write() Incomplete
//
//     stall->Limit(512 << 20);                               // payloads are being moved
//     stall->Allow(65'536);                                  // so many were, or of keys rewritten
//     stall->Unlimit();
//
// Any thread. `retry` runs on the thread that ended the stall, or on the caller's if there is none: it must not block, and
// it may find the next stall.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <rocksdb/db.h>
#include <rocksdb/listener.h>

namespace millrace::storage {

class WriteStall : public rocksdb::EventListener {
 public:
  // Writes that were refused for the limit go on when so much is allowed: not for every key that was rewritten.
  static constexpr int64_t kResumeBytes = 4 << 20;

  bool MayWrite() {
    std::lock_guard lock(mutex_);
    return !refuses_;
  }
  void Wrote(uint64_t bytes) {
    std::lock_guard lock(mutex_);
    if (!left_) return;
    *left_ -= static_cast<int64_t>(bytes);
    if (*left_ <= 0) refuses_ = true;
  }
  // From now on so many bytes may be written, at least kResumeBytes.
  void Limit(int64_t bytes) {
    std::lock_guard lock(mutex_);
    left_ = std::max(bytes, kResumeBytes);
  }
  void Allow(uint64_t bytes) {
    {
      std::lock_guard lock(mutex_);
      if (!left_) return;
      *left_ += static_cast<int64_t>(bytes);
      if (!refuses_ || *left_ < kResumeBytes) return;
      refuses_ = false;
    }
    Wake();
  }
  void Unlimit() {
    {
      std::lock_guard lock(mutex_);
      left_.reset();
      if (!std::exchange(refuses_, false)) return;
    }
    Wake();
  }

  void WhenOver(rocksdb::DB& db, std::function<void()> retry) {
    {
      std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(retry));
      if (refuses_) return;
    }
    // It may have ended before we were known to wait.
    uint64_t stopped = 0;
    if (!db.GetIntProperty(rocksdb::DB::Properties::kIsWriteStopped, &stopped) || stopped == 0) Wake();
  }
  void Wake() {
    std::vector<std::function<void()>> waiting;
    {
      std::lock_guard lock(mutex_);
      waiting.swap(waiting_);
    }
    for (const auto& retry : waiting) retry();
  }

  void OnStallConditionsChanged(const rocksdb::WriteStallInfo& info) override {
    if (info.condition.cur != rocksdb::WriteStallCondition::kStopped) Wake();
  }
  // A flush reports the change it made above only after it has deleted the WAL files it made useless.
  void OnFlushCompleted(rocksdb::DB*, const rocksdb::FlushJobInfo&) override { Wake(); }
  // The store has failed: to wait on would be in vain.
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status*) override { Wake(); }

 private:
  std::mutex mutex_;
  // Guarded by mutex_.
  std::optional<int64_t> left_;  // that may be written; below 0: the last write took more
  bool refuses_ = false;
  std::vector<std::function<void()>> waiting_;
};

}  // namespace millrace::storage
