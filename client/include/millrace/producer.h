// Sends records to topics.
//
//     auto producer = millrace::Producer::Create({});  // 127.0.0.1:9470
//     if (!producer.ok()) return producer.status();
//     for (const Order& order : orders) {
//       (*producer)->Send("orders", order.customer, order.json).IgnoreError();  // Flush() tells
//     }
//     return (*producer)->Flush();  // OK: everything is stored, in order per customer, once
//
// Send() copies the record into the open batch of its partition and returns; batches leave by themselves (see linger.ms
// and batch.size in options.h). The library reconnects, finds new leaders and retries until delivery.timeout.ms,
// without storing anything twice and without changing the order within a partition.
//
// Thread safety: all methods may be called by any number of threads at once. Records sent by one thread to one
// partition are stored in the order sent.
// Callbacks run on the I/O thread, one at a time, in the order sent for each partition. They must not block; they may
// call Send(), which there never waits (as TrySend). Whatever else waits (SendAndWait, Flush, Close, all of Admin, Assign
// and Poll of a Consumer, making a client) is kInvalidRequest in them. They must not destroy a client.
// Ownership: the producer copies what it is given. The destructor calls Close(), and so waits for what was sent;
// Close(timeout) beforehand bounds that.
// Errors: of one record, by its callback or future; of records sent without either, by the next Flush() or Close().
// Send() itself returns an error only for records that it did not take:
//   kMessageTooLarge                  the record alone is over the topic's max.message.bytes (limit and size are set)
//   kUnknownTopicOrPartition          no such topic, or no such partition in it
//   kInvalidRequest                   no topic, or the producer was closed
//   kInvalidTimestamp                 negative
//   kThrottlingQuotaExceeded          buffer.memory stayed full for max.block.ms (TrySend: is full)
//   kRequestTimedOut, kNetworkException  no metadata of the topic within max.block.ms
// What a callback, future or Flush() can say, besides what the broker answers (error.h):
//   kRequestTimedOut                  delivery.timeout.ms passed; may_have_happened tells whether the record may be stored
//   kNetworkException                 acks=none, or Close() ran out of time, and the connection broke
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/error.h"
#include "millrace/options.h"
#include "millrace/record.h"

namespace millrace {

// Told once for each record, unless Send() returned an error. A callable of at most 16 bytes costs no allocation.
using DeliveryCallback = std::function<void(const absl::StatusOr<RecordMetadata>&)>;

// Totals since the producer was made.
struct ProducerCounters {
  int64_t records_sent = 0;   // taken by Send()
  int64_t records_acked = 0;  // stored, as far as `acks` goes
  int64_t records_failed = 0;
  int64_t bytes_sent = 0;    // keys and values
  int64_t batches_sent = 0;  // without retries
  int64_t batches_retried = 0;
  int64_t requests_sent = 0;   // messages, each with batches of several partitions
  int64_t buffered_bytes = 0;  // now in buffer.memory
};

class Producer {
 public:
  // Does not wait for a broker. kInvalidConfig: an option is out of bounds.
  static absl::StatusOr<std::unique_ptr<Producer>> Create(ProducerOptions options);

  virtual ~Producer() = default;
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  // Takes a record. Waits while buffer.memory is full.
  virtual absl::Status Send(const ProducerRecord& record, DeliveryCallback callback = nullptr) = 0;

  // The same for the usual case, and the fastest: no headers, time is now, no callback.
  virtual absl::Status Send(std::string_view topic, std::string_view value) = 0;
  virtual absl::Status Send(std::string_view topic, std::optional<std::string_view> key, std::string_view value) = 0;

  // As Send(), but never waits: kThrottlingQuotaExceeded when buffer.memory is full, kLeaderNotAvailable (retriable)
  // while the topic's metadata is on its way.
  virtual absl::Status TrySend(const ProducerRecord& record, DeliveryCallback callback = nullptr) = 0;

  // The outcome as a future. Errors of Send() come through it as well.
  std::future<absl::StatusOr<RecordMetadata>> SendAsync(const ProducerRecord& record);

  // Sends and waits for the outcome. One at a time this costs a round trip each.
  virtual absl::StatusOr<RecordMetadata> SendAndWait(const ProducerRecord& record) = 0;

  // Sends what is open and waits until every record taken before the call is stored or failed. Returns the first error
  // since the last Flush() of a record sent without callback or future. kRequestTimedOut when `timeout` passes first;
  // the records go on being sent.
  virtual absl::Status Flush(std::chrono::milliseconds timeout = std::chrono::milliseconds::max()) = 0;

  // Takes no more records, flushes for up to `timeout`, gives up the rest (kCancelled, may_have_happened for what was
  // in flight). Returns what Flush() would; a second call returns OK.
  virtual absl::Status Close(std::chrono::milliseconds timeout = std::chrono::milliseconds::max()) = 0;

  virtual ProducerCounters counters() const = 0;

 protected:
  Producer() = default;
};

}  // namespace millrace
