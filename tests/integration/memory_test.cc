// Goal: a broker that may use 256 MiB stays below that under any load, is not killed, and loses nothing.
//
// Method: the broker runs in a cgroup of 256 MiB, with the defaults that follow from it, where a test may make one; and once
// without, with the same memory.limit, held to it by its peak resident set. Producers of 1 KiB and of 1 MiB records and readers
// of everything run as fast as they can, beside clients that misbehave: some subscribe to all partitions, grant endless credit
// and never read; some produce and never take an ack. Every record says whose it is and which of its writer's, and is read while
// it is written and once more from the beginning.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <millrace/admin.h>
#include <millrace/consumer.h>
#include <millrace/producer.h>
#include <sys/vfs.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client/control.h"
#include "client/runtime_thread.h"
#include "proto/wire/frames.h"
#include "proto/wire/record_batch.h"
#include "tests/integration/broker_process.h"
#include "tests/integration/memory_group.h"
#include "tests/support/raw_call.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kLimit = 256 << 20;
constexpr int32_t kPartitions = 16;
constexpr int kWriters = 2;  // of each topic
constexpr int kNeverReading = 12;
constexpr int kNeverTakingAcks = 3;
// How long to wait for one at a time; a broker that was killed would be waited for for ever.
constexpr milliseconds kLookAtTheBroker(1'000);

struct Load {
  std::string topic;
  size_t record_bytes;
  int64_t records;  // of each writer
};
const std::vector<Load> kLoads = {{"small", 1 << 10, 200'000}, {"large", 1 << 20, 200}};

int64_t PeakBytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; status >> word;) {
    int64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib << 10;
  }
  ADD_FAILURE() << "no VmHWM of process " << pid;
  return 0;
}

// In memory, files would count as the process's own.
bool IsOnDisk(const std::filesystem::path& directory) {
  constexpr decltype(statfs::f_type) kTmpfs = 0x01021994;
  struct statfs fs {};
  return statfs(directory.c_str(), &fs) == 0 && fs.f_type != kTmpfs;
}

// Record `sequence` of a writer goes to partition sequence % kPartitions and begins with "writer sequence ".
void Write(const BrokerProcess& broker, const ClientOptions& client, const Load& load, int writer) {
  auto producer =
      Producer::Create(
          {.client = client, .batch_size = 1 << 20, .buffer_memory = 32 << 20, .max_block = kLookAtTheBroker})
          .value();
  std::string value;
  for (int64_t sequence = 0; sequence < load.records; ++sequence) {
    value = std::to_string(writer) + ' ' + std::to_string(sequence) + ' ';
    value.resize(load.record_bytes, 'x');
    const ProducerRecord record = {
        .topic = load.topic, .partition = static_cast<int32_t>(sequence % kPartitions), .value = value};
    while (!producer->Send(record).ok()) ASSERT_TRUE(broker.Runs()) << "it was killed";
  }
  while (producer->counters().buffered_bytes > 0) {
    ASSERT_TRUE(broker.Runs()) << "it was killed";
    producer->Flush(kLookAtTheBroker).IgnoreError();
  }
  EXPECT_EQ(producer->counters().records_acked, load.records);
}

// Reads until it has every record of every writer; each partition must have all of a writer's in order, none twice.
void ReadAll(const BrokerProcess& broker, const ClientOptions& client, const Load& load) {
  auto consumer = Consumer::Create({.client = client}).value();
  ASSERT_TRUE(consumer->Assign({{.topic = load.topic}}).ok());
  std::map<std::pair<int, int32_t>, int64_t> next;
  for (int64_t left = load.records * kWriters; left > 0;) {
    auto polled = consumer->Poll(kLookAtTheBroker);
    ASSERT_TRUE(polled.ok()) << polled.status();
    ASSERT_TRUE(broker.Runs()) << "it was killed";
    for (const ConsumerRecord& record : polled->records) {
      ASSERT_EQ(record.value->size(), load.record_bytes);
      int writer = 0;
      int64_t sequence = 0;
      const char* const end = record.value->data() + record.value->size();
      const auto [space, error] = std::from_chars(record.value->data(), end, writer);
      ASSERT_EQ(error, std::errc());
      std::from_chars(space + 1, end, sequence);
      int64_t& expected = next.try_emplace({writer, record.partition}, record.partition).first->second;
      ASSERT_EQ(sequence, expected) << load.topic << " partition " << record.partition << " writer " << writer;
      expected += kPartitions;
      --left;
    }
  }
}

// Subscribes to every partition with endless credit, and reads nothing.
std::unique_ptr<RawCall> NeverRead(const std::string& address) {
  auto call = std::make_unique<RawCall>(address, client::control::kFetch);
  FetchRequestFrame request;
  request.max_reply_bytes = request.credit = int64_t{1} << 40;
  for (const Load& load : kLoads) {
    for (int32_t partition = 0; partition < kPartitions; ++partition) {
      FetchSubscriptionFrame& subscription = request.subscribe.emplace_back();
      subscription.id = request.subscribe.size();
      subscription.topic = load.topic;
      subscription.partition = partition;
    }
  }
  call->Send(SerializeFetchRequest(request));
  return call;
}

// Produces to a topic of its own as long as the broker takes something, and takes no ack.
class NeverTakesAcks : public StreamHandler {
 public:
  explicit NeverTakesAcks(const ClientOptions& client) : foundation_(client::Foundation::Create(client).value()) {
    for (uint64_t id = 1; id <= 1000; ++id) {
      PartitionBatchFrame& batch = request_.batches.emplace_back();
      BatchBuilder builder;
      builder.Add({.value = std::string_view("a record whose ack nobody takes")});
      batch.id = id;
      batch.topic = "ignored";
      batch.batch = builder.Finish({});
    }
    foundation_->thread().RunAndWait([&] {
      stream_ =
          foundation_->environment().transport.OpenStream(client.bootstrap_servers, client::control::kProduce, this);
      stream_->Write(SerializeProduceRequest(request_));
    });
  }
  ~NeverTakesAcks() override {
    foundation_->thread().RunAndWait([&] { stream_.reset(); });
  }

  void OnMessage(absl::Cord) override { ADD_FAILURE() << "nothing was asked for"; }
  void OnWritten() override { stream_->Write(SerializeProduceRequest(request_)); }
  void OnClosed(CallEnd) override {}  // a broker that is short of memory may end such a stream

 private:
  std::unique_ptr<client::Foundation> foundation_;
  ProduceRequestFrame request_;
  std::unique_ptr<Stream> stream_;
};

enum class Limit { kTold, kCgroup };

std::vector<Limit> LimitsHere() {
  std::vector<Limit> limits = {Limit::kTold};
  if (MemoryGroup(kLimit).made() && IsOnDisk(std::filesystem::temp_directory_path())) limits.push_back(Limit::kCgroup);
  return limits;
}

class Memory : public testing::TestWithParam<Limit> {};

INSTANTIATE_TEST_SUITE_P(Limits, Memory, testing::ValuesIn(LimitsHere()),
                         [](const auto& info) { return std::string(info.param == Limit::kTold ? "Told" : "Cgroup"); });

TEST_P(Memory, StaysBelow256MiBUnderFullLoadAndLosesNothing) {
  std::optional<MemoryGroup> group;
  BrokerProcess::Options options;
  if (GetParam() == Limit::kCgroup) {
    options.cgroup = group.emplace(kLimit).procs_file();
  } else {
    options.arguments = {"--set", "memory.limit=" + std::to_string(kLimit * 2 / 5)};  // as in a cgroup
  }
  BrokerProcess broker(options);
  ASSERT_NO_FATAL_FAILURE(broker.Start());
  ClientOptions client;
  client.bootstrap_servers = broker.address();
  auto admin = Admin::Create(client).value();
  for (const char* topic : {"small", "large", "ignored"}) {
    auto created = admin->CreateTopic(
        {.name = topic, .partitions = kPartitions, .config = {{"max.message.bytes", "4MiB"}, {"flush", "async"}}});
    ASSERT_TRUE(created.ok()) << created.status();
  }

  std::vector<std::unique_ptr<RawCall>> never_reading;
  for (int i = 0; i < kNeverReading; ++i) never_reading.push_back(NeverRead(broker.address()));
  std::vector<std::unique_ptr<NeverTakesAcks>> never_taking_acks;
  for (int i = 0; i < kNeverTakingAcks; ++i) never_taking_acks.push_back(std::make_unique<NeverTakesAcks>(client));

  std::vector<std::thread> threads;
  for (const Load& load : kLoads) {
    for (int writer = 0; writer < kWriters; ++writer)
      threads.emplace_back(Write, std::cref(broker), client, load, writer);
    threads.emplace_back(ReadAll, std::cref(broker), client, load);
  }
  for (std::thread& thread : threads) thread.join();
  for (const Load& load : kLoads) ReadAll(broker, client, load);

  const int64_t peak = PeakBytes(broker.pid());
  std::cout << "peak resident set: " << (peak >> 20) << " MiB\n";
  EXPECT_LT(peak, kLimit);
  never_reading.clear();
  never_taking_acks.clear();
  EXPECT_EQ(broker.Stop(), 0) << broker.ErrorOutput();
}

}  // namespace
}  // namespace millrace
