// A whole broker process: builds everything in order, serves, and takes it down again in order.
//
//     Server server(config);
//     if (absl::Status s = server.Start(); !s.ok()) ...;
//     std::puts(server.ReadyLine().c_str());
//     ...
//     server.Stop();
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/config.h"

namespace millrace::server {

// The process's exit code when its store failed or is damaged.
inline constexpr int kExitStoreFailed = 3;

class Server {
 public:
  explicit Server(Config config);
  ~Server();

  // kUnavailable, kFailedPrecondition, ...: what could not be had, and what to do. kDataLoss: the store is damaged, and starting
  // again will not help. Nothing runs then.
  absl::Status Start();

  // "ready broker=1 listen=... http=... data=... start_ms=..."
  std::string ReadyLine() const;

  // Stops accepting, finishes what is under way, syncs and closes the store.
  void Stop();

 private:
  struct Parts;

  absl::Status OpenStore();
  absl::Status LoadBroker();
  void SavePartitions();
  void RegisterMetrics();

  const Config config_;
  const std::chrono::steady_clock::time_point started_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace millrace::server
