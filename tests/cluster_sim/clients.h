// The SDK's logic, each client a process of its own, with what it says and hears written into the ledger.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/consumer_core.h"
#include "client/consumer_reader.h"
#include "client/control.h"
#include "client/control_client.h"
#include "client/producer_core.h"
#include "tests/cluster_sim/world.h"

namespace millrace::sim {

// What a client runs in.
class ClientProcess {
 public:
  ClientProcess(World& world, std::string name)
      : world_(world), process_(world.executor, std::move(name)), way_out_(world.network.WayOutOf(process_)) {}

  const std::string& name() const { return process_.name(); }
  SimProcess& process() { return process_; }

 protected:
  client::ClientEnvironment environment() { return {process_.clock(), process_, world_.dice, *way_out_}; }

  World& world_;
  SimProcess process_;
  const std::unique_ptr<ClientTransport> way_out_;
};

class SimProducer : public ClientProcess {
 public:
  // Told of each ack.
  using OnAcked = std::function<void(const Place& place, int64_t offset)>;

  // From Ledger::kFirstNamed on it has a name.
  SimProducer(World& world, int number, const std::vector<std::string>& bootstrap, OnAcked on_acked);
  ~SimProducer();

  void Send(const Place& place);
  // Something was: so it has its identity.
  bool acked() const { return acked_; }

 private:
  static ProducerOptions OptionsFor(World& world, int number, const std::vector<std::string>& bootstrap);
  bool named() const { return number_ >= Ledger::kFirstNamed; }
  void OnDelivered(RecordId id, const Place& place, const absl::StatusOr<RecordMetadata>& result);

  const int number_;
  const OnAcked on_acked_;
  bool acked_ = false;
  client::ProducerCore core_;
};

class SimConsumer : public ClientProcess, private client::ConsumerReader::Core {
 public:
  using OnRead = std::function<void(const Place& place, int64_t offset)>;

  // Reads all partitions from the beginning on.
  SimConsumer(World& world, std::string name, const std::vector<std::string>& bootstrap,
              const std::vector<std::string>& topics, OnRead on_read);
  ~SimConsumer() override;

  // Takes what has come.
  void Poll();
  // Of the record that comes next; -1: not known.
  int64_t position(const Place& place) const;
  // At the high watermarks of all partitions of the topic, as it has heard of them last.
  bool AtEndOf(const std::string& topic) const;

 private:
  void Resolve();
  void Take(const PollResult& news);
  void TakeRecord(const ConsumerRecord& record);

  void Reposition(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation,
                  Position position) override;
  void Halt(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) override;
  void Add(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation, Position position) override;
  void Remove(const std::shared_ptr<client::FetchPartition>& partition, uint64_t generation) override;
  void GrantCredit() override;

  const ConsumerOptions options_;
  std::vector<Assignment> assignments_;
  const OnRead on_read_;
  client::FetchQueue queue_;
  client::ConsumerCore core_;
  client::ConsumerReader reader_;
  bool assigned_ = false;
  std::map<Place, int64_t> next_;
  std::map<std::pair<Place, int>, RecordId> last_;  // of each producer
};

// Asks for changes of topics, and hears what came of it.
class SimOperator : public ClientProcess {
 public:
  using Done = std::function<void(const absl::StatusOr<absl::Cord>& reply)>;

  SimOperator(World& world, const std::vector<std::string>& bootstrap)
      : ClientProcess(world, "operator"), control_(environment(), ClientOptions(), bootstrap) {}

  void Ask(const char* method, absl::Cord request, Done done = nullptr);

 private:
  client::ControlClient control_;
};

}  // namespace millrace::sim
