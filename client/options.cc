#include "millrace/options.h"

#include <algorithm>

#include "client/address.h"
#include "client/settings.h"
#include "client/status.h"
#include "proto/wire/setting_value.h"

namespace millrace {
namespace {

using client::InvalidConfig;
using client::ParseAddresses;
using client::Settings;
using std::chrono::milliseconds;

constexpr int64_t kBatchSizeMin = 1 << 10;
constexpr int64_t kBatchSizeMax = 64 << 20;  // the largest max.message.bytes
constexpr size_t kProducerNameBytesMax = 255;
constexpr int64_t kFetchBytesMin = 64 << 10;

void TakeClientSettings(Settings& settings, ClientOptions& options) {
  settings.Text("bootstrap.servers", options.bootstrap_servers);
  settings.Text("client.id", options.client_id);
  settings.Duration("request.timeout.ms", options.request_timeout);
  settings.Duration("connect.timeout.ms", options.connect_timeout);
  settings.Duration("retry.backoff.ms", options.retry_backoff);
  settings.Duration("retry.backoff.max.ms", options.retry_backoff_max);
  settings.Duration("metadata.max.age.ms", options.metadata_max_age);
  settings.Text("ssl.ca.location", options.tls_ca);
  settings.Text("ssl.certificate.location", options.tls_cert);
  settings.Text("ssl.key.location", options.tls_key);
}

// What people bring along from Kafka's configuration files.
void RefuseKafkaSettings(Settings& settings) {
  for (std::string_view name : {"retries", "message.send.max.retries"}) {
    settings.Refuse(name, "retries go on until delivery.timeout.ms or request.timeout.ms; set those instead");
  }
  for (std::string_view name : {"max.in.flight.requests.per.connection", "max.in.flight"}) {
    settings.Refuse(name, "is always 5, which keeps the order with enable.idempotence=true");
  }
  for (std::string_view name : {"fetch.min.bytes", "fetch.max.wait.ms", "max.partition.fetch.bytes"}) {
    settings.Refuse(name, "brokers push records as they appear; fetch.max.bytes bounds the memory");
  }
  settings.Refuse("transactional.id",
                  "this release has no transactions; producer.name fences an earlier producer of that name");
  settings.Refuse("isolation.level", "this release has no transactions");
  settings.Refuse("heartbeat.interval.ms", "the coordinator says how often; set session.timeout.ms");
  settings.Refuse("partition.assignment.strategy", "brokers assign partitions; set group.remote.assignor");
  settings.Refuse("min.insync.replicas", "a majority of the replicas is the rule");
}

// Kafka writes the duration in ISO 8601 (KIP-1106); here it is written as all others are.
void TakeOffsetReset(Settings& settings, ConsumerOptions& options) {
  constexpr std::string_view kByDuration = "by_duration:";
  const std::string* value = settings.Take("auto.offset.reset");
  if (value == nullptr) return;
  if (value->starts_with(kByDuration)) {
    const std::optional<int64_t> duration = ParseMillis(std::string_view(*value).substr(kByDuration.size()));
    if (!duration) return settings.Fail("auto.offset.reset", *value, "by_duration: and a time, as 90s or 2h");
    options.auto_offset_reset = AutoOffsetReset::kByDuration;
    options.auto_offset_reset_duration = milliseconds(*duration);
    return;
  }
  settings.Choice<AutoOffsetReset>("auto.offset.reset", options.auto_offset_reset,
                                   {{"earliest", AutoOffsetReset::kEarliest},
                                    {"latest", AutoOffsetReset::kLatest},
                                    {"none", AutoOffsetReset::kNone}});
}

absl::Status ParseHeaderFilters(std::string_view list, std::vector<HeaderFilter>& filters) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const std::string_view item = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    const size_t equals = item.find('=');
    if (item.empty() || equals == 0) {
      return InvalidConfig("setting \"header.filters\": expected NAME or NAME=VALUE, comma-separated");
    }
    HeaderFilter filter{.key = std::string(item.substr(0, equals))};
    if (equals != std::string_view::npos) filter.value = std::string(item.substr(equals + 1));
    filters.push_back(std::move(filter));
  }
  return absl::OkStatus();
}

absl::Status OutOfBounds(std::string_view name, int64_t value, std::string_view bounds) {
  return InvalidConfig("setting \"" + std::string(name) + "\" is " + std::to_string(value) + ", must be " +
                       std::string(bounds));
}

absl::Status Positive(std::string_view name, milliseconds value) {
  if (value >= milliseconds(1)) return absl::OkStatus();
  return OutOfBounds(name, value.count(), "at least 1 millisecond");
}

