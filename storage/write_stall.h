// Who waits for the end of a write stall: RocksDB refuses writes (no_slowdown) while memtables cannot be flushed, or keys not be
// compacted, as fast as they come.
//
//     options.listeners.push_back(stall);                    // std::make_shared<WriteStall>()
//     stall->WhenOver(db, [&] { ... write again ... });      // Write() said Incomplete
//
// Any thread. `retry` runs on RocksDB's thread that ended the stall, or on the caller's if there is none: it must not block, and
// it may find the next stall.
#pragma once

#include <functional>
#include <mutex>
#include <vector>

#include <rocksdb/db.h>
#include <rocksdb/listener.h>

namespace millrace::storage {

class WriteStall : public rocksdb::EventListener {
 public:
  void WhenOver(rocksdb::DB& db, std::function<void()> retry) {
    {
      std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(retry));
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
  std::vector<std::function<void()>> waiting_;  // guarded by mutex_
};

}  // namespace millrace::storage
