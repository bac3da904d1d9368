// How commands declare their flags, and what several of them share. CLI11 does the work, behind arguments.cc: it is a heavy
// header.
//
//     CLI::App& offsets = AddLeaf(app, "offsets", "Show the first and ...", "Example: millrace offsets orders");
//     OffsetsOptions& o = AddCommand(offsets, run, Offsets, common);
//     AddTopicName(offsets, o.topic);
//     AddParsed(offsets, "--at", o.at, ParseAt, "TIME", "Also the offset at this time");
#pragma once

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

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/common.h"
#include "client/cli/units.h"

namespace CLI {
class App;
}

namespace millrace::cli {

// What the command line asks for; returns the exit code.
using Run = std::function<int()>;

enum class Need { kOptional, kRequired };
enum class Times { kOnce, kAnyNumber };

// A flag ("-o,--from"), or an argument by its place ("TOPIC"), whose text goes to `store`: once, or once for each time that it
// is given. What `store` refuses (kInvalidArgument) is wrong usage. `type` stands in the help, for the value.
struct FlagText {
  std::string names;
  std::string type;
  std::string description;
};
void AddFlag(CLI::App& app, const FlagText& text, Need need, Times times,
             std::function<absl::Status(std::string_view)> store);

// A flag without a value.
void AddSwitch(CLI::App& app, const std::string& names, bool& out, const std::string& description);

// A flag whose text goes through `parse` (std::string_view -> absl::StatusOr<T>) into `out`, a T or std::optional<T>.
template <class Out, class Parse>
void AddParsed(CLI::App& app, const std::string& names, Out& out, Parse parse, const std::string& type,
               const std::string& description, Need need = Need::kOptional) {
  AddFlag(app, {names, type, description}, need, Times::kOnce, [&out, parse](std::string_view text) {
    auto value = parse(text);
    if (value.ok()) out = *std::move(value);
    return value.status();
  });
}

// A flag that may be given any number of times; each goes through `parse` into a new element of `out`.
template <class T, class Parse>
void AddList(CLI::App& app, const std::string& names, std::vector<T>& out, Parse parse, const std::string& type,
             const std::string& description) {
  AddFlag(app, {names, type, description}, Need::kOptional, Times::kAnyNumber, [&out, parse](std::string_view text) {
    auto value = parse(text);
    if (value.ok()) out.push_back(*std::move(value));
    return value.status();
  });
}

// For flags whose text is the value.
inline absl::StatusOr<std::string> TakeText(std::string_view text) { return std::string(text); }

template <class T>
struct ValueOf {
  using type = typename T::value_type;
};

// A flag that takes a whole number of at least `min`, into an integer or an optional one.
template <class Out>
void AddNumber(CLI::App& app, const std::string& names, Out& out, int64_t min, const std::string& description,
               Need need = Need::kOptional) {
  using Number = typename std::conditional_t<std::is_integral_v<Out>, std::type_identity<Out>, ValueOf<Out>>::type;
  auto parse = [min](std::string_view text) { return ParseInteger(text, min, std::numeric_limits<Number>::max()); };
  AddParsed(app, names, out, parse, "N", description, need);
}

// A flag that takes one of a few words.
template <class T>
void AddChoice(CLI::App& app, const std::string& names, T& out, std::vector<std::pair<std::string, T>> choices,
               const std::string& description, Need need = Need::kOptional) {
  std::string type;
  for (const auto& choice : choices) type += (type.empty() ? "" : "|") + choice.first;
  AddFlag(app, {names, type, description}, need, Times::kOnce, [&out, choices, type](std::string_view text) {
    for (const auto& [word, value] : choices) {
      if (word != text) continue;
      out = value;
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError("'" + std::string(text) + "' is not one of " + type);
  });
}

// The argument TOPIC, which must be there.
void AddTopicName(CLI::App& app, std::string& out);

// A time given as a number of seconds ("10", "0.5") or a duration ("10s", "500ms").
void AddSeconds(CLI::App& app, const std::string& names, std::optional<double>& out, const std::string& description);

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

// NAME=VALUE flags: of settings, and of headers.
using NameValue = std::pair<std::string, std::string>;
absl::StatusOr<NameValue> ParseNameValue(std::string_view text);
// The settings as a map. kInvalidArgument for a name given twice.
absl::StatusOr<std::map<std::string, std::string>> SettingsMap(const std::vector<NameValue>& settings);

// Calls `chosen` when the command was given and all its flags were taken.
void OnChosen(CLI::App& app, std::function<void()> chosen);

// Options of a command and its work: `Options` lives as long as `app`; `run` is set when the command was given.
template <class Options>
Options& AddCommand(CLI::App& app, Run& run, int (*work)(const Common&, const Options&), const Common& common) {
  auto options = std::make_shared<Options>();
  OnChosen(app, [&run, &common, work, options] { run = [&common, work, options] { return work(common, *options); }; });
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
