// gRPC's end of every call: accepts calls of all methods on completion queues that are our own loops, one thread each, and hands
// them to the Calls of a ServiceRegistry.
//
// Generic calls (raw buffers, no generated service) for two reasons: messages stay slices of the receive buffer, and no
// service of gRPC's own (its health and reflection plugins, callback or sync services) brings a second poller into the
// process, which would cost more than half of the throughput.
//
//     RpcServer server({.listen = {"127.0.0.1", 0}, .loops = 1});
//     absl::Status s = server.Bind();       // server.port()
//     server.Serve(services);
//     server.EndCalls(grace);               // from any thread; returns when all have
//     server.StopLoops();
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "proto/transport/completion_loop.h"
#include "server/call.h"
#include "server/host_port.h"

namespace millrace::server {

class RpcServer {
 public:
  struct Options {
    HostPort listen;  // port 0: any
    int loops = 1;
    int64_t message_bytes_max = 0;  // largest message taken from a client
    int64_t memory_bytes_max = 0;   // what gRPC may hold: received, to be sent, and referred to by us
  };

  explicit RpcServer(Options options);
  ~RpcServer();

  // Binds the address and starts the loops' threads; calls are not accepted yet. Errors: kUnavailable with the reason.
  absl::Status Bind();
  // Accepts calls; again: those that come from now on go by another registry. Registries must outlive the server.
  void Serve(const ServiceRegistry& services);

  int port() const { return port_; }
  CompletionLoop& loop(int i) { return *loops_[i]; }
  int loops() const { return static_cast<int>(loops_.size()); }
  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }

  // Stops accepting, and cancels calls that are still open after `grace`. What the loops do besides goes on.
  void EndCalls(std::chrono::milliseconds grace);
  // Ends the loops' threads, after the calls.
  void StopLoops();

 private:
  friend class GrpcCall;

  Options options_;
  int port_ = 0;
  std::atomic<int64_t> calls_{0};
  std::atomic<const ServiceRegistry*> services_{nullptr};
  std::atomic<bool> stopping_{false};
  grpc::AsyncGenericService service_;
  std::vector<std::unique_ptr<CompletionLoop>> loops_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::thread> threads_;
};

}  // namespace millrace::server
