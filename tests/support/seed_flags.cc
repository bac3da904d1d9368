#include "tests/support/seed_flags.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace millrace {
namespace {

constexpr char kUsage[] =
    R"(  --seeds N           how many seeds (default %lu; without end where only a time is given)
  --minutes M         begin no seed after M minutes (or --seconds S)
  --first-seed S      the seeds are S, S + 1, … (default: from the clock, and printed)
  --jobs N            processes (default 2, at most 64)
  --regressions FILE  seeds to run first, one a line
  --keep-going        after a failure, too
  --no-coverage       do not fail when a rare state was not reached
  --seed S            run this seed only; prints its hash
  --trace             with --seed: print what happens
)";

std::string Usage(uint64_t seeds) {
  char text[sizeof(kUsage) + 32];
  std::snprintf(text, sizeof(text), kUsage, static_cast<unsigned long>(seeds));
  return text;
}

}  // namespace

SeedFlags::SeedFlags(std::string program, std::string about, std::string own_usage, uint64_t seeds)
    : program_(std::move(program)),
      usage_(absl::StrCat(program_, ": ", about, "\n", Usage(seeds), own_usage)),
      seeds_(seeds) {
  run.first_seed = static_cast<uint64_t>(std::time(nullptr)) * 1'000'000;
}

void SeedFlags::Begin(int argc, char** argv) { arguments_.assign(argv + 1, argv + argc); }

bool SeedFlags::Next() {
  if (next_ < arguments_.size()) {
    flag_ = arguments_[next_++];
    return true;
  }
  flag_.clear();
  if (!seeds_given_ && run.seconds == 0) run.seeds = seeds_;
  if (run.seeds == 0 && run.regressions.empty()) Refuse("no seed would run");
  if (run.jobs < 1 || run.jobs > 64) Refuse("--jobs is 1 to 64");
  return false;
}

bool SeedFlags::Take() {
  if (Is("--help")) {
    std::fputs(usage_.c_str(), stdout);
    std::exit(0);
  }
  if (Is("--seeds")) {
    run.seeds = Number();
    seeds_given_ = true;
  } else if (Is("--minutes")) {
    run.seconds = static_cast<int64_t>(Number()) * 60;
  } else if (Is("--seconds")) {
    run.seconds = static_cast<int64_t>(Number());
  } else if (Is("--first-seed")) {
    run.first_seed = Number();
  } else if (Is("--jobs")) {
    run.jobs = static_cast<int>(std::min<uint64_t>(Number(), 1000));
  } else if (Is("--regressions")) {
    run.regressions = ReadSeeds(Value());
  } else if (Is("--keep-going")) {
    run.keep_going = true;
  } else if (Is("--no-coverage")) {
    coverage = false;
  } else if (Is("--seed")) {
    seed = Number();
  } else if (Is("--trace")) {
    trace = true;
  } else {
    return false;
  }
  return true;
}

const char* SeedFlags::Value() {
  if (next_ == arguments_.size()) Refuse("it needs a value");
  return arguments_[next_++].c_str();
}

uint64_t SeedFlags::Number() {
  uint64_t number = 0;
  const char* text = Value();
  if (!absl::SimpleAtoi(text, &number)) Refuse(absl::StrCat("\"", text, "\" is no number"));
  return number;
}

std::vector<std::string> SeedFlags::List() { return absl::StrSplit(Value(), ','); }

std::vector<uint64_t> SeedFlags::ReadSeeds(const char* path) {
  std::vector<uint64_t> seeds;
  std::ifstream file(path);
  if (!file) Refuse("the file cannot be read");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    uint64_t& seed = seeds.emplace_back(0);
    if (!absl::SimpleAtoi(line.substr(0, line.find(' ')), &seed)) Refuse(absl::StrCat("no seed: ", line));
  }
  return seeds;
}

void SeedFlags::Refuse(std::string_view problem) const {
  std::fprintf(stderr, "%s: %s%s%s\n%s", program_.c_str(), flag_.c_str(), flag_.empty() ? "" : ": ",
               std::string(problem).c_str(), usage_.c_str());
  std::exit(2);
}

double ProcessorSecondsOfChildren() {
  rusage used;
  getrusage(RUSAGE_CHILDREN, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

}  // namespace millrace
