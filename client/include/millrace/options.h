// Settings of producers, consumers and admins.
//
//     millrace::ProducerOptions options;
//     options.client.bootstrap_servers = "10.0.0.1:9470,10.0.0.2:9470";
//     options.compression = millrace::Compression::kLz4;
//
// or with Kafka's names, as from a configuration file:
//
//     absl::StatusOr<millrace::ProducerOptions> options =
//         millrace::ProducerOptions::FromMap({{"bootstrap.servers", "10.0.0.1:9470"}, {"compression.type", "lz4"}});
//
// The comment beside each field begins with its name in such maps. There durations are whole milliseconds, or have a
// unit (ms, s, m, h, d); sizes are bytes, or have a unit (kB, MB, GB: powers of 1000; KiB, MiB, GiB: powers of 1024);
// switches are true or false. An unknown name is kInvalidConfig and the text names the nearest known one, if one is
// near; a value that cannot be read or is out of bounds is kInvalidConfig too. Settings of
// Kafka that Millrace does not need (max.in.flight.requests.per.connection, retries, fetch.min.bytes, ...) are refused
// with a sentence that says why.
//
// Thread safety: values.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace {

class Runtime;

struct TopicPartition {
  std::string topic = {};
  int32_t partition = 0;
  auto operator<=>(const TopicPartition&) const = default;
};

// How the cluster is reached.
struct ClientOptions {
  // bootstrap.servers: HOST:PORT[,HOST:PORT...]; a host is a name, an IPv4 address or [IPv6]; without a port: 9470.
  std::string bootstrap_servers = "127.0.0.1:9470";

  // client.id: a name for this client, up to 255 bytes. Shown of members of groups (`millrace group describe`).
  std::string client_id = {};

