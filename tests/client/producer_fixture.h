// A producer's logic and a fake broker in one thread, on a clock that the test moves.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/producer_core.h"
#include "tests/client/fake_broker.h"
#include "tests/support/sim_executor.h"

namespace millrace {

inline constexpr char kBrokerAddress[] = "b1:9470";

class ProducerTest : public testing::Test {
 protected:
  using Outcome = client::RecordAccumulator::Outcome;

  void SetUp() override {
    broker.AddTopic("t", 4);
    options.delivery_timeout = std::chrono::seconds(30);
  }

  void TearDown() override {
    if (core) core->Stop();
    core.reset();
  }

  client::ProducerCore& Core() {
    if (!core) {
      core =
          std::make_unique<client::ProducerCore>(client::ClientEnvironment{executor.clock(), executor, random, broker},
                                                 options, std::vector<std::string>{kBrokerAddress});
    }
    return *core;
  }

  // What became of a record.
  struct Delivery {
    std::string value;
    absl::StatusOr<RecordMetadata> result;
  };

  Outcome Append(const std::string& value, std::optional<int32_t> partition = 0,
                 std::optional<std::string_view> key = std::nullopt, absl::Status* refusal = nullptr) {
    RecordView record{.timestamp = executor.clock().Wall(), .key = key, .value = value, .headers = {}};
    DeliveryCallback callback = [this, value](const absl::StatusOr<RecordMetadata>& result) {
      deliveries.push_back({value, result});
    };
    absl::Status ignored;
    return Core().accumulator().Append({.topic = "t", .partition = partition, .record = record}, &callback,
                                       refusal != nullptr ? refusal : &ignored);
  }

  // Appends, once the topic is known.
  void Send(const std::string& value, std::optional<int32_t> partition = 0) {
    if (Append(value, partition) == Outcome::kTaken) return;
    Core().EnsureTopic("t");
    executor.RunUntilIdle();
    ASSERT_EQ(Append(value, partition), Outcome::kTaken);
  }

  std::vector<std::string> Delivered() const {
    std::vector<std::string> values;
    for (const Delivery& delivery : deliveries) {
      if (delivery.result.ok()) values.push_back(delivery.value);
    }
    return values;
  }

  SimExecutor executor;
  SimRandom random{1};
  FakeBroker broker{executor, kBrokerAddress};
  ProducerOptions options;
  std::vector<Delivery> deliveries;
  std::unique_ptr<client::ProducerCore> core;
};

}  // namespace millrace
