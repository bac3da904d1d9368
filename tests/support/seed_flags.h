// The flags that the simulations' command lines share.
//
//     SeedFlags flags("raft_simulation", "  --events N  …\n", 1000);
//     for (flags.Begin(argc, argv); flags.Next();) {
//       if (flags.Is("--events")) events = flags.Number(); else if (!flags.Take()) flags.Refuse();
//     }
//
// What is wrong with them goes to standard error, and the process ends with 2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/seed_runner.h"

namespace millrace {

class SeedFlags {
 public:
  // own_usage: the lines of the program's own flags. seeds: how many run where nothing says when to end.
  SeedFlags(std::string program, std::string about, std::string own_usage, uint64_t seeds);

  void Begin(int argc, char** argv);
  // Moves on to the next flag. After the last, what was given is checked, and false returned.
  bool Next();
  bool Is(std::string_view flag) const { return flag_ == flag; }
  // False: it is none of those below.
  bool Take();
  // The present flag's value.
  uint64_t Number();
  std::vector<std::string> List();
  [[noreturn]] void Refuse(std::string_view problem = "unknown flag") const;

  RunOptions run;                // first_seed: from the clock where none was given
  std::optional<uint64_t> seed;  // this one only
  bool trace = false;
  bool coverage = true;  // a run fails when a rare state was not reached

 private:
  const char* Value();
  std::vector<uint64_t> ReadSeeds(const char* path);

  const std::string program_;
  const std::string usage_;
  const uint64_t seeds_;
  bool seeds_given_ = false;
  std::vector<std::string> arguments_;
  size_t next_ = 0;
  std::string flag_;
};

// Processor time that the processes of a run have used, in seconds: other work on the machine does not change it.
double ProcessorSecondsOfChildren();

}  // namespace millrace
