// How far groups are behind, as this broker's coordinators found last, for the metrics.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace millrace::server {

// Any thread.
class GroupLags {
 public:
  struct Lag {
    int64_t records = 0;
    int64_t ms = 0;  // of the partition that is furthest behind
  };
  using ByTopic = std::map<std::string, Lag>;

  void Set(const std::string& group, ByTopic lags) {
    std::lock_guard lock(mutex_);
    groups_[group] = std::move(lags);
  }
  // Groups that were not Set() since the last call are coordinated elsewhere, or gone.
  void Keep(const std::map<std::string, ByTopic>& groups) {
    std::lock_guard lock(mutex_);
    std::erase_if(groups_, [&groups](const auto& each) { return !groups.contains(each.first); });
  }
  std::map<std::string, ByTopic> All() const {
    std::lock_guard lock(mutex_);
    return groups_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, ByTopic> groups_;  // guarded by mutex_
};

}  // namespace millrace::server
