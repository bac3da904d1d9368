#include "tests/support/sim_broker.h"

#include <utility>

#include "proto/wire/check.h"
#include "server/services.h"

namespace millrace {

// "Another thread": the next task.
class SimBroker::InlinePool : public server::WorkPool {
 public:
  explicit InlinePool(SimExecutor& executor) : executor_(executor) {}
  void Submit(std::function<void()> work) override { executor_.Post(std::move(work)); }

 private:
  SimExecutor& executor_;
};

server::Broker::Options SimBroker::DefaultOptions() {
  server::Broker::Options options;
  options.address = "broker:9470";
  return options;
}

SimBroker::SimBroker(SimExecutor& executor, SimNetwork& network, FakeLogStore& disk, server::Broker::Options options)
    : executor_(executor), network_(network), disk_(disk), options_(std::move(options)) {
  Start();
}

SimBroker::~SimBroker() {
  network_.Detach(options_.address);
  executor_.RunUntilIdle();
}

void SimBroker::Start() {
  pool_ = std::make_unique<InlinePool>(executor_);
  metrics_ = std::make_unique<server::Metrics>(server::Metrics::Options{.memory_limit = options_.memory_limit});
  services_ = std::make_unique<server::ServiceRegistry>();
  presence_ = std::make_unique<server::PeerPresence>(executor_.clock());
  gate_ = std::make_unique<server::PeerGate>(server::PeerIdentity{.life = {options_.self, random_.Next()},
                                                                  .cluster_id = server::ClusterIdOf(options_.founders)},
                                             server::PeerSecret(), *presence_, random_);
  const absl::Status made = server::MakeMetadataLog(disk_, options_.founders);
  MILLRACE_CHECK(made.ok() || absl::IsFailedPrecondition(made)) << made.ToString();  // it was made before
  broker_ = std::make_unique<server::Broker>(
      options_, disk_, executor_.clock(), random_, *pool_, *metrics_, *gate_,
      std::vector<server::Broker::Loop>{{executor_, network_, network_}}, [](const absl::Status& status) {
        MILLRACE_CHECK(false) << "the store failed: " << std::string(status.message());
      });
  server::AddBrokerService(*broker_, *services_);
  server::AddAdminService(*broker_, *services_);
  server::AddForwardService(*broker_, *services_);
  server::AddHealthService([] { return true; }, *services_);
  server::AddReflectionService(*services_);
  absl::Status loaded = absl::UnknownError("not yet");
  broker_->Load(power_lost_ ? server::Partition::Lost::kUnsynced : server::Partition::Lost::kNothing,
                [&loaded](absl::Status status) { loaded = std::move(status); });
  executor_.RunUntilIdle();
  while (disk_.CompleteSyncs() > 0) executor_.RunUntilIdle();
  MILLRACE_CHECK(loaded.ok()) << std::string(loaded.message());
  network_.Attach(options_.address, *services_);
  broker_->StartRetention();
  executor_.RunUntilIdle();
}

void SimBroker::Crash(size_t unsynced_writes_kept) {
  power_lost_ = unsynced_writes_kept != FakeLogStore::kKeepUnsynced;
  network_.Detach(options_.address);
  disk_.Stall();  // nothing is written any more while the calls that were cut off end
  executor_.RunUntilIdle();
  broker_.reset();
  disk_.Crash(unsynced_writes_kept);
  disk_.EndStall();
  executor_.RunUntilIdle();
}

}  // namespace millrace
