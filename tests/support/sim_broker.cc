#include "tests/support/sim_broker.h"

#include <utility>

#include "proto/wire/check.h"
#include "server/services.h"

namespace millrace {

// "Another thread": the next task.
class SimBroker::InlinePool : public server::WorkPool {
 public:
  explicit InlinePool(Executor& executor) : executor_(executor) {}
  void Submit(std::function<void()> work) override { executor_.Post(std::move(work)); }

 private:
  Executor& executor_;
};

server::Broker::Options SimBroker::DefaultOptions() {
  server::Broker::Options options;
  options.address = "broker:9470";
  return options;
}

SimBroker::SimBroker(SimExecutor& executor, SimNetwork& network, FakeLogStore& disk, server::Broker::Options options,
                     uint64_t seed)
    : executor_(executor),
      network_(network),
      disk_(disk),
      options_(std::move(options)),
      random_(seed),
      process_(executor, options_.address.substr(0, options_.address.find(':'))),
      way_out_(network.WayOutOf(process_)) {
  const absl::Status made = server::MakeMetadataLog(disk_, options_.founders);
  MILLRACE_CHECK(made.ok() || absl::IsFailedPrecondition(made)) << made.ToString();  // it was made before
  disk_.Sync([](const absl::Status&) {});
  disk_.CompleteSyncs();
  Start();
}

SimBroker::~SimBroker() {
  if (running()) Crash(FakeLogStore::kKeepUnsynced);
}

void SimBroker::Start() {
  loaded_.reset();
  stopped_ = failed_ = false;
  pool_ = std::make_unique<InlinePool>(process_);
  metrics_ = std::make_unique<server::Metrics>(server::Metrics::Options{.memory_limit = options_.memory_limit});
  services_loading_ = std::make_unique<server::ServiceRegistry>();
  services_ = std::make_unique<server::ServiceRegistry>();
  presence_ = std::make_unique<server::PeerPresence>(process_.clock());
  gate_ = std::make_unique<server::PeerGate>(server::PeerIdentity{.life = {options_.self, random_.Next()},
                                                                  .cluster_id = server::ClusterIdOf(options_.founders)},
                                             server::PeerSecret(), *presence_, random_);
  broker_ = std::make_unique<server::Broker>(options_, disk_, process_.clock(), random_, *pool_, *metrics_, *gate_,
                                             std::vector<server::Broker::Loop>{{process_, *way_out_, *way_out_}},
                                             [this](const absl::Status&) { failed_ = true; });
  server::AddBrokerService(*broker_, *services_);
  server::AddAdminService(*broker_, *services_);
  server::AddForwardService(*broker_, *services_);
  server::AddGroupService(*broker_, *services_);
  server::AddHealthService([] { return true; }, *services_);
  server::AddReflectionService(*services_);
  server::AddNotReady([] { return "catching up with the cluster"; }, *services_loading_);
  if (!alone()) {
    server::AddPeerServices(*broker_, *gate_, *services_loading_);
    server::AddPeerServices(*broker_, *gate_, *services_);
    network_.Attach(options_.address, *services_loading_, process_);
  }
  broker_->Load(power_lost_ ? server::Partition::Lost::kUnsynced : server::Partition::Lost::kNothing,
                [this](const absl::StatusOr<size_t>& not_started) { OnLoaded(not_started); });
  if (!alone()) return;
  executor_.RunUntilIdle();
  while (disk_.CompleteSyncs() > 0) executor_.RunUntilIdle();
  MILLRACE_CHECK(loaded_.has_value() && loaded_->ok());
}

void SimBroker::OnLoaded(const absl::StatusOr<size_t>& not_started) {
  loaded_ = not_started.status();
  if (!loaded_->ok()) return;
  if (*not_started == 0) power_lost_ = false;  // what was lost is dealt with, on the disk
  network_.Attach(options_.address, *services_, process_);
  broker_->StartRetention();
}

void SimBroker::Stop() {
  broker_->StopRetention();
  broker_->HandOver([this] { broker_->Disconnect([this] { broker_->SavePartitions([this] { stopped_ = true; }); }); });
}

void SimBroker::Crash(size_t unsynced_writes_kept) {
  const bool power_lost = unsynced_writes_kept != FakeLogStore::kKeepUnsynced;
  power_lost_ |= power_lost;
  disk_.Stall();  // nothing is written any more while the calls that were cut off end
  network_.Kill(process_, power_lost ? SimNetwork::Death::kSilent : SimNetwork::Death::kTold);
  process_.Kill();
  broker_.reset();
  process_.Kill();
  disk_.Crash(unsynced_writes_kept);
  executor_.RunUntilIdle();
}

}  // namespace millrace
