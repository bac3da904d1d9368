#include "client/cli/environment.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <set>
#include <string_view>

#include "client/cli/arguments.h"

namespace millrace::cli {
namespace {

constexpr std::string_view kPrefix = "MILLRACE_";

// The broker's flags: their variables are often set in the same shell.
constexpr std::string_view kBrokerFlags[] = {
    "config",  "check-config", "data-dir", "listen",   "advertise", "http",   "broker-id",       "rack",
    "cluster", "join",         "resync",   "tls-cert", "tls-key",   "tls-ca", "tls-client-auth", "peer-secret-file",
    "set"};

std::string VariableOf(std::string_view flag) {
  std::string name(kPrefix);
  for (char c : flag) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

// `millraced --config` is a file, `topic create --config` a setting: one variable cannot be both.
bool HasVariable(const CLI::Option& option) {
  const auto& names = option.get_lnames();
  return !names.empty() && names[0] != "config" && names[0] != "help" && names[0] != "version";
}

// The variable that gives this flag: of one with several names (--address, --brokers) the first that is set.
std::string VariableFor(const CLI::Option& option) {
  for (const std::string& name : option.get_lnames()) {
    if (std::getenv(VariableOf(name).c_str()) != nullptr) return VariableOf(name);
  }
  return VariableOf(option.get_lnames()[0]);
}

void CollectVariables(const CLI::App& app, std::set<std::string>& known) {
  for (const CLI::Option* option : app.get_options()) {
    if (!HasVariable(*option)) continue;
    for (const std::string& name : option->get_lnames()) known.insert(VariableOf(name));
  }
  for (const CLI::App* command : CommandsOf(app)) CollectVariables(*command, known);
}

}  // namespace

void BindEnvironment(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (HasVariable(*option)) option->envname(VariableFor(*option));
  }
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) BindEnvironment(*command);
}

std::vector<std::string> UnknownVariables(const CLI::App& app) {
  std::set<std::string> known;
  CollectVariables(app, known);
  for (std::string_view flag : kBrokerFlags) known.insert(VariableOf(flag));
  std::vector<std::string> unknown;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    std::string_view text(*variable);
    std::string name(text.substr(0, text.find('=')));
    if (name.starts_with(kPrefix) && !known.contains(name)) unknown.push_back(name);
  }
  std::sort(unknown.begin(), unknown.end());
  return unknown;
}

}  // namespace millrace::cli
