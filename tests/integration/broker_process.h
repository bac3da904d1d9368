// A real millraced in a process of its own, with a data directory that lasts as long as this object.
//
//     BrokerProcess broker;
//     ASSERT_NO_FATAL_FAILURE(broker.Start());     // back once it printed its ready line
//     ... broker.address() ...
//     broker.Kill();                               // kill -9
//     ASSERT_NO_FATAL_FAILURE(broker.Start());     // same data, same address
//     EXPECT_EQ(broker.Stop(), 0);
//
// The data port is taken from the system once and kept while the broker is away: nobody else gets it, and a client that tries
// to reach it meanwhile cannot be connected to itself. Start from the test's main thread: a broker dies with the thread
// that started it, so that none outlives a crashed test.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace millrace {

// How a process ended.
struct Exit {
  int code = 0;  // of exit(); 128 + N for signal N
  std::string output;
  std::string error;
};

// Runs millraced with exactly these arguments until it ends by itself.
Exit RunBroker(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment = {});

class BrokerProcess {
 public:
  struct Options {
    std::string listen;                              // empty: a port of 127.0.0.1 that stays the same
    std::string address;                             // by which others reach it; empty: where it listens
    int network = -1;                                // the namespace it runs in (test_network.h); -1: the test's
    std::vector<std::string> arguments;              // besides those for its addresses and data
    std::map<std::string, std::string> environment;  // added to the test's own, of which no MILLRACE_ variable is left
    std::string cgroup;                              // the cgroup.procs file of the group it runs in; empty: the test's
  };

  BrokerProcess() : BrokerProcess(Options()) {}
  explicit BrokerProcess(Options options);
  ~BrokerProcess();
  BrokerProcess(const BrokerProcess&) = delete;
  BrokerProcess& operator=(const BrokerProcess&) = delete;

  // For the starts that follow: what is only known once the port is.
  void AddArguments(const std::vector<std::string>& arguments);

  // A fatal failure of the test, with what the broker wrote to standard error, if it ends instead of becoming ready.
  void Start();

  // The same in two steps, for brokers that become ready together.
  void Spawn();
  void AwaitReady();

  // Kills after `delay` however far the start has come, or earlier if it comes to its end.
  void StartAndKillWithin(std::chrono::milliseconds delay);

  // kill -9, and gone when this returns. Nothing happens to a broker that is not running.
  void Kill();

  // SIGTERM, then Wait().
  int Stop();

  void Signal(int signal);

  // Whether it has not ended by itself or by somebody else.
  bool Runs() const;

  // Until it has ended; its exit code, or 128 + N for signal N.
  int Wait();

  pid_t pid() const { return pid_; }
  const std::string& address() const { return address_; }            // HOST:PORT for clients
  const std::string& http_address() const { return http_address_; }  // known once ready, another one at each start
  const std::string& ready_line() const { return ready_line_; }      // without the newline
  std::filesystem::path directory() const { return directory_; }     // may hold other files of a test
  std::string data_dir() const { return (directory_ / "data").string(); }

  // What it wrote to standard error in all its lives.
  std::string ErrorOutput() const;

 private:
  Options options_;
  std::filesystem::path directory_;
  std::string address_;
  std::string http_address_;
  std::string ready_line_;
  int port_holder_ = -1;  // a socket that is bound to the data port and never listens
  int output_ = -1;       // the broker's standard output
  pid_t pid_ = -1;        // -1: not running
};

}  // namespace millrace
