#include <CLI/CLI.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/wire/setting_value.h"
#include "server/config_sources.h"
#include "server/flags.h"
#include "server/topic_config.h"

namespace millrace::server {
namespace {

constexpr const char* kSettingsHelp = R"(
Settings for --set and the configuration file:
  memory.limit      bytes for data in flight and for caches (default the smaller of 2GiB and 40 % of the usable memory)
  disk.free.floor   no appends below this much free disk (default the smaller of 1GiB and 5 % of the disk)
  io.threads        threads that serve clients (default 1 below 4 usable cores, else half of them, up to 8)
  store.payloads.once  false: write payloads to the log and again at each flush (default true: once)
  log.level         debug, info, warn or error (default info)
  and what topics have that do not set it themselves:
  )";

constexpr const char* kExamples = R"(

Each flag can also be given as a variable (MILLRACE_DATA_DIR for --data-dir) or in the file. Flags win over variables,
variables over the file.

Examples:
  millraced
  millraced --data-dir /var/lib/millrace --listen 0.0.0.0 --set memory.limit=1GiB --set retention.ms=1d
  millraced --broker-id 1 --cluster 1@a,2@b,3@c --peer-secret-file /etc/millrace.secret --listen 0.0.0.0
  millraced --config /etc/millrace.yaml --check-config
  millraced inspect /var/lib/millrace         (a stopped broker's store; inspect --help tells more)
)";

std::string Dashed(const Flag& flag) { return absl::StrCat("--", std::string(flag.name)); }

absl::Status UnexpectedArgument(const std::string& argument) {
  if (!argument.starts_with('-')) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument \"", argument, "\"; millraced takes flags only"));
  }
  std::vector<std::string> dashed;
  for (const Flag& flag : Flags()) dashed.push_back(Dashed(flag));
  const std::vector<std::string_view> names(dashed.begin(), dashed.end());
  const std::string word = argument.substr(0, argument.find('='));
  return absl::InvalidArgumentError(absl::StrCat("unknown flag ", word, DidYouMean(word, names)));
}

CLI::Option* AddTo(CLI::App& app, const Flag& flag) {
  const std::string name = absl::StrCat(flag.name == "help" ? "-h," : "", Dashed(flag));
  const std::string help(flag.help);
  if (flag.takes == Flag::Takes::kNothing) return app.add_flag(name, help);
  CLI::Option* option = app.add_option(name, help);
  option->type_name(std::string(flag.placeholder))->expected(1);
  if (flag.name == "set") option->take_all();
  return option;
}

}  // namespace

absl::StatusOr<Sources> ReadArguments(int argc, const char* const* argv) {
  CLI::App app("The Millrace broker.", "millraced");
  app.set_help_flag();
  app.allow_extras();
  const std::vector<std::string> topic_names(TopicSettingNames().begin(), TopicSettingNames().end());
  app.footer(absl::StrCat(kSettingsHelp, absl::StrJoin(topic_names, ", "), kExamples));
  std::vector<std::pair<const Flag*, CLI::Option*>> options;
  for (const Flag& flag : Flags()) options.emplace_back(&flag, AddTo(app, flag));

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (const auto extras = app.remaining(); !extras.empty()) return UnexpectedArgument(extras.front());

  Sources sources;
  for (const auto& [flag, option] : options) {
    if (option->count() == 0) continue;
    if (flag->name != "set") {
      sources.flags[std::string(flag->name)] = {flag->name == "help" ? app.help() : option->results().back(),
                                                Dashed(*flag)};
      continue;
    }
    for (const std::string& text : option->results()) {
      if (auto status = sources.AddSetting(text, "--set"); !status.ok()) return status;
    }
  }
  return sources;
}

}  // namespace millrace::server
