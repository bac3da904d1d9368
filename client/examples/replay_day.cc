// Replays one day of a stream: `replay_day [HOST:PORT]`.
//
// Records carry the time of what they tell of. A replay finds the first record of the day in every partition, without reading
// what came before, and ends at the first one of the next day.
#include <millrace/millrace.h>

#include <iostream>
#include <map>
#include <string>

namespace {

constexpr int64_t kHour = 3'600'000;
constexpr int64_t kDay = 24 * kHour;
constexpr int64_t kJuly4th2013 = 1'372'896'000'000;  // 2013-07-04T00:00:00Z

// A departure each hour of a week, in order of time.
absl::Status Fill(const millrace::ClientOptions& client) {
  auto admin = millrace::Admin::Create(client);
  if (!admin.ok()) return admin.status();
  auto topic = (*admin)->CreateTopic({.name = "departures", .partitions = 3});
  if (!topic.ok()) {
    // From an earlier run: it is filled already.
    const bool exists = millrace::ErrorFrom(topic.status()).code == millrace::ErrorCode::kTopicAlreadyExists;
    return exists ? absl::OkStatus() : topic.status();
  }
  auto producer = millrace::Producer::Create({.client = client});
  if (!producer.ok()) return producer.status();
  for (int64_t time = kJuly4th2013 - 3 * kDay; time < kJuly4th2013 + 4 * kDay; time += kHour) {
    const int64_t hour = time / kHour;
    const std::string plane = "N" + std::to_string(hour % 10);
    const std::string value = "departure " + std::to_string(hour);
    absl::Status sent = (*producer)->Send({.topic = "departures", .key = plane, .value = value, .timestamp = time});
    if (!sent.ok()) return sent;
  }
  return (*producer)->Flush();
}

absl::Status Replay(const millrace::ClientOptions& client, int64_t begin, int64_t end) {
  auto consumer = millrace::Consumer::Create({.client = client});
  if (!consumer.ok()) return consumer.status();
  absl::Status assigned = (*consumer)->Assign(
      {{.topic = "departures", .from = millrace::Position::Time(begin), .until = millrace::Position::Time(end)}});
  if (!assigned.ok()) return assigned;
  std::map<std::string, int> flights;  // by plane
  int total = 0;
  for (const millrace::ConsumerRecord& record : **consumer) {
    ++flights[std::string(*record.key)];
    ++total;
  }
  std::cout << total << " departures of " << flights.size() << " planes\n";
  return (*consumer)->status();
}

}  // namespace

int main(int argc, char** argv) {
  const millrace::ClientOptions client{.bootstrap_servers = argc > 1 ? argv[1] : "127.0.0.1:9470"};
  absl::Status status = Fill(client);
  if (status.ok()) status = Replay(client, kJuly4th2013, kJuly4th2013 + kDay);
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
