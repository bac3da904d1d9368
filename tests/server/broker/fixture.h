// A broker in memory and clients that speak in frames.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "millrace/v1/admin.pb.h"
#include "millrace/v1/broker.pb.h"
#include "proto/wire/frames.h"
#include "proto/wire/record_batch.h"
#include "server/errors.h"
#include "tests/support/sim_broker.h"

namespace millrace {

using server::ErrorCode;
using v1::Error;

// A batch of records with these values.
inline absl::Cord BatchOf(const std::vector<std::string>& values, BatchBuilder::Options options = {},
                          int64_t timestamp = 1'700'000'000'000) {
  BatchBuilder builder;
  for (const std::string& value : values) {
    RecordView record;
    record.timestamp = timestamp;
    record.value = value;
    builder.Add(record);
  }
  return builder.Finish(options);
}

inline std::vector<std::string> ValuesOf(const absl::Cord& batch) {
  std::vector<std::string> values;
  auto view = ParseBatch(batch);
  EXPECT_TRUE(view.ok());
  if (!view.ok()) return values;
  RecordReader reader(*view);
  while (reader.Next()) values.emplace_back(reader.record().value.value_or("(null)"));
  EXPECT_TRUE(reader.status().ok()) << reader.status();
  return values;
}

// One stream, and everything that came on it. Reads as fast as it can unless told not to.
class FrameClient : public StreamHandler {
 public:
  FrameClient(SimExecutor& executor, SimNetwork& network, const std::string& method,
              const std::string& address = "broker:9470")
      : executor_(executor) {
    stream_ = network.OpenStream(address, "/millrace.v1.Broker/" + method, this);
    stream_->Read();
  }

  void Send(absl::Cord message) {
    stream_->Write(std::move(message));
    executor_.RunUntilIdle();
  }
  void HalfClose() {
    stream_->Finish({});
    executor_.RunUntilIdle();
  }
  void Drop() { stream_.reset(); }

  void OnMessage(absl::Cord message) override {
    messages.push_back(std::move(message));
    if (reading) stream_->Read();
  }
  void OnWritten() override { ++written; }
  void OnClosed(CallEnd e) override {
    closed = true;
    end = std::move(e);
  }
  void Resume() {
    reading = true;
    stream_->Read();
    executor_.RunUntilIdle();
  }

  std::vector<absl::Cord> messages;
  bool reading = true;
  int written = 0;
  bool closed = false;
  CallEnd end;

 private:
  SimExecutor& executor_;
  std::unique_ptr<Stream> stream_;
};

inline std::vector<ProduceAckFrame> AcksOf(const FrameClient& client) {
  std::vector<ProduceAckFrame> acks;
  for (const absl::Cord& message : client.messages) {
    auto response = ParseProduceResponse(message);
    EXPECT_TRUE(response.ok());
    for (ProduceAckFrame& ack : response->acks) acks.push_back(std::move(ack));
  }
  return acks;
}

class BrokerTest : public ::testing::Test {
 protected:
  BrokerTest()
      : disk_([this](FakeLogStore::Task task) { executor_.After(std::chrono::milliseconds(1), std::move(task)); }) {
    broker_ = std::make_unique<SimBroker>(executor_, network_, disk_);
  }
  ~BrokerTest() override { executor_.Advance(std::chrono::seconds(1)); }

  // A unary call; fills `response` if it succeeded.
  template <typename Request, typename Response>
  CallEnd Unary(const std::string& method, const Request& request, Response* response) {
    CallReply reply;
    bool done = false;
    network_.Call("broker:9470", "/millrace.v1." + method, absl::Cord(request.SerializeAsString()),
                  std::chrono::seconds(10), [&](CallReply r) {
                    reply = std::move(r);
                    done = true;
                  });
    executor_.Advance(std::chrono::milliseconds(20));
    EXPECT_TRUE(done) << method;
    if (reply.end.status.ok()) {
      EXPECT_TRUE(response->ParseFromString(std::string(reply.message)));
    }
    return reply.end;
  }

