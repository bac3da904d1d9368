// One Produce stream: parses requests, has their batches appended, sends acks back in bunches.
//
// Back-pressure: the next request is read only while this stream and all streams of the executor together have room for it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/broker.h"
#include "server/call.h"

namespace millrace::server {

class ProduceCall : public Call {
 public:
  ProduceCall(Broker& broker, Executor& executor);
  ~ProduceCall() override;

  void Start(Stream& stream) override;
  void OnMessage(absl::Cord message) override;
  void OnWritten() override;
  void OnReadsDone() override;
  void OnClosed(CallEnd end) override;

 private:
  void Handle(PartitionBatchFrame batch, Acks acks, Routing routing);
  void AppendTo(std::shared_ptr<Partition> partition, ValidBatch batch, const PartitionBatchFrame& frame,
                const Partition::AppendOptions& options, Routing routing);
  Partition::AppendDone OrAtLeader(const PartitionBatchFrame& frame, Acks acks, int64_t cost,
                                   Partition::AppendDone done);
  bool WaitsForCrowdedLeader() const;
  void Refuse(uint64_t id, Acks acks, ErrorFrame error);
  void OnAppended(uint64_t id, Acks acks, int64_t cost, const AppendOutcome& outcome);
  void ReadNext();
  void ScheduleSend();
  void Send();
  std::vector<ProduceAckFrame> TakeAcks();
  void FinishIfDone();

  Broker& broker_;
  Executor& executor_;
  Shard& shard_;
  Stream* stream_ = nullptr;
  bool reading_ = false;
  bool reads_done_ = false;
  bool writing_ = false;
  bool send_scheduled_ = false;
  int64_t bytes_in_flight_ = 0;  // with what each batch costs besides
  int64_t batches_in_flight_ = 0;
  std::map<std::string, int64_t> at_leaders_;  // of these, those that other brokers were asked to append, by address
  std::vector<uint64_t> pongs_;
  std::vector<ProduceAckFrame> acks_;
  // Completions find out through this whether the call still exists.
  std::shared_ptr<ProduceCall*> self_;
};

}  // namespace millrace::server
