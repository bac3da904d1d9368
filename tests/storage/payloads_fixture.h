// A store whose entries have random payloads, which are compared with what reads back; and its directory's files.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "proto/wire/crc32c.h"
#include "tests/storage/store_fixture.h"

namespace millrace::storage {

// Entries of one record each: entry i holds offset i - 1.
class PayloadsTest : public StoreTest {
 protected:
  PayloadsTest() {
    std::cout << "seed " << seed_ << "\n";
    options_.cache_bytes = 0;  // what is read comes from the files
    options_.memory_bytes = 64 << 20;
    options_.reclaim_delay = std::chrono::milliseconds(0);
  }

  raft::Entry Next(size_t bytes) {
    raft::Entry entry;
    entry.header.record_count = 1;
    entry.header.index = raft::LogIndex(static_cast<int64_t>(written_.size()) + 1);
    entry.header.base_offset = raft::Offset(static_cast<int64_t>(written_.size()));
    std::string payload(bytes, '\0');
    for (size_t i = 0; i < bytes; i += 8) {
      const uint64_t word = random_();
      std::memcpy(payload.data() + i, &word, std::min<size_t>(8, bytes - i));
    }
    entry.payload = absl::Cord(std::move(payload));
    entry.header.payload_crc = Crc32c(0, entry.payload);
    written_.push_back(entry.payload);
    return entry;
  }
  void Append(size_t bytes) {
    round_->Append(group_, Next(bytes));
    ASSERT_TRUE(ThroughStalls(*store_, [this] { return store_->Write(*round_); }).ok());
  }
  void AppendMany(int count, size_t bytes) {
    for (int i = 0; i < count; ++i) Append(bytes);
  }
  // From the log start on.
  void CheckAll() {
    const int64_t start = State().log_start.value();
    const auto entries = store_->Read(group_, State().log_start, State().log_end, kAll);
    ASSERT_TRUE(entries.ok()) << entries.status();
    ASSERT_EQ(entries->size(), written_.size() - start);
    for (size_t i = 0; i < entries->size(); ++i) ASSERT_TRUE((*entries)[i].payload == written_[start + i]) << i;
  }
  void Close() {
    round_.reset();
    ASSERT_TRUE(store_->Close().ok());
    store_.reset();
  }
  // What was written lies in tables then: closing flushes.
  void CloseAndOpen() {
    Close();
    OpenStore();
  }
  // As kill -9 leaves it: nothing is flushed.
  void KillAndOpen() {
    round_.reset();
    store_.reset();
    OpenStore();
  }

  std::vector<std::string> Files(const std::string& extension) const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(options_.directory)) {
      if (entry.path().extension() == extension) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }
  uint64_t Bytes(const std::string& extension) const {
    uint64_t bytes = 0;
    for (const std::string& path : Files(extension)) {
      std::error_code gone;  // meanwhile
      const auto size = std::filesystem::file_size(path, gone);
      if (!gone) bytes += size;
    }
    return bytes;
  }
  // RocksDB lets go of files on a thread of its own. The test's time-out ends it if there never are so many.
  void AwaitFiles(const std::string& extension, size_t count) const {
    while (Files(extension).size() != count) std::this_thread::yield();
  }

  const uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  std::vector<absl::Cord> written_;  // payloads by offset
};

}  // namespace millrace::storage
