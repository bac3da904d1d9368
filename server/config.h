// millraced's command line: flags, over MILLRACE_* variables, over the configuration file, over defaults.
//
//     CommandLine command = ParseCommandLine(argc, argv, Host::Current());
//     std::fputs(command.output.c_str(), stdout);
//     std::fputs(command.error.c_str(), stderr);
//     if (command.exit_code) return *command.exit_code;
//     Run(command.config);
//
// The file is YAML, flat: `listen: 0.0.0.0:9470`, `memory.limit: 1GiB`. Its keys are the flags' names and the settings' names.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/host_port.h"
#include "server/log.h"
#include "server/topic_config.h"

namespace millrace::server {

inline constexpr uint16_t kDefaultPort = 9470;
inline constexpr int32_t kDefaultBrokerId = 1;

struct Config {
  std::string data_dir;  // absolute
  HostPort listen;       // port 0: any free one
  HostPort advertise;    // port 0: the one that `listen` got
  HostPort http;         // port 0: any free one
  std::optional<int32_t>
      broker_id;  // >= 0; not set: what the data directory says, else 1, or what a cluster that is joined says
  std::map<int32_t, HostPort> cluster;  // --cluster; has broker_id
  std::vector<HostPort> join;           // --join; one of the two is empty
  std::string peer_secret_file;         // absolute
  std::string peer_secret;              // what is in it; set if `join` is, or `cluster` has others
  std::string rack;

  int64_t memory_limit = 0;     // bytes; bounds in-flight produce bytes, fetch buffers and the store's caches together
  int64_t disk_free_floor = 0;  // bytes; below it the broker refuses to append
  int io_threads = 1;           // completion-queue threads that partitions are spread over
  bool payloads_once = true;    // see storage::RocksLogStore::Options
  log::Level log_level = log::Level::kInfo;
  TopicConfig topic_defaults;

  // What the operator should be told once the log is up: ignored variables, a value that was guessed.
  std::vector<std::string> notices;

  // Every value in effect, as a configuration file.
  std::string ToYaml() const;
};

// What a configuration depends on besides its sources.
struct Host {
  std::map<std::string, std::string> environment;  // the whole of it; only MILLRACE_* is looked at
  std::string name;                                // as gethostname() has it
  int64_t usable_memory = 0;                       // bytes
  int usable_cores = 1;

  static Host Current();
};

struct CommandLine {
  // Set: nothing is to be run. 0: asked for --help and the like; 2: bad usage or configuration.
  std::optional<int> exit_code;
  std::string output;  // for standard output
  std::string error;   // for standard error
  Config config;       // meaningful when exit_code is not set
};

CommandLine ParseCommandLine(int argc, const char* const* argv, const Host& host);

}  // namespace millrace::server
