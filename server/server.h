// A whole broker process: builds everything in order, serves, and takes it down again in order.
//
//     Server server(config);
//     if (absl::Status s = server.Start([] { return false; }); !s.ok()) ...;
//     std::puts(server.ReadyLine().c_str());
//     ...
//     server.Stop();
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config.h"
#include "server/identity.h"

namespace millrace::server {

// The process's exit code when its store failed or is damaged.
inline constexpr int kExitStoreFailed = 3;

class Server {
 public:
  explicit Server(Config config);
  ~Server();

  // Returns when the broker serves; it may wait long for the others of its cluster. kUnavailable, kFailedPrecondition, ...: what
  // could not be had, and what to do. kDataLoss: the store is damaged, and starting again will not help. kCancelled:
  // `stop_requested` said so. What runs then is to be stopped.
  absl::Status Start(const std::function<bool()>& stop_requested);

  // "ready broker=1 listen=... http=... data=... start_ms=..."
  std::string ReadyLine() const;

  // Stops accepting, finishes what is under way, syncs and closes the store.
  void Stop();

 private:
  struct Parts;

  absl::Status OpenStore();
  absl::StatusOr<Identity> FindOrMakeIdentity(const std::optional<Identity>& found);
  absl::StatusOr<Identity> CountStart(Identity identity) const;
  absl::Status Listen();
  absl::StatusOr<Identity> EnterCluster(const Identity& identity, const std::function<bool()>& stop_requested);
  std::string AddressForPeers() const;
  void MakeBroker(const Identity& member);
  absl::Status LoadBroker(const std::function<bool()>& stop_requested);
  absl::Status CheckNotAlone(const Identity& member) const;
  void EndLoops();
  void AwaitOnEachLoop(const std::function<void(int loop)>& task);
  void RegisterMetrics();

  const Config config_;
  const std::chrono::steady_clock::time_point started_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace millrace::server
