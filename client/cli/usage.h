// What is wrong with a command line, told to people: CLI11's own errors speak of its insides.
#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace millrace::cli {

// "topic create", of the commands that were recognised.
std::string CommandPath(const CLI::App& app);

// One sentence: the flag, command or environment variable that is wrong, why, and what is near it.
std::string UsageMessage(const CLI::App& app, const CLI::ParseError& error, int argc, const char* const* argv);

}  // namespace millrace::cli
