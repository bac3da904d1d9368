#include "client/cli/arguments.h"

#include "absl/strings/str_cat.h"

namespace millrace::cli {
namespace {

CLI::App& AddApp(CLI::App& app, const std::string& name, const std::string& description, const std::string& footer) {
  CLI::App* added = app.add_subcommand(name, description);
  added->footer(
      absl::StrCat(footer, "\n\nFlags of every command (--address, --output, --timeout, ...): millrace --help"));
  added->fallthrough();  // those flags may stand behind the command as well
  return *added;
}

}  // namespace

CLI::Option* AddSeconds(CLI::App& app, const std::string& names, std::optional<double>& out,
                        const std::string& description) {
  auto parse = [](std::string_view text) -> absl::StatusOr<double> {
    bool bare = !text.empty() && text.back() >= '0' && text.back() <= '9';
    absl::StatusOr<std::chrono::nanoseconds> duration =
        ParseDuration(bare ? std::string(text) + "s" : std::string(text));
    if (!duration.ok()) return duration.status();
    return std::chrono::duration<double>(*duration).count();
  };
  return AddParsed(app, names, out, parse, "S", description);
}

std::vector<const CLI::App*> CommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<std::string> FlagsOf(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return flags;
}

CLI::App& AddGroup(CLI::App& app, const std::string& name, const std::string& description, const std::string& footer) {
  CLI::App& group = AddApp(app, name, description, footer);
  group.require_subcommand(1);
  return group;
}

CLI::App& AddLeaf(CLI::App& app, const std::string& name, const std::string& description, const std::string& footer) {
  return AddApp(app, name, description, footer);
}

ProducerOptions ProducerFlags::Options(const Common& common) const {
  ProducerOptions options;
  options.client = common.Client();
  options.acks = acks;
  options.idempotence = acks != AckLevel::kNone;
  options.compression = compression;
  options.linger = std::chrono::ceil<std::chrono::milliseconds>(linger);
  options.delivery_timeout = TimeoutOr(common, options.delivery_timeout);
  if (batch_bytes) options.batch_size = *batch_bytes;
  options.buffer_memory = std::max(options.buffer_memory, 4 * options.batch_size);
  return options;
}

void AddProducerFlags(CLI::App& app, ProducerFlags& flags) {
  AddChoice<AckLevel>(app, "--acks", flags.acks,
                      {{"none", AckLevel::kNone}, {"leader", AckLevel::kLeader}, {"quorum", AckLevel::kQuorum}},
                      "When a record counts as stored (default quorum)");
  AddChoice<Compression>(app, "-z,--compression", flags.compression,
                         {{"none", Compression::kNone}, {"lz4", Compression::kLz4}, {"zstd", Compression::kZstd}},
                         "Of whole batches (default none)");
  AddParsed(app, "--linger", flags.linger, ParseDuration, "DURATION",
            "How long a batch waits for more records, in whole milliseconds (default 0)");
  AddParsed(app, "--batch-bytes", flags.batch_bytes, ParseSize, "N", "Size at which a batch is full (default 256KiB)");
}

CLI::Option* AddTopicName(CLI::App& app, const std::string& placeholder, std::string& name) {
  auto parse = [](std::string_view text) -> absl::StatusOr<std::string> {
    if (text.empty()) return absl::InvalidArgumentError("the name of the topic is empty");
    return std::string(text);
  };
  return AddParsed(app, placeholder, name, parse, "", "Name of the topic")->required();
}

CLI::Option* AddConfig(CLI::App& app, std::map<std::string, std::string>& config, const std::string& description) {
  auto parse = [](std::string_view text) { return ParseAssignment(text, "setting"); };
  auto take = [&config](std::pair<std::string, std::string> setting) {
    const std::string name = setting.first;
    if (!config.insert(std::move(setting)).second) throw CLI::ValidationError("--config", name + " is given twice");
  };
  return AddRepeated(app, "-c,--config", parse, take, "NAME=VALUE", description);
}

absl::StatusOr<std::pair<std::string, std::string>> ParseAssignment(std::string_view text, std::string_view noun) {
  size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", std::string(text), "' is no ", std::string(noun), "; write NAME=VALUE"));
  }
  return std::pair(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
}

}  // namespace millrace::cli
