// The way to one peer: two links that live and die together, one for what must never wait and one for entries and snapshots.
//
//   pausing     after a failure; the next attempt comes by itself, or at once when the peer comes to us
//   connecting  both links are being opened
//   connected   messages go out
//
// The peer is up while it is connected, is itself connected to us, and was heard of lately with its storage making progress.
// Lives on the executor, owned by PeerLinks.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "proto/wire/backoff.h"
#include "server/peer_presence.h"
#include "server/peer_stream.h"

namespace millrace::server {

struct PeerAddress {
  std::string address;       // HOST:PORT
  uint64_t incarnation = 0;  // of the disk that must be there; 0: any
  bool listed = false;       // by --cluster: whatever the peer says of itself

  bool operator==(const PeerAddress&) const = default;
};

class PeerLink : private PeerStream::Owner {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnUp(raft::ReplicaId peer) = 0;
    virtual void OnDown(raft::BrokerId peer) = 0;
    // Something was sent, or the links are gone with all that waited.
    virtual void OnDrained(raft::BrokerId peer) = 0;
    // Takes a stream that may still be on the call stack, to destroy it a little later.
    virtual void Bury(std::unique_ptr<PeerStream> stream) = 0;
  };

  PeerLink(const PeerEnvironment& environment, raft::BrokerId peer, PeerAddress address, Random& random, Owner& owner);
  ~PeerLink() override;

  void Open() { Connect(); }
  // Ends what there is, as if the connection had broken, for good.
  void Close();

  const PeerAddress& address() const { return address_; }
  // Who is at the other end; nothing while it is not connected.
  std::optional<raft::ReplicaId> connected() const;

  // Of entries and snapshots, while connected.
  size_t unsent_bytes() const { return bulk_->bytes(); }

  // While connected. False: there was no room, the message is lost.
  bool Send(raft::GroupId group, const raft::Message& message);
  bool Send(const GroupLeader& leader) { return control_->Add(leader); }

  // The peer opened or closed a link to us.
  void OnPresence(const PeerPresence::Change& change);
  // Once every kPeerHeartbeat, with what was heard since the last time.
  void Tick(const PeerPresence::Heard& heard, bool stalled);

 private:
  enum class State { kClosed, kPausing, kConnecting, kConnected };

  void OnWelcome(const PeerLife& peer, const std::string& build) override;
  void OnDrained() override { owner_.OnDrained(peer_); }
  void OnEnd(const std::string& reason) override { Lose(reason); }

  void Connect();
  void Drop();
  void Lose(const std::string& reason);
  void SetUp(bool up, const std::string& reason);
  void LogTrouble(const std::string& reason);
  void StartTimer(std::chrono::nanoseconds delay, Executor::Task task);
  void StopTimer();

  const PeerEnvironment& environment_;
  const raft::BrokerId peer_;
  const PeerAddress address_;
  Owner& owner_;
  Backoff backoff_;

  State state_ = State::kClosed;
  bool up_ = false;
  std::unique_ptr<PeerStream> control_, bulk_;  // in kConnecting and kConnected
  std::optional<PeerLife> life_;                // who is at their other ends
  std::string build_;
  std::optional<PeerLife> here_;  // who is connected to us and alive
  int silent_ticks_ = 0;          // nothing was heard
  bool unheard_ = false;          // the links were closed for that, and nothing was since
  int lifeless_ticks_ = 0;        // nor that its storage makes progress
  bool stalled_ = false;          // our own storage
  int64_t ticks_since_drop_;
  Executor::TimerId timer_ = 0;   // of the pause, or of the attempt
  std::set<std::string> logged_;  // why it could not be reached since it was up
};

}  // namespace millrace::server
