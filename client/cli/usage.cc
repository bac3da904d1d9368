#include "client/cli/usage.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/arguments.h"
#include "client/cli/output.h"
#include "client/cli/unavailable.h"
#include "proto/wire/setting_value.h"

namespace millrace::cli {
namespace {

const CLI::App& DeepestCommand(const CLI::App& app) {
  return app.get_subcommands().empty() ? app : DeepestCommand(*app.get_subcommands().front());
}

// Of the command or of those above it, whose flags may stand behind it; null: there is no such flag.
const CLI::Option* FindFlag(const CLI::App& command, const std::string& name) {
  for (const CLI::App* at = &command; at != nullptr; at = at->get_parent()) {
    if (const CLI::Option* option = at->get_option_no_throw(name)) return option;
  }
  return nullptr;
}

std::string UnknownWord(const CLI::App& app, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  if (std::string_view why = WhyUnavailable(CommandPath(app), name); !why.empty()) return std::string(why);
  const CLI::App& command = DeepestCommand(app);
  const bool flag = word.starts_with("-");
  std::vector<std::string> known;
  if (flag) {
    for (const CLI::App* at = &command; at != nullptr; at = at->get_parent()) {
      for (const std::string& known_flag : FlagsOf(*at)) known.push_back(known_flag);
    }
  } else {
    for (const CLI::App* sub : CommandsOf(command)) known.push_back(sub->get_name());
  }
  const std::vector<std::string_view> names(known.begin(), known.end());
  const std::optional<std::string_view> nearest = NearestName(name, names);
  std::string what = flag ? "there is no flag " : known.empty() ? "one argument too many: " : "there is no command ";
  return absl::StrCat(what, name, nearest ? absl::StrCat("; did you mean ", std::string(*nearest), "?") : "");
}

bool Given(const CLI::Option& option, int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    std::string_view word(argv[i]);
    for (const std::string& name : option.get_lnames()) {
      if (word == "--" + name || word.starts_with("--" + name + "=")) return true;
    }
    for (const std::string& name : option.get_snames()) {
      if (word.starts_with("-" + name)) return true;
    }
  }
  return false;
}

bool FromEnvironment(const CLI::Option& option, int argc, const char* const* argv) {
  return !option.get_envname().empty() && std::getenv(option.get_envname().c_str()) != nullptr &&
         !Given(option, argc, argv);
}

// "--count: 'x' is no whole number", of the variable if the value came from there.
std::string WrongValue(const CLI::App& app, const std::string& text, int argc, const char* const* argv) {
  const std::string flag = text.substr(0, text.find(": "));
  const CLI::Option* option = FindFlag(DeepestCommand(app), flag);
  if (option == nullptr || !FromEnvironment(*option, argc, argv)) return text;
  return absl::StrCat(option->get_envname(), text.substr(flag.size()));
}

}  // namespace

std::string CommandPath(const CLI::App& app) {
  std::vector<std::string> path;
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    path.push_back(at->get_name());
  }
  return absl::StrJoin(path, " ");
}

std::string UsageMessage(const CLI::App& app, const CLI::ParseError& error, int argc, const char* const* argv) {
  std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  if (!unknown.empty()) return UnknownWord(app, unknown.front());
  const std::string text = error.what();
  const CLI::App& command = DeepestCommand(app);
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && command.get_require_subcommand_min() > 0) {
    std::vector<std::string> names;
    for (const CLI::App* sub : CommandsOf(command)) names.push_back(sub->get_name());
    return absl::StrCat("a command is missing: one of ", absl::StrJoin(names, ", "));
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    const std::string flag = text.substr(0, text.find(": "));
    if (const CLI::Option* option = FindFlag(command, flag)) {
      return absl::StrCat(flag, " needs a value: ", flag, " ", option->get_type_name());
    }
  }
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {
    // Only switches are converted by CLI11: "Could not convert: --quiet = maybe".
    const size_t begin = text.find("--");
    const std::string flag = begin == std::string::npos ? text : text.substr(begin, text.find(' ', begin) - begin);
    return absl::StrCat(flag, " is on or off: ", flag, ", or ", flag, "=false");
  }
  return WrongValue(app, text, argc, argv);
}

}  // namespace millrace::cli
