#include "tests/storage/recorded_life.h"

#include <algorithm>
#include <future>
#include <istream>
#include <mutex>
#include <ostream>
#include <utility>

#include "proto/wire/check.h"
#include "storage/rocks_log_store.h"
#include "tests/storage/store_text.h"
#include "tests/support/through_stalls.h"

namespace millrace::storage {
namespace {

using raft::GroupId;

class Driver {
 public:
  Driver(const LifeOptions& options, std::shared_ptr<RecordingFileSystem> files)
      : options_(options), files_(std::move(files)), draw_(options.seed), logs_(options.logs) {
    life_.begin = files_->position();
    life_.boot_id = options.boot_id;
    life_.os_crashed = options.os_crashed;
    life_.steps.push_back({.text = TextOf(logs_), .logs = logs_, .begun = 0, .written = 0});
  }

  RecordedLife Run() {
    Open();
    for (int round = 0; round < options_.rounds; ++round) {
      if (draw_.OneIn(30)) pace_ = Pace();
      if (draw_.OneIn(25) || logs_.empty()) CreateOrRemove();
      WriteRound();
      if (draw_.OneIn(pace_)) Sync();
      if (draw_.OneIn(60)) Restart();
    }
    End();
    life_.log = files_->log();
    return std::move(life_);
  }

 private:
  // Rounds between two syncs: with the longest, several WAL files wait for one.
  int Pace() { return draw_.OneIn(3) ? 1 : draw_.OneIn(2) ? 5 : 100; }

  void Open() {
    RocksLogStore::Options options;
    options.directory = options_.directory;
    options.memory_bytes = 1 << 20;
    options.cache_bytes = 100 << 10;
    options.reclaim_delay = std::chrono::milliseconds(1);
    options.dead_bytes_max = 0;              // payloads are moved all the time
    options.removal_piece_bytes = 32 << 10;  // most files are large
    options.boot_id = options_.boot_id;
    options.file_system = files_;
    life_.uses.push_back({.opening = files_->position()});
    auto store = RocksLogStore::Open(options);
    MILLRACE_CHECK(store.ok()) << store.status().ToString();
    MILLRACE_CHECK_EQ((*store)->os_crashed(), options_.os_crashed);
    life_.uses.back().opened = files_->position();
    store_ = *std::move(store);
    round_ = store_->NewRound();
    for (const auto& [group, log] : logs_) MILLRACE_CHECK(store_->Open(group).ok()) << group;
  }

  void End() {
    round_.reset();
    store_.reset();
  }

  void Restart() {
    if (draw_.OneIn(2)) {
      RecordedLife::Use& use = life_.uses.back();
      use.closing = files_->position();
      MILLRACE_CHECK(store_->Close().ok());
      use.closed = files_->position();
      AddAck(life_.steps.size() - 1);
    }
    End();
    Open();
  }

  template <typename Change>
  void Write(Change change) {
    life_.steps.push_back({.begun = files_->position()});
    const absl::Status status = ThroughStalls(*store_, change);
    MILLRACE_CHECK(status.ok()) << status.ToString();
    RecordedLife::Step& step = life_.steps.back();
    step.written = files_->position();
    step.logs = logs_;
    step.text = TextOf(logs_);
  }

  void WriteRound() {
    draw_.FillRound(logs_, *round_);
    Write([&] { return store_->Write(*round_); });
  }

  void CreateOrRemove() {
    const GroupId group = draw_.AnyGroup();
    if (logs_.contains(group)) {
      if (!draw_.OneIn(2)) return;
      logs_.erase(group);
      return Write([&] { return store_->Remove({group}); });
    }
    const raft::SegmentLimits limits = draw_.Limits();
    logs_.emplace(group, MemoryLog(limits));
    Write([&] { return store_->Create(group, limits); });
    MILLRACE_CHECK(store_->Open(group).ok());
  }

  void Sync() {
    auto synced = std::make_shared<std::promise<void>>();
    store_->Sync([this, synced, step = life_.steps.size() - 1](const absl::Status& status) {
      MILLRACE_CHECK(status.ok()) << status.ToString();
      AddAck(step);
      synced->set_value();
    });
    if (draw_.OneIn(2)) synced->get_future().wait();
  }

  void AddAck(size_t step) {
    std::lock_guard lock(acks_mutex_);
    life_.acks.push_back({step, files_->position()});
  }

  const LifeOptions& options_;
  const std::shared_ptr<RecordingFileSystem> files_;
  Workload draw_;
  Workload::Logs logs_;
  int pace_ = 1;
  std::mutex acks_mutex_;  // of life_.acks, while the store is open
  RecordedLife life_;
  std::unique_ptr<RocksLogStore> store_;
  std::unique_ptr<raft::Round> round_;
};

}  // namespace

RecordedLife Live(const LifeOptions& options, const std::shared_ptr<RecordingFileSystem>& files) {
  return Driver(options, files).Run();
}

RecordedLife::Expected RecordedLife::At(size_t cut, bool power_cut) const {
  Expected expected = {.first = 0, .last = 0, .may_be_clean = true, .must_be_clean = false};
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].begun < cut) expected.last = i;
    if (steps[i].written <= cut && !power_cut) expected.first = i;
  }
  for (const Ack& ack : acks) {
    if (ack.position <= cut) expected.first = std::max(expected.first, ack.step);
  }
  expected.last = std::max(expected.first, expected.last);
  for (const Use& use : uses) {
    if (use.opening <= cut) expected.must_be_clean = false;
    if (use.opened <= cut) expected.may_be_clean = use.closing <= cut;
    if (use.closed <= cut) expected.must_be_clean = true;
  }
  return expected;
}

void RecordedLife::Save(std::ostream& out) const {
  storage::Save(log, out);
  for (uint64_t number : {begin, size_t{os_crashed}, steps.size(), acks.size(), uses.size()}) SaveNumber(number, out);
  SaveText(boot_id, out);
  for (const Step& step : steps) {
    SaveText(step.text, out);
    SaveNumber(step.begun, out);
    SaveNumber(step.written, out);
  }
  for (const Ack& ack : acks) {
    SaveNumber(ack.step, out);
    SaveNumber(ack.position, out);
  }
  for (const Use& use : uses) {
    for (uint64_t number : {use.opening, use.opened, use.closing, use.closed}) SaveNumber(number, out);
  }
}

RecordedLife RecordedLife::Load(std::istream& in) {
  RecordedLife life;
  life.log = LoadDiskLog(in);
  life.begin = LoadNumber(in);
  life.os_crashed = LoadNumber(in) != 0;
  life.steps.resize(LoadNumber(in));
  life.acks.resize(LoadNumber(in));
  life.uses.resize(LoadNumber(in));
  life.boot_id = LoadText(in);
  for (Step& step : life.steps) {
    step.text = LoadText(in);
    step.begun = LoadNumber(in);
    step.written = LoadNumber(in);
  }
  for (Ack& ack : life.acks) {
    ack.step = LoadNumber(in);
    ack.position = LoadNumber(in);
  }
  for (Use& use : life.uses) {
    use.opening = LoadNumber(in);
    use.opened = LoadNumber(in);
    use.closing = LoadNumber(in);
    use.closed = LoadNumber(in);
  }
  return life;
}

}  // namespace millrace::storage
