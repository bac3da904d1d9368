// Which peers have a link to this broker open, and when each was heard last: what all executors go by.
//
//     auto visit = presence.Enter(life, address);   // the receiving end of a link, once it has let the peer in
//     visit->Announce(alive, unheard);        // of a control link, which speaks every kPeerHeartbeat
//     visit->Heard(alive, sent_at);           // with each of its frames
//     visit.reset();                          // the link is closed
//
//     presence.Watch(executor, [&](const PeerPresence::Change& change) { … });
//
// A peer's broken connection is told at once; that one fell silent is found by whoever asks with HeardSince().
// Any thread. Visits and watchers go before the presence does.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "proto/wire/runtime.h"
#include "server/clock_offset.h"
#include "server/peer_identity.h"

namespace millrace::server {

// How often a peer is heard of at least, and after what time of silence it is taken to be gone.
inline constexpr std::chrono::milliseconds kPeerHeartbeat{200};
inline constexpr std::chrono::milliseconds kPeerSilence{1'000};

class PeerPresence {
 public:
  explicit PeerPresence(const Clock& clock) : clock_(clock) {}
  PeerPresence(const PeerPresence&) = delete;

  class Visit;

  // Whether another life of the broker has a link open and was heard within kPeerSilence: two brokers with one id.
  bool IsTaken(const PeerLife& life) const;

  // From here on it is this life of the broker that is here; those before it are outlived.
  std::unique_ptr<Visit> Enter(const PeerLife& life, const std::string& address);

  struct Heard {
    std::optional<PeerLife> life;  // who is here
    bool any = false;              // said anything
    bool alive = false;            // and its storage makes progress
  };
  Heard HeardSince(raft::BrokerId broker, std::chrono::nanoseconds time) const;

  // By how many milliseconds its clock is ahead of this broker's, a little less than it is; nothing: it is not here.
  std::optional<int64_t> ClockOffsetOf(raft::BrokerId broker) const;

  // A control link was opened, or closed while it was alive.
  struct Change {
    PeerLife life;
    std::string address;  // that it gave
    bool here = false;
    bool unheard = false;  // it was opened since the peer hears nothing of this broker
  };
  // Tells `executor`. `on_change` must bear to be called after Unwatch(), once what was on its way has come.
  using Watcher = std::function<void(const Change& change)>;
  int Watch(Executor& executor, Watcher on_change);
  void Unwatch(int watch);

 private:
  struct Peer {
    Peer(const PeerLife& life, const std::string& address) : life(life), address(address) {}
    const PeerLife life;
    const std::string address;
    int visits = 0;  // guarded by mutex_
    std::atomic<bool> outlived{false};
    std::atomic<std::chrono::nanoseconds> heard{std::chrono::nanoseconds::min()};
    std::atomic<std::chrono::nanoseconds> alive{std::chrono::nanoseconds::min()};
    ClockOffset clock_offset;  // guarded by mutex_
  };
  struct Watching {
    Executor* executor;
    Watcher on_change;
  };

  void Leave(Peer& peer, bool was_alive);
  void Tell(const Change& change);  // with mutex_ held

  const Clock& clock_;
  mutable std::mutex mutex_;
  std::map<raft::BrokerId, std::shared_ptr<Peer>> peers_;  // guarded by mutex_; those with visits
  std::map<int, Watching> watching_;                       // guarded by mutex_
  int last_watch_ = 0;                                     // guarded by mutex_
};

// One open link of a peer.
class PeerPresence::Visit {
 public:
  Visit(PeerPresence& presence, std::shared_ptr<Peer> peer) : presence_(presence), peer_(std::move(peer)) {}
  ~Visit();
  Visit(const Visit&) = delete;

  void Announce(bool alive, bool unheard);
  // `sent_at`: what the frame says of its sender's clock; 0: nothing.
  void Heard(bool alive, UnixMillis sent_at = 0);
  // Another life of the broker is here in the meantime.
  bool outlived() const { return peer_->outlived.load(); }

 private:
  PeerPresence& presence_;
  const std::shared_ptr<Peer> peer_;
  std::chrono::nanoseconds heard_ = std::chrono::nanoseconds::min();  // on this link
};

}  // namespace millrace::server
