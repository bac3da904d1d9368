// What a transport hands to the broker: one accepted call, of any method, as a stream of messages.
//
// The transport owns the Call; it calls Start once, then the StreamHandler functions, and destroys it after OnClosed. The stream
// given to Start is valid until then. Everything happens on one executor.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "proto/wire/runtime.h"
#include "proto/wire/transport.h"

namespace millrace::server {

class Call : public StreamHandler {
 public:
  virtual void Start(Stream& stream) = 0;
};

// The methods that are served, by full name ("/millrace.v1.Broker/Produce"). Filled before it is served, then read-only.
class ServiceRegistry {
 public:
  using Factory = std::function<std::unique_ptr<Call>(Executor& executor)>;

  void Add(std::string method, Factory factory) { factories_[std::move(method)] = std::move(factory); }

  // For all methods that were not added.
  void AddOthers(Factory factory) { others_ = std::move(factory); }

  // nullptr: no such method.
  std::unique_ptr<Call> NewCall(const std::string& method, Executor& executor) const {
    auto it = factories_.find(method);
    if (it != factories_.end()) return it->second(executor);
    return others_ == nullptr ? nullptr : others_(executor);
  }

 private:
  Factory others_;
  std::unordered_map<std::string, Factory> factories_;
};

}  // namespace millrace::server
