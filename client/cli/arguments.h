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

template <class T>
struct ValueOf {
  using type = typename T::value_type;
};

// A flag whose text goes through `parse` (std::string_view -> absl::StatusOr<T>) into `out`, a T or std::optional<T>.
template <class Out, class Parse>
CLI::Option* AddParsed(CLI::App& app, const std::string& names, Out& out, Parse parse, const std::string& type,
                       const std::string& description) {
  auto store = [&out, parse, names](const std::string& text) {
    auto value = parse(std::string_view(text));
    if (!value.ok()) throw CLI::ValidationError(LongName(names), std::string(value.status().message()));
    out = *std::move(value);
  };
  return app.add_option_function<std::string>(names, store, description)->type_name(type);
}

// A flag that takes one of a few words.
template <class T>
CLI::Option* AddChoice(CLI::App& app, const std::string& names, T& out, std::vector<std::pair<std::string, T>> choices,
                       const std::string& description) {
  std::string type;
  for (const auto& choice : choices) type += (type.empty() ? "" : "|") + choice.first;
  auto store = [&out, choices, type, names](const std::string& text) {
    for (const auto& [word, value] : choices) {
      if (word == text) {
        out = value;
        return;
      }
    }
    throw CLI::ValidationError(LongName(names), "'" + text + "' is not one of " + type);
  };
  return app.add_option_function<std::string>(names, store, description)->type_name(type);
}

// A flag that takes a whole number of at least `min`, into an integer or an optional one.
template <class Out>
CLI::Option* AddNumber(CLI::App& app, const std::string& names, Out& out, int64_t min, const std::string& description) {
  using Number = typename std::conditional_t<std::is_integral_v<Out>, std::type_identity<Out>, ValueOf<Out>>::type;
  auto parse = [min](std::string_view text) { return ParseInteger(text, min, std::numeric_limits<Number>::max()); };
  return AddParsed(app, names, out, parse, "N", description);
}

// A time given as a number of seconds ("10", "0.5") or a duration ("10s", "500ms").
CLI::Option* AddSeconds(CLI::App& app, const std::string& names, std::optional<double>& out,
                        const std::string& description);

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

// NAME=VALUE settings as a map. kInvalidArgument for one without "=", or a name given twice.
absl::StatusOr<std::map<std::string, std::string>> ParseSettings(const std::vector<std::string>& settings);

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
void AddOffsetsCommand(CLI::App& app, const Common& common, Run& run);
void AddBenchCommands(CLI::App& app, const Common& common, Run& run);
void AddClusterCommands(CLI::App& app, const Common& common, Run& run);
void AddCompletionCommand(CLI::App& app, const Common& common, Run& run);

}  // namespace millrace::cli
