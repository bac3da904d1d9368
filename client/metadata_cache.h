// What is known of brokers, topics and leaders, kept up to date for the topics that somebody uses.
//
//     metadata.Track("orders");                     // asks; `changed` is called when the answer is there
//     const TopicMetadata* topic = metadata.Find("orders");
//     std::optional<Route> route = metadata.RouteTo("orders", 3);
//
// Refreshed when it is older than metadata.max.age.ms, when a topic is new, and when Refresh() says that something was
// wrong. Lives on the executor: no locks.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "client/control.h"
#include "client/control_client.h"
#include "client/environment.h"
#include "millrace/admin.h"
#include "millrace/options.h"
#include "proto/wire/backoff.h"

namespace millrace::client {

// Where a partition's requests go.
struct Route {
  std::string address;
  Routing routing = Routing::kLeaderOnly;
  uint64_t topic_id = 0;
};

class MetadataCache {
 public:
  MetadataCache(const ClientEnvironment& env, const ClientOptions& options, ControlClient& control,
                std::function<void()> changed);
  ~MetadataCache();
  MetadataCache(const MetadataCache&) = delete;

  // Keeps the topic's metadata from now on.
  void Track(const std::string& topic);

  // Asks again soon.
  void Refresh();
  // The same, and not the broker at this address, which does not answer.
  void RefreshElsewhere(const std::string& address);

  // nullptr: not known yet, or not there (see missing).
  const TopicMetadata* Find(const std::string& topic) const;

  // What is kept up to date.
  const std::set<std::string>& tracked() const { return tracked_; }

  // Topics that the last answer said are not there; they are not tracked any more. Each error names its topic.
  const std::vector<Error>& missing() const { return missing_; }

  // Why the last attempt got no answer; nullopt after one that did.
  const std::optional<Error>& last_error() const { return last_error_; }

  // nullopt: no leader is known.
  std::optional<Route> RouteTo(const std::string& topic, int32_t partition) const;

  // An error that names the leader: used at once when it is newer than what is known.
  void TakeHint(const std::string& topic, int32_t partition, const ErrorFrame& error);

  // An advertised address did not connect: its partitions go through another broker for a while.
  void MarkUnreachable(const std::string& address);

  // True for an address that the user did not give.
  bool IsAdvertised(const std::string& address) const;

 private:
  void Ask();
  void OnAnswer(absl::StatusOr<absl::Cord> reply);
  void Take(control::MetadataReply reply);
  void ScheduleAsk(std::chrono::nanoseconds delay);
  const std::string* AddressOf(int32_t broker_id) const;

  ClientEnvironment env_;
  const ClientOptions options_;
  ControlClient& control_;
  const std::function<void()> changed_;
  const std::string bootstrap_;

  std::set<std::string> tracked_;
  std::map<std::string, TopicMetadata, std::less<>> topics_;
  std::vector<Error> missing_;
  std::map<int32_t, std::string> brokers_;  // advertised addresses
  std::map<std::string, std::chrono::nanoseconds> unreachable_until_;
  std::optional<Error> last_error_;

  bool asking_ = false;
  bool ask_again_ = false;  // somebody wanted it while a call was under way
  std::chrono::nanoseconds asked_at_{0};
  Executor::TimerId timer_ = 0;
  std::chrono::nanoseconds timer_at_{0};
  Backoff backoff_;
};

}  // namespace millrace::client