  v1::CreateTopicResponse CreateTopic(const std::string& name, int32_t partitions,
                                      std::map<std::string, std::string> config = {}) {
    v1::CreateTopicRequest request;
    request.set_name(name);
    request.set_partitions(partitions);
    for (const auto& [key, value] : config) (*request.mutable_config())[key] = value;
    v1::CreateTopicResponse response;
    CallEnd end = Unary("Admin/CreateTopic", request, &response);
    EXPECT_TRUE(end.status.ok()) << end.status;
    return response;
  }

  // Of partition 0; -1: all. Returns the new log start.
  int64_t Trim(const std::string& topic, int64_t before) {
    v1::TrimPartitionRequest request;
    request.set_name(topic);
    request.set_before(before);
    v1::TrimPartitionResponse response;
    CallEnd end = Unary("Admin/TrimPartition", request, &response);
    EXPECT_TRUE(end.status.ok()) << end.status;
    return response.log_start_offset();
  }

  // Produces one batch on `client` and returns its ack.
  ProduceAckFrame Send(FrameClient& client, const std::string& topic, int32_t partition, absl::Cord batch,
                       Acks acks = Acks::kQuorum) {
    ProduceRequestFrame request;
    request.acks = static_cast<int32_t>(acks);
    PartitionBatchFrame& b = request.batches.emplace_back();
    b.id = ++last_id_;
    b.topic = topic;
    b.partition = partition;
    b.batch = std::move(batch);
    client.Send(SerializeProduceRequest(request));
    executor_.Advance(std::chrono::milliseconds(5));
    for (ProduceAckFrame& ack : AcksOf(client)) {
      if (ack.id == last_id_) return ack;
    }
    ADD_FAILURE() << "no ack";
    return {};
  }

  static std::vector<FetchPartitionFrame> PartitionsOf(const FrameClient& client, uint64_t subscription) {
    std::vector<FetchPartitionFrame> frames;
    for (const absl::Cord& message : client.messages) {
      auto response = ParseFetchResponse(message);
      EXPECT_TRUE(response.ok());
      for (FetchPartitionFrame& frame : response->partitions) {
        if (frame.subscription == subscription) frames.push_back(std::move(frame));
      }
    }
    return frames;
  }

  static std::vector<std::string> ValuesFetched(const FrameClient& client, uint64_t subscription) {
    std::vector<std::string> values;
    for (const FetchPartitionFrame& frame : PartitionsOf(client, subscription)) {
      for (const FetchedBatchFrame& batch : frame.batches) {
        for (std::string& value : ValuesOf(batch.batch)) values.push_back(std::move(value));
      }
    }
    return values;
  }

  static FetchSubscriptionFrame At(uint64_t id, const std::string& topic, int32_t partition, int64_t offset) {
    FetchSubscriptionFrame subscription;
    subscription.id = id;
    subscription.topic = topic;
    subscription.partition = partition;
    subscription.position = FetchSubscriptionFrame::Position::kOffset;
    subscription.position_value = offset;
    return subscription;
  }

  static absl::Cord FetchFrom(FetchSubscriptionFrame subscription, int64_t credit = 1 << 20) {
    FetchRequestFrame request;
    request.subscribe.push_back(std::move(subscription));
    request.credit = credit;
    return SerializeFetchRequest(request);
  }

  // Of the one loop there is.
  server::LoopMetrics& metrics() { return broker_->broker().shards()[0]->metrics; }

  raft::GroupId GroupOf(const std::string& topic, int32_t partition) {
    return broker_->broker().image()->FindTopic(topic)->partitions.at(static_cast<size_t>(partition)).group;
  }

  SimExecutor executor_;
  SimNetwork network_{executor_};
  FakeLogStore disk_;
  std::unique_ptr<SimBroker> broker_;
  uint64_t last_id_ = 0;
};

}  // namespace millrace
