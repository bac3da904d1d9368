// A broker in a few hundred lines, behind ClientTransport: stores what is produced, checks sequences as the protocol
// says, serves fetches by credit, and misbehaves when a test asks for it. No code of the real broker.
//
//     SimExecutor executor;
//     FakeBroker broker(executor, "b1:9470");
//     broker.AddTopic("t", 4);
//     ProducerCore core({executor.clock(), executor, random, broker}, ...);
//     broker.Script({.code = kNotLeader, .retriable = true});   // for the next batch
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/wire/frames.h"
#include "proto/wire/record_batch.h"
#include "proto/wire/transport.h"
#include "tests/support/sim_executor.h"

namespace millrace {

class FakeBroker : public ClientTransport {
 public:
  FakeBroker(SimExecutor& executor, std::string address);
  ~FakeBroker() override;

  // --- What it stores ---

  struct Stored {
    int64_t base_offset;
    int32_t leader_epoch;
    int64_t append_time;
    absl::Cord batch;
    BatchHeader header;
  };
  struct Log {
    std::vector<Stored> batches;
    int64_t log_start = 0;
    int64_t end = 0;
    // By producer id: its epoch and the last batches.
    struct Sequence {
      int32_t first;
      int64_t offset;
      int32_t records;
    };
    struct Producer {
      int32_t epoch = 0;
      int32_t expected = 0;
      std::deque<Sequence> window;
    };
    std::map<int64_t, Producer> producers;
  };
  using Key = std::pair<std::string, int32_t>;

  void AddTopic(const std::string& name, int32_t partitions, int64_t message_bytes_max = 1 << 20);
  void DeleteTopic(const std::string& name);
  Log& log(const std::string& topic, int32_t partition) { return logs_[{topic, partition}]; }
  // A batch of records with these values, each at `timestamp` + its index.
  void Append(const std::string& topic, int32_t partition, const std::vector<std::string>& values,
              int64_t timestamp = 1000);
  void AppendRaw(const std::string& topic, int32_t partition, absl::Cord batch);
  // All values stored, in offset order.
  std::vector<std::string> Values(const std::string& topic, int32_t partition) const;
  std::map<std::string, std::pair<int64_t, int32_t>> named;  // the last identity by a producer's name
  int32_t leader_epoch = 1;
  bool log_append_time = false;

  // --- How it behaves ---

  // Answers the next batches with these errors, one each; a code of 0 lets one through.
  void Script(ErrorFrame error) { script_.push_back(std::move(error)); }
  // Stores the next batch and breaks the connection instead of acking.
  void LoseNextAck() { lose_next_ack_ = true; }
  // Keeps acks until ReleaseAcks().
  void HoldAcks() { hold_acks_ = true; }
  void ReleaseAcks();
  // Those that are kept never come; new ones do.
  void ForgetAcks();
  // Connections are refused, and those there are break.
  void GoDown();
  void ComeUp() { up_ = true; }
  // Ends every stream.
  void BreakStreams();
  // Neither answers nor breaks.
  void GoSilent(bool silent) { silent_ = silent; }
  // Takes streams and what is written to them, and answers nothing on them. Calls are answered, as if by another broker.
  void Freeze() { frozen_ = true; }
  // Ends a subscription with an error, as if the partition had changed hands.
  void FailSubscriptions(const ErrorFrame& error);
  // Further brokers, as metadata has them; connections to their addresses are never answered.
  void Advertise(int32_t broker_id, const std::string& address) { brokers_[broker_id] = address; }
  void SetLeader(const std::string& topic, int32_t partition, int32_t broker_id) {
    leaders_[{topic, partition}] = broker_id;
  }

  // --- What it saw ---

  int streams_opened = 0;
  std::vector<std::string> stream_addresses;  // of each OpenStream()
  int connects_refused = 0;
  int pings = 0;
  int producer_ids_given = 0;
  int metadata_calls = 0;
  int64_t fetch_credit() const;             // left, of all streams
  std::vector<size_t> request_batches;      // of each ProduceRequest with batches
  std::vector<int64_t> subscribed_offsets;  // of each subscription by offset, in order
  std::vector<int32_t> routings;            // of each ProduceRequest with batches
  int64_t max_reply_bytes = 0;

  // Called for each batch before it is judged; may break things.
  std::function<void(const PartitionBatchFrame&)> on_batch;

  std::unique_ptr<Stream> OpenStream(const std::string& address, const std::string& method,
                                     StreamHandler* handler) override;
  void Call(const std::string& address, const std::string& method, absl::Cord request, std::chrono::nanoseconds timeout,
            std::function<void(CallReply)> done) override;

 private:
  struct Session;
  class Handle;
  struct Topic {
    int32_t partitions;
    int64_t message_bytes_max;
    uint64_t id;
  };
  struct Subscription {
    FetchSubscriptionFrame request;
    int64_t next = 0;
    bool announced = false;
    std::optional<GapFrame> gap;
  };

  void Receive(const std::shared_ptr<Session>& session, absl::Cord message);
  void ReceiveProduce(const std::shared_ptr<Session>& session, const absl::Cord& message);
  void ReceiveFetch(const std::shared_ptr<Session>& session, const absl::Cord& message);
  ProduceAckFrame Judge(const PartitionBatchFrame& batch);
  std::optional<FetchPartitionFrame> Subscribe(Subscription& subscription);
  void ServeSoon();
  void Serve();
  bool ServeOne(Session& session, uint64_t id, Subscription& subscription, FetchResponseFrame& response);
  void Send(const std::shared_ptr<Session>& session, absl::Cord message);
  void Deliver(const std::shared_ptr<Session>& session);
  void End(const std::shared_ptr<Session>& session, CallEnd end);
  absl::Cord Answer(const std::string& method, const absl::Cord& request);
  bool Reachable(const std::string& address) const { return up_ && address == address_; }

  SimExecutor& executor_;
  const std::string address_;
  bool up_ = true;
  bool silent_ = false;
  bool frozen_ = false;
  bool lose_next_ack_ = false;
  bool hold_acks_ = false;
  bool serve_posted_ = false;
  std::deque<ErrorFrame> script_;
  std::map<std::string, Topic> topics_;
  std::map<Key, Log> logs_;
  std::map<Key, int32_t> leaders_;
  std::map<int32_t, std::string> brokers_;
  std::set<std::shared_ptr<Session>> sessions_;
  std::vector<std::pair<std::shared_ptr<Session>, ProduceAckFrame>> held_acks_;
  uint64_t last_topic_id_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace
