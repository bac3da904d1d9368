// The HTTP port: /metrics, /healthz, /readyz, and an index that names them.
//
//     Health health;
//     auto http = HttpServer::Start(config.http, {.health = health, .metrics = [&] { return metrics.Text(); }});
//     if (!http.ok()) return Fail(http.status());        // the text names the address and what to do
//     ready.http = (*http)->Address();
//     health.SetReady();
//
// It has one thread, which never touches a completion queue, serves all connections, and sleeps while nobody asks. On libmicrohttpd:
// Debian's civetweb is built without IPv6.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "server/host_port.h"

namespace millrace::server {

// Whether clients may come: from SetReady() to SetNotReady(). Any thread.
class Health {
 public:
  void SetReady();
  void SetNotReady(std::string reason);

  // Empty when all is well, else the reason.
  std::string WhyNotReady() const;

 private:
  mutable std::mutex mutex_;
  std::string not_ready_ = "starting";
};

class HttpServer {
 public:
  struct Options {
    const Health& health;                  // outlives the server
    std::function<std::string()> metrics;  // called on the server's thread
  };

  // The status says which address could not be had, and why.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HostPort& listen, Options options);

  // Waits for requests under way.
  ~HttpServer();

  // The host asked for, with the port in use.
  const HostPort& Address() const { return address_; }

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
  HostPort address_;
};

}  // namespace millrace::server