absl::Status FirstError(std::initializer_list<absl::Status> statuses) {
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ClientOptions> ClientOptions::FromMap(const std::map<std::string, std::string>& map) {
  ClientOptions options;
  Settings settings(map);
  TakeClientSettings(settings, options);
  RefuseKafkaSettings(settings);
  if (absl::Status status = FirstError({settings.Finish(), options.Validate()}); !status.ok()) return status;
  return options;
}

absl::Status ClientOptions::Validate() const {
  if (auto addresses = ParseAddresses(bootstrap_servers); !addresses.ok()) return addresses.status();
  if (tls_cert.empty() != tls_key.empty()) {
    return InvalidConfig("settings \"ssl.certificate.location\" and \"ssl.key.location\" go together");
  }
  if (!tls_cert.empty() && tls_ca.empty()) {
    return InvalidConfig("setting \"ssl.certificate.location\" needs \"ssl.ca.location\"");
  }
  if (retry_backoff_max < retry_backoff) {
    return OutOfBounds("retry.backoff.max.ms", retry_backoff_max.count(), "at least retry.backoff.ms");
  }
  return FirstError({Positive("request.timeout.ms", request_timeout), Positive("connect.timeout.ms", connect_timeout),
                     Positive("retry.backoff.ms", retry_backoff), Positive("metadata.max.age.ms", metadata_max_age)});
}

absl::StatusOr<ProducerOptions> ProducerOptions::FromMap(const std::map<std::string, std::string>& map) {
  ProducerOptions options;
  Settings settings(map);
  TakeClientSettings(settings, options.client);
  settings.Choice<AckLevel>("acks", options.acks,
                            {{"none", AckLevel::kNone},
                             {"leader", AckLevel::kLeader},
                             {"quorum", AckLevel::kQuorum},
                             {"0", AckLevel::kNone},
                             {"1", AckLevel::kLeader},
                             {"all", AckLevel::kQuorum},
                             {"-1", AckLevel::kQuorum}});
  settings.Switch("enable.idempotence", options.idempotence);
  settings.Text("producer.name", options.name);
  settings.Duration("linger.ms", options.linger);
  settings.Bytes("batch.size", options.batch_size);
  settings.Choice<Compression>(
      "compression.type", options.compression,
      {{"none", Compression::kNone}, {"lz4", Compression::kLz4}, {"zstd", Compression::kZstd}});
  settings.Bytes("buffer.memory", options.buffer_memory);
  settings.Duration("max.block.ms", options.max_block);
  settings.Duration("delivery.timeout.ms", options.delivery_timeout);
  RefuseKafkaSettings(settings);
  if (absl::Status status = FirstError({settings.Finish(), options.Validate()}); !status.ok()) return status;
  return options;
}

absl::Status ProducerOptions::Validate() const {
  if (batch_size < kBatchSizeMin || batch_size > kBatchSizeMax) {
    return OutOfBounds("batch.size", batch_size, "1 KiB to 64 MiB");
  }
  if (buffer_memory < 2 * batch_size) {
    return OutOfBounds("buffer.memory", buffer_memory, "at least twice batch.size");
  }
  if (linger < milliseconds(0) || linger >= delivery_timeout) {
    return OutOfBounds("linger.ms", linger.count(), "0 or more, and less than delivery.timeout.ms");
  }
  if (name.size() > kProducerNameBytesMax) {
    return OutOfBounds("producer.name", static_cast<int64_t>(name.size()), "up to 255 bytes");
  }
  if (!name.empty() && (!idempotence || acks == AckLevel::kNone)) {
    return InvalidConfig("producer.name needs enable.idempotence=true, and acks that are not none");
  }
  if (max_block < milliseconds(0)) return OutOfBounds("max.block.ms", max_block.count(), "0 or more");
  return FirstError({Positive("delivery.timeout.ms", delivery_timeout), client.Validate()});
}

absl::StatusOr<ConsumerOptions> ConsumerOptions::FromMap(const std::map<std::string, std::string>& map) {
  ConsumerOptions options;
  Settings settings(map);
  TakeClientSettings(settings, options.client);
  TakeOffsetReset(settings, options);
  settings.Text("group.id", options.group_id);
  settings.Text("group.instance.id", options.group_instance_id);
  settings.Duration("session.timeout.ms", options.session_timeout);
  settings.Duration("max.poll.interval.ms", options.max_poll_interval);
  settings.Switch("enable.auto.commit", options.auto_commit);
  settings.Duration("auto.commit.interval.ms", options.auto_commit_interval);
  settings.Choice<GroupAssignor>("group.remote.assignor", options.assignor,
                                 {{"uniform", GroupAssignor::kUniform}, {"range", GroupAssignor::kRange}});
  settings.Text("client.rack", options.client_rack);
  settings.Choice<OnGap>("on.gap", options.on_gap, {{"error", OnGap::kError}, {"report", OnGap::kReport}});
  settings.Bytes("fetch.max.bytes", options.fetch_max_bytes);
  settings.Count("max.poll.records", options.max_poll_records);
  settings.Switch("check.crcs", options.check_crcs);
  absl::Status filters;
  if (const std::string* list = settings.Take("header.filters")) {
    filters = ParseHeaderFilters(*list, options.header_filters);
  }
  RefuseKafkaSettings(settings);
  if (absl::Status status = FirstError({settings.Finish(), filters, options.Validate()}); !status.ok()) return status;
  return options;
}

absl::Status ConsumerOptions::Validate() const {
  if (fetch_max_bytes < kFetchBytesMin) return OutOfBounds("fetch.max.bytes", fetch_max_bytes, "at least 64 KiB");
  if (max_poll_records < 1) return OutOfBounds("max.poll.records", max_poll_records, "at least 1");
  if (session_timeout < std::chrono::seconds(1) || session_timeout > std::chrono::minutes(30)) {
    return OutOfBounds("session.timeout.ms", session_timeout.count(), "1 s to 30 min");
  }
  if (max_poll_interval < std::chrono::seconds(1)) {
    return OutOfBounds("max.poll.interval.ms", max_poll_interval.count(), "at least 1 s");
  }
  if (group_id.size() > 255 || group_instance_id.size() > 255) {
    return InvalidConfig("setting \"group.id\" or \"group.instance.id\" has more than 255 bytes");
  }
  return FirstError({Positive("auto.commit.interval.ms", auto_commit_interval), client.Validate()});
}

}  // namespace millrace
