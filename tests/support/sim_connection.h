// One call on a SimNetwork: two ends, and what is on its way from each to the other, in its order. sim_network.cc makes them.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "proto/wire/transport.h"
#include "server/call.h"
#include "tests/support/sim_network.h"

namespace millrace {

class SimConnection : public std::enable_shared_from_this<SimConnection> {
 public:
  struct Place {
    SimProcess* process = nullptr;  // nullptr: a test without processes
    std::string host;
  };

  SimConnection(SimNetwork& network, uint64_t number, Place client, std::string address, std::string host);

  const std::string& address() const { return address_; }
  bool Between(const std::string& one, const std::string& other) const;

  std::unique_ptr<Stream> Open(const std::string& method, StreamHandler* handler);
  // Both ends hear the end, whatever was under way.
  void Break(const absl::Status& status);
  // What waited for this way to be healed goes on.
  void Resume(const std::string& from, const std::string& to);
  void OnDeath(SimProcess& process, SimNetwork::Death death);
  // A machine of this name is back, which knows nothing of this call.
  void OnRevival(const std::string& host);

 private:
  // What an end's owner holds. The client's is destroyed by the client; the broker's belongs to the connection.
  struct End : Stream {
    End(SimConnection& c, bool client) : connection(c), is_client(client) {}
    ~End() override {
      if (is_client) connection.Abandon();
    }
    void Read() override { connection.Read(*this); }
    void Write(absl::Cord message) override { connection.Write(*this, std::move(message)); }
    void Finish(CallEnd end) override { connection.Finish(*this, std::move(end)); }
    void Abort(CallEnd end) override { connection.Abort(std::move(end)); }

    SimConnection& connection;
    std::shared_ptr<SimConnection> keep;  // the client's holds the connection
    const bool is_client;
    StreamHandler* handler = nullptr;
    std::deque<absl::Cord> incoming;
    size_t under_way = 0;  // of its messages
    bool read_wanted = false;
    bool write_blocked = false;  // its last write is beyond the peer's window
    bool closed = false;         // hears nothing more
  };
  // What travels from one end to the other.
  struct Direction {
    std::deque<Executor::Task> held;  // by a cut
    std::chrono::nanoseconds last_arrival{0};
  };

  End* FindEnd(bool client) { return client ? client_ : &broker_; }
  Place& PlaceOf(bool client) { return client ? client_place_ : broker_place_; }
  void Travel(bool from_client, Executor::Task arrive);
  // The same of what an end sends: a client has to be connected first.
  void Send(bool from_client, Executor::Task arrive);
  // Runs at that end, as soon as its process can.
  void At(bool client, Executor::Task task);
  void Soon(bool client, Executor::Task task);

  void Accept(const std::string& method);
  void OnConnected();
  void Refuse(absl::Status status);
  void Read(End& end);
  void Write(End& end, absl::Cord message);
  void Arrive(bool from_client, absl::Cord message);
  void MaybeWritten(bool client);
  void Deliver(bool client);
  void Finish(End& end, CallEnd call_end);
  void DeliverHalfClose();
  void DeliverFinish();
  void Abort(CallEnd end);
  void Abandon();
  void Close(bool client, const CallEnd& end);
  void CloseSoon(bool client, CallEnd end);
  void ForgetIfClosed();

  SimNetwork& network_;
  const uint64_t number_;
  const std::string address_;
  Place client_place_, broker_place_;
  End* client_ = nullptr;  // nullptr: it was let go
  End broker_{*this, false};
  std::unique_ptr<server::Call> call_;
  Direction to_broker_, to_client_;
  std::deque<Executor::Task> early_;  // of the client, before it is connected
  bool connected_ = false;            // as the client knows
  bool orphan_ = false;               // one end's machine died without a word
  bool half_closed_ = false;          // has arrived
  bool reads_done_ = false;
  std::optional<CallEnd> finish_;  // of the broker
  bool finish_arrived_ = false;
};

}  // namespace millrace
