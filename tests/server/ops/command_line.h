// millraced's command line as a test gives it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/config.h"

namespace millrace::server {

// A host with 8 GiB and 2 cores.
inline Host TestHost() {
  return {.name = "broker-7.example.org", .usable_memory = int64_t{8} << 30, .usable_cores = 2};
}

inline CommandLine Parse(const std::vector<std::string>& arguments, const Host& host = TestHost()) {
  std::vector<const char*> argv = {"millraced"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data(), host);
}

// What is said about a command line that is refused with exit code 2, without the frame around it.
inline std::string ErrorOf(const std::vector<std::string>& arguments, const Host& host = TestHost()) {
  const CommandLine command = Parse(arguments, host);
  if (command.exit_code != 2 || !command.output.empty()) return "not refused";
  const std::string prefix = "millraced: ";
  const size_t end = command.error.find("\n(millraced --help lists the flags and settings)\n");
  if (!command.error.starts_with(prefix) || end == std::string::npos) return "without its frame: " + command.error;
  return command.error.substr(prefix.size(), end - prefix.size());
}

inline Config Accepted(const std::vector<std::string>& arguments, const Host& host = TestHost()) {
  const CommandLine command = Parse(arguments, host);
  EXPECT_EQ(command.exit_code, std::nullopt) << command.error;
  return command.config;
}

}  // namespace millrace::server
