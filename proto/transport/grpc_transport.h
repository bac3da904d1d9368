// ClientTransport over gRPC: generic calls of raw bytes on a completion queue that one thread serves.
//
// One channel for each address, with connections of its own (no sharing with other transports of the process). Channels
// reconnect by themselves and never give up. Or one for each stream: what is on one never waits for what is on another, and every
// stream that is opened is an attempt to connect at once, with the name resolved anew; a dead connection ends within seconds.
//
//     GrpcTransport transport(loop, {});
//     auto stream = transport.OpenStream("10.0.0.1:9470", "/millrace.v1.Broker/Fetch", handler);
//
// Lives on the loop's thread, and goes before the loop stops. Destroying it cancels the unary calls under way: no callback comes
// any more. Streams belong to whoever opened them.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "proto/wire/transport.h"

namespace millrace {

class CompletionLoop;

// PEM text.
struct TlsKeys {
  std::string roots;  // empty: those that gRPC finds on the machine
  std::string certificate;
  std::string private_key;
};

// Makes this process look names up as the system's other programs do: gRPC's own resolver asks the name service for what a hosts
// file leaves open (an IPv6 address, a configuration), and where no name service answers, that takes minutes. For main(), before
// there are threads; a library has no business with the environment. GRPC_DNS_RESOLVER, if somebody set it, is left as it is.
void UseSystemResolver();

class GrpcTransport : public ClientTransport {
 public:
  struct Options {
    std::optional<TlsKeys> tls;  // without keys there is no TLS
    bool connection_per_stream = false;
  };
  GrpcTransport(CompletionLoop& loop, const Options& options);
  ~GrpcTransport() override;

  std::unique_ptr<Stream> OpenStream(const std::string& address, const std::string& method,
                                     StreamHandler* handler) override;
  void Call(const std::string& address, const std::string& method, absl::Cord request, std::chrono::nanoseconds timeout,
            std::function<void(CallReply)> done) override;
  void Forget(const std::string& address) override;

 private:
  struct Impl;

  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
