#include "server/log_writer.h"

#include <utility>

namespace millrace::server {
namespace {

// A round above either is written before more is staged: bounds memory and the time of one write, and what is received, checked,
// copied and written stays in the processor's nearest caches. Rounds of 1 MiB took 7 % more CPU.
constexpr size_t kRoundBytesMax = 256 << 10;
constexpr int kRoundChangesMax = 4096;
constexpr std::chrono::milliseconds kSlowWrite{1};
constexpr std::chrono::milliseconds kSlowSync{500};

}  // namespace

LogWriter::LogWriter(raft::LogStore& store, Executor& executor, Clock& clock, LoopMetrics& metrics, FlowBudget& intake,
                     FatalHandler on_fatal)
    : store_(store),
      executor_(executor),
      clock_(clock),
      metrics_(metrics),
      intake_(intake),
      on_fatal_(std::move(on_fatal)),
      round_(store.NewRound()),
      self_(std::make_shared<LogWriter*>(this)) {}

LogWriter::~LogWriter() { *self_ = nullptr; }

raft::Round& LogWriter::round() {
  Schedule();
  ++changes_;
  return *round_;
}

void LogWriter::Wake(size_t bytes) {
  Schedule();
  if (bytes == 0) return;
  ++changes_;
  bytes_coming_ += bytes;
}

void LogWriter::OnWritten(Callback callback) {
  Schedule();
  on_written_.push_back(std::move(callback));
}

void LogWriter::OnDurable(Callback callback) {
  Schedule();
  staged_durable_.push_back(std::move(callback));
}

bool LogWriter::progresses() const {
  return !stalled_since_ && (!syncing_ || clock_.Monotonic() - sync_started_ < kSlowSync);
}

void LogWriter::FlushIfLarge() {
  if (changes_ >= kRoundChangesMax || round_->bytes() + bytes_coming_ >= kRoundBytesMax) Flush();
}

void LogWriter::Schedule() {
  if (scheduled_) return;
  scheduled_ = true;
  executor_.Defer([self = self_] {
    if (LogWriter* writer = *self) {
      writer->scheduled_ = false;
      writer->Flush();
    }
  });
}

void LogWriter::Flush() {
  if (failed_ || stalled_since_) return;
  if (source_ != nullptr) source_->Stage(*round_);
  if (!round_->empty() && !WriteRound()) return;
  changes_ = 0;
  bytes_coming_ = 0;
  for (Callback& callback : staged_durable_) unsynced_.push_back(std::move(callback));
  staged_durable_.clear();
  if (source_ != nullptr) source_->OnWritten(written_);
  StartSync();
  std::vector<Callback> written;
  written.swap(on_written_);
  for (Callback& callback : written) callback();
}

// False: not now, or never.
bool LogWriter::WriteRound() {
  const size_t bytes = round_->bytes();
  const auto start = clock_.Monotonic();
  if (absl::Status written = store_.Write(*round_); !written.ok()) {
    raft::IsStalled(written) ? AwaitStallEnd() : Fail(written);
    return false;
  }
  ++written_;
  bytes_written_ += static_cast<int64_t>(bytes);
  last_write_ = clock_.Monotonic();
  const auto elapsed = last_write_ - start;
  metrics_.append_bytes.Record(bytes);
  metrics_.append_seconds.Record(elapsed);
  if (elapsed > kSlowWrite) metrics_.slow_inline_writes.Add();
  return true;
}

void LogWriter::AfterStall(Callback retry) {
  after_stall_.push_back(std::move(retry));
  if (!stalled_since_) AwaitStallEnd();
}

void LogWriter::AwaitStallEnd() {
  stalled_since_ = clock_.Monotonic();
  intake_.Close();
  store_.WhenWritable([self = self_, &executor = executor_] {
    executor.Post([self] {
      if (LogWriter* writer = *self) writer->OnStallEnd();
    });
  });
}

void LogWriter::OnStallEnd() {
  metrics_.stall_seconds.Record(clock_.Monotonic() - *stalled_since_);
  stalled_since_.reset();
  Flush();
  std::vector<Callback> retries;
  retries.swap(after_stall_);
  for (Callback& retry : retries) retry();
  if (!stalled_since_) intake_.Open();
}

void LogWriter::StartSync() {
  const bool awaited = source_ != nullptr && source_->AwaitedSync() > sync_covers_;
  if (syncing_ || (unsynced_.empty() && !awaited)) return;
  syncing_ = true;
  sync_covers_ = written_;
  sync_started_ = clock_.Monotonic();
  synced_next_.swap(unsynced_);
  store_.Sync([self = self_, &executor = executor_](absl::Status status) {
    executor.Post([self, status = std::move(status)] {
      if (LogWriter* writer = *self) writer->OnSynced(status);
    });
  });
}

void LogWriter::OnSynced(const absl::Status& status) {
  syncing_ = false;
  if (!status.ok()) return Fail(status);
  const auto elapsed = clock_.Monotonic() - sync_started_;
  metrics_.sync_seconds.Record(elapsed);
  if (told_of_syncs_ != nullptr) told_of_syncs_(elapsed);
  std::vector<Callback> durable;
  durable.swap(synced_next_);
  const raft::RoundSeq covered = sync_covers_;
  StartSync();
  if (source_ != nullptr) source_->OnSynced(covered);
  for (Callback& callback : durable) callback();
}

void LogWriter::Fail(const absl::Status& status) {
  failed_ = true;
  on_fatal_(status);
}

}  // namespace millrace::server
