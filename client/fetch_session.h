// The Fetch stream to one broker: subscriptions out, frames in, and the account of credit.
//
// Credit that the broker has left, plus what lies in the application's hands, is kept equal to this session's share of
// fetch.max.bytes: on a new stream, after frames that nobody wanted, and as the application consumes.
//
// I/O thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "client/broker_stream.h"
#include "client/fetch_queue.h"
#include "proto/wire/frames.h"

namespace millrace::client {

class FetchSession : private BrokerStream::Owner {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // News of a partition that is subscribed (or was, until this frame ended it). For each batch NoteReceived() is due.
    virtual void OnFrame(const std::shared_ptr<FetchPartition>& partition, FetchPartitionFrame frame) = 0;
    // All frames of one message were given.
    virtual void OnMessageDone() = 0;
    // The stream is up again: subscribe what belongs here.
    virtual void OnSessionEstablished(FetchSession* session) = 0;
    virtual void OnSessionLost(FetchSession* session, const Error& error, bool was_established) = 0;
    // The broker says nothing, though it was asked.
    virtual void OnSessionSilent(const std::string& address) = 0;
  };
  struct Target {
    std::string address;
    Routing routing = Routing::kLeaderOnly;
    std::chrono::nanoseconds connect_timeout;
  };

  FetchSession(const ClientEnvironment& env, Target target, OutOfRange out_of_range, Backoff backoff, Owner* owner);

  const Target& target() const { return target_; }
  bool established() const { return stream_.established(); }
  // Since the broker was last heard.
  const std::optional<Trouble>& trouble() const { return trouble_; }

  // Under a new id, where the partition's notes say.
  void Subscribe(const std::shared_ptr<FetchPartition>& partition, uint64_t topic_id);
  void Unsubscribe(FetchPartition* partition);

  // This session's part of fetch.max.bytes.
  void SetShare(int64_t bytes);
  // Gives the broker the credit it may have.
  void GrantCredit();

  const std::shared_ptr<FetchCredit>& credit() const { return credit_; }
  // What the broker counts for a batch.
  static int64_t CreditBytes(const absl::Cord& batch, const absl::StatusOr<BatchView>& view);
  // A batch came. held: it goes to the application, whose reader takes it out of credit()->held again.
  void NoteReceived(int64_t credit_bytes, bool held);

 private:
  absl::Cord PingMessage(uint64_t ping) override;
  void OnEstablished() override;
  void OnMessage(absl::Cord message) override;
  void OnWritable() override;
  void OnLost(const Error& error) override;
  void OnSilent() override { owner_->OnSessionSilent(target_.address); }
  void Send();

  const Clock& clock_;
  const Target target_;
  const OutOfRange out_of_range_;
  Owner* const owner_;
  std::unordered_map<uint64_t, std::shared_ptr<FetchPartition>> subscriptions_;
  uint64_t last_subscription_ = 0;
  FetchRequestFrame pending_;
  int64_t share_ = 0;
  int64_t outstanding_ = 0;  // credit that the broker has left; below 0 after an overdraft
  std::shared_ptr<FetchCredit> credit_ = std::make_shared<FetchCredit>();
  bool established_once_ = false;  // since the last loss
  std::optional<Trouble> trouble_;
  BrokerStream stream_;
};

}  // namespace millrace::client
