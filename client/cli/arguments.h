// How commands declare their flags to CLI11, and what all of them share. Included by the files of the commands only: CLI11 is
// a heavy header.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/common.h"
#include "client/cli/units.h"

namespace millrace::cli {

// What the command line asks for; returns the exit code.
using Run = std::function<int()>;

// "--from" of "-o,--from".
inline std::string LongName(const std::string& names) {
  size_t first = names.find("--");
  return first == std::string::npos ? names : names.substr(first, names.find(',', first) - first);
}

// Hands a text to `parse` (std::string_view -> absl::StatusOr<T>); what it refuses is wrong usage of the flag.
template <class Parse>
auto ParseFlag(const std::string& names, const Parse& parse, const std::string& text) {
  auto value = parse(std::string_view(text));
  if (!value.ok()) throw CLI::ValidationError(LongName(names), std::string(value.status().message()));
  return *std::move(value);
}

// A flag whose text goes through `parse` into `out`, a T or std::optional<T>. Given twice, the last counts.
template <class Out, class Parse>
CLI::Option* AddParsed(CLI::App& app, const std::string& names, Out& out, Parse parse, const std::string& type,
                       const std::string& description) {
  auto store = [&out, parse, names](const std::string& text) { out = ParseFlag(names, parse, text); };
  return app.add_option_function<std::string>(names, store, description)->type_name(type);
}

// A flag that may be given several times. `take` gets each value that `parse` made.
template <class Parse, class Take>
CLI::Option* AddRepeated(CLI::App& app, const std::string& names, Parse parse, Take take, const std::string& type,
                         const std::string& description) {
  auto store = [parse, take, names](const std::vector<std::string>& texts) {
    for (const std::string& text : texts) take(ParseFlag(names, parse, text));
  };
  return app.add_option_function<std::vector<std::string>>(names, store, description + "; repeat for more")
      ->type_name(type)
      ->allow_extra_args(false)
      ->take_all();
}

// A flag that takes one of a few words.
template <class T>
CLI::Option* AddChoice(CLI::App& app, const std::string& names, T& out, std::vector<std::pair<std::string, T>> choices,
                       const std::string& description) {
  std::string words;
  for (const auto& choice : choices) words += (words.empty() ? "" : "|") + choice.first;
  auto parse = [choices, words](std::string_view text) -> absl::StatusOr<T> {
    for (const auto& [word, value] : choices) {
      if (word == text) return value;
    }
    return absl::InvalidArgumentError("'" + std::string(text) + "' is not one of " + words);
  };
  return AddParsed(app, names, out, parse, words, description);
}

template <class T>
struct NumberIn : std::type_identity<T> {};
template <class T>
struct NumberIn<std::optional<T>> : std::type_identity<T> {};

// A flag that takes a whole number of at least `min`, into an integer or an optional one.
template <class Out>
CLI::Option* AddNumber(CLI::App& app, const std::string& names, Out& out, int64_t min, const std::string& description) {
  using Number = typename NumberIn<Out>::type;
  auto parse = [min](std::string_view text) { return ParseInteger(text, min, std::numeric_limits<Number>::max()); };
  return AddParsed(app, names, out, parse, "N", description);
}

// A time given as a number of seconds ("10", "0.5") or a duration ("10s", "500ms").
CLI::Option* AddSeconds(CLI::App& app, const std::string& names, std::optional<double>& out,
                        const std::string& description);

// The commands right below `app`, in the order added.
std::vector<const CLI::App*> CommandsOf(const CLI::App& app);

// The long names of a command's own flags, "--from".
std::vector<std::string> FlagsOf(const CLI::App& app);

// A command that has commands below it; one of them must be given.
CLI::App& AddGroup(CLI::App& app, const std::string& name, const std::string& description, const std::string& footer);

// A command that does something. `footer` holds its example and whatever else `--help` should end with.
CLI::App& AddLeaf(CLI::App& app, const std::string& name, const std::string& description, const std::string& footer);

// What `produce` and `bench produce` say of their producer.
struct ProducerFlags {
  AckLevel acks = AckLevel::kQuorum;
  Compression compression = Compression::kNone;
  std::chrono::nanoseconds linger{0};
  std::optional<int64_t> batch_bytes;

  // SDK options by these flags and the common ones.
  ProducerOptions Options(const Common& common) const;
};
void AddProducerFlags(CLI::App& app, ProducerFlags& flags);

// The topic that a command is about, `placeholder` in its usage line.
CLI::Option* AddTopicName(CLI::App& app, const std::string& placeholder, std::string& name);

// -c, --config NAME=VALUE: settings of a topic. The same name twice is wrong usage.
CLI::Option* AddConfig(CLI::App& app, std::map<std::string, std::string>& config, const std::string& description);

// NAME=VALUE taken apart; `noun` is what it is called when it has no name or no "=".
absl::StatusOr<std::pair<std::string, std::string>> ParseAssignment(std::string_view text, std::string_view noun);

// Options of a command and its work: `Options` lives as long as `app`; `run` is set when the command was given.
template <class Options>
Options& AddCommand(CLI::App& app, Run& run, int (*work)(const Common&, const Options&), const Common& common) {
  auto options = std::make_shared<Options>();
  app.final_callback(
      [&run, &common, work, options] { run = [&common, work, options] { return work(common, *options); }; });
  return *options;
}

// Commands, each in the file of its name.
void AddTopicCommands(CLI::App& app, const Common& common, Run& run);
void AddProduceCommand(CLI::App& app, const Common& common, Run& run);
void AddConsumeCommand(CLI::App& app, const Common& common, Run& run);
void AddInspectCommand(CLI::App& app, const Common& common, Run& run);
void AddOffsetsCommand(CLI::App& app, const Common& common, Run& run);
void AddBenchCommands(CLI::App& app, const Common& common, Run& run);
void AddGroupCommands(CLI::App& app, const Common& common, Run& run);
void AddClusterCommands(CLI::App& app, const Common& common, Run& run);
void AddCompletionCommand(CLI::App& app, const Common& common, Run& run);

}  // namespace millrace::cli