  // request.timeout.ms: one request with all its retries, where no other time-out is said to apply. At least 1.
  std::chrono::milliseconds request_timeout{10'000};

  // connect.timeout.ms: how long a request goes on (request.timeout.ms at most) while no broker at all can be connected.
  // As long as a broker may take to restart; less where a wrong address should be told sooner. At least 1.
  std::chrono::milliseconds connect_timeout{10'000};

  // retry.backoff.ms, retry.backoff.max.ms: pause before the first retry; it doubles up to the second figure, each time
  // drawn between half and all of it. At least 1.
  std::chrono::milliseconds retry_backoff{50};
  std::chrono::milliseconds retry_backoff_max{1'000};

  // metadata.max.age.ms: how old leaders and partition counts may become when nothing shows that they changed. At least
  // 1.
  std::chrono::milliseconds metadata_max_age{60'000};

  // ssl.ca.location: PEM file. TLS is used when it is set: for proxies that end it, as brokers of this release do not.
  // ssl.certificate.location, ssl.key.location: this client's own, both or none.
  std::string tls_ca = {};
  std::string tls_cert = {};
  std::string tls_key = {};

  // The I/O thread to use; null: one thread shared by everything in this process. See runtime.h.
  std::shared_ptr<Runtime> runtime = {};

  static absl::StatusOr<ClientOptions> FromMap(const std::map<std::string, std::string>& settings);
  absl::Status Validate() const;
};

// When a record counts as stored.
enum class AckLevel : int32_t {
  kNone = 1,    // "none" or "0": when the broker has read it; that it is lost later is not noticed
  kLeader = 2,  // "leader" or "1": the partition's leader has it, as durable as the topic's `flush` says
  kQuorum = 3,  // "quorum", "all" or "-1": a majority of the replicas has it, as durable as the topic's `flush` says
};

enum class Compression : int32_t { kNone = 0, kLz4 = 3, kZstd = 4 };  // "none", "lz4", "zstd"

struct ProducerOptions {
  ClientOptions client = {};

  // acks
  AckLevel acks = AckLevel::kQuorum;

  // enable.idempotence: retries store nothing twice and keep the order within a partition. Without it, a retry after a
  // broken connection may store records twice, and only one batch of a partition is in flight. Off with acks=none.
  bool idempotence = true;

  // producer.name: a name that stays the same over restarts, up to 255 bytes. Whoever had it before is fenced as soon as this producer
  // is made: what the earlier one sends is refused with kInvalidProducerEpoch, so that one that was given up for dead cannot write
  // beside its successor. Empty: none. Needs idempotence.
  std::string name = {};

  // linger.ms: how long a batch that is not full waits for more records. 0: a record alone leaves at once. Under load, batches that
  // together have less than 256 KiB for a broker wait for the answer to the request before, and then until at most a millisecond
  // after that request was sent: batches grow with the load by themselves.
  std::chrono::milliseconds linger{0};

  // batch.size: bytes of records at which a batch is full. Capped by the topic's max.message.bytes. 1 KiB to 64 MiB.
  int64_t batch_size = 256 << 10;

  // compression.type: of whole batches, on the thread that calls Send().
  Compression compression = Compression::kNone;

  // buffer.memory: bytes of records that may wait for their ack. When it is full Send() waits, up to max_block. At
  // least twice batch.size.
  int64_t buffer_memory = 64 << 20;

  // max.block.ms: how long Send() may wait for room, or for the first metadata of a topic.
  std::chrono::milliseconds max_block{60'000};

  // delivery.timeout.ms: from Send() until the record is given up, with kRequestTimedOut, after any number of retries.
  std::chrono::milliseconds delivery_timeout{120'000};

  static absl::StatusOr<ProducerOptions> FromMap(const std::map<std::string, std::string>& settings);
  absl::Status Validate() const;
};

// Where to begin without a position.
enum class AutoOffsetReset {
  kEarliest,    // "earliest"
  kLatest,      // "latest"
  kNone,        // "none": an error, kOffsetOutOfRange; that partition stops until Seek()
  kByDuration,  // "by_duration:1h": the first record that is not older
};

// How a group's partitions are shared, decided by its oldest member; see Assignor in proto/millrace/v1/group.proto.
enum class GroupAssignor : int32_t { kUniform = 0, kRange = 1 };  // "uniform", "range"

// What a reader whose position is not in the log any more gets (retention overtook it, a trim, damage).
enum class OnGap {
  kError,   // "error": kOffsetOutOfRange or kCorruptMessage; that partition stops until Seek()
  kReport,  // "report": a Gap marker from Poll() says what is missing, and reading goes on behind it
};

// Records pass that have a header of this name, with this value if one is given.
struct HeaderFilter {
  std::string key;
  std::optional<std::string> value = {};
};

struct ConsumerOptions {
  ClientOptions client = {};

  // auto.offset.reset: where a partition begins that is assigned without a position, or of which the group has committed none.
  AutoOffsetReset auto_offset_reset = AutoOffsetReset::kEarliest;
  std::chrono::milliseconds auto_offset_reset_duration{0};  // of kByDuration

  // group.id: the group that Subscribe() joins, and whose offsets Commit() stores. Empty: none.
  std::string group_id = {};

  // group.instance.id: a name that stays the same over restarts of this member: back within session.timeout.ms, it has the
  // partitions that it had, and nobody else has moved. Who uses the name of a member that is running fences that one.
  std::string group_instance_id = {};

  // session.timeout.ms: after so long without a word of this member its partitions are others'. 1 s to 30 min.
  std::chrono::milliseconds session_timeout{10'000};

  // max.poll.interval.ms: after so long between two Poll() this member leaves the group, until the next one. At least 1 s.
  std::chrono::milliseconds max_poll_interval{300'000};

  // enable.auto.commit, auto.commit.interval.ms: what was handled is committed so often, before a partition is let go, and by
  // Close(). A record counts as handled when the next is asked for: by Poll(), or the step of an iteration.
  bool auto_commit = true;
  std::chrono::milliseconds auto_commit_interval{5'000};

  // group.remote.assignor
  GroupAssignor assignor = GroupAssignor::kUniform;

  // client.rack: partitions led in this rack are preferred.
  std::string client_rack = {};

  // Told by Poll(), on its thread, of partitions of a group: that came; that are to be let go, and are once the call returns
  // (commit what is done of them; auto_commit does so after it); that are lost: others' already, since this member was not heard for
  // too long (trouble() says why), or put elsewhere by a reset, and then on_assigned follows; nothing of what was read before can be
  // committed any more. May be empty. They may call the consumer, but for Poll(), Run(), Assign(), Subscribe() and Close(), which are
  // kInvalidRequest there.
  std::function<void(std::span<const TopicPartition>)> on_assigned = {};
  std::function<void(std::span<const TopicPartition>)> on_revoked = {};
  std::function<void(std::span<const TopicPartition>)> on_lost = {};

  // on.gap
  OnGap on_gap = OnGap::kError;

  // fetch.max.bytes: bytes of batches that may wait in memory for the application. One batch may go over it. At least
  // 64 KiB.
  int64_t fetch_max_bytes = 8 << 20;

  // max.poll.records: records that one Poll() gives at most. At least 1.
  int32_t max_poll_records = 512;

  // check.crcs: verify each batch's checksum. Damage is kCorruptMessage or a Gap, by on_gap.
  bool check_crcs = true;

  // header.filters: NAME or NAME=VALUE, comma-separated; all must match. Records that do not pass are read and dropped
  // here.
  std::vector<HeaderFilter> header_filters = {};

  static absl::StatusOr<ConsumerOptions> FromMap(const std::map<std::string, std::string>& settings);
  absl::Status Validate() const;
};

}  // namespace millrace
