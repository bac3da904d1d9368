// A way to the broker that can be cut without either end being told, as when a cable is pulled or a host loses power.
//
//     TcpProxy proxy(broker.address());
//     ... clients use proxy.address() ...
//     proxy.Freeze();      // connections there are stay open and carry nothing any more; new ones work
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace millrace {

class TcpProxy {
 public:
  explicit TcpProxy(const std::string& target);  // 127.0.0.1:PORT
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  void Freeze();
  const std::string& address() const { return address_; }

 private:
  struct Link {
    int client;
    int broker;
    bool frozen = false;
  };

  void Run();
  void Accept();
  void Wake();

  const uint16_t target_;
  int listener_;
  int wake_;  // an eventfd
  std::string address_;
  std::mutex mutex_;
  std::vector<Link> links_;  // guarded by mutex_
  bool stopping_ = false;    // guarded by mutex_
  std::thread thread_;
};

}  // namespace millrace
