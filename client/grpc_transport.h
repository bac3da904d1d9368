// ClientTransport over gRPC: generic calls of raw bytes on a completion queue that one thread serves.
//
// One channel for each address, with connections of its own (no sharing with other transports of the process). Channels
// reconnect by themselves and never give up.
//
// Lives on the loop's thread. Destroying it cancels what is under way: no callback comes any more.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "proto/wire/transport.h"

namespace millrace {
class CompletionLoop;
}

namespace millrace::client {

struct TlsFiles {
  std::string ca;  // empty: no TLS
  std::string cert;
  std::string key;
};

class GrpcTransport : public ClientTransport {
 public:
  // kInvalidConfig: a file cannot be read.
  static absl::StatusOr<std::unique_ptr<GrpcTransport>> Create(CompletionLoop& loop, const TlsFiles& tls);
  ~GrpcTransport() override;

  std::unique_ptr<Stream> OpenStream(const std::string& address, const std::string& method,
                                     StreamHandler* handler) override;
  void Call(const std::string& address, const std::string& method, absl::Cord request, std::chrono::nanoseconds timeout,
            std::function<void(CallReply)> done) override;

 private:
  struct Impl;
  explicit GrpcTransport(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace::client
