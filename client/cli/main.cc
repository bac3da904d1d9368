// millrace: topics, records, offsets, benchmarks and the state of a cluster from the command line.
#include <millrace/version.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/arguments.h"
#include "client/cli/environment.h"
#include "client/cli/interrupt.h"
#include "client/cli/output.h"
#include "proto/wire/setting_value.h"

namespace millrace::cli {
namespace {

constexpr const char* kFooter = R"(
Examples:
  millrace topic create orders --partitions 4
  millrace produce orders --file orders.jsonl.gz --key-field customer
  millrace consume orders --from -15m --follow

Every flag can be given as an environment variable, --address as MILLRACE_ADDRESS; the flag wins.
Exit codes: 0 done, 1 failed, 2 bad usage, 3 cannot reach the cluster, 4 done in part, 130 interrupted.)";

void AddCommonFlags(CLI::App& app, Common& common) {
  app.add_option("--address,--brokers,--bootstrap-server", common.address,
                 "Brokers to ask, any of the cluster (default 127.0.0.1:9470)")
      ->type_name("HOST:PORT[,...]");
  AddChoice<Output>(app, "--output", common.output, {{"text", Output::kText}, {"json", Output::kJson}},
                    "What to write (default text); times in json are milliseconds since 1970");
  AddParsed(app, "--timeout", common.timeout, ParseDuration, "DURATION",
            "Of one request (default 10s); for produce until a record is given up (default 120s)");
  app.add_flag("--quiet", common.quiet, "Say nothing on standard error but errors");
  app.add_option("--tls-ca", common.tls_ca, "Certificate authority to check brokers by, PEM; turns TLS on")
      ->type_name("FILE");
  app.add_option("--tls-cert", common.tls_cert, "This client's certificate, PEM")->type_name("FILE");
  app.add_option("--tls-key", common.tls_key, "This client's key, PEM")->type_name("FILE");
}

// Help without what clutters it: each flag's environment variable (all have one) and types that say nothing.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(34); }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0 || option->get_type_name() == "TEXT") return "";
    return " " + option->get_type_name();
  }
  std::string make_subcommands(const CLI::App* app, CLI::AppFormatMode mode) const override {
    std::string text = CLI::Formatter::make_subcommands(app, mode);
    size_t heading = text.find("Subcommands:");
    return heading == std::string::npos ? text : text.replace(heading, 12, "Commands:");
  }
};

// "topic create" of the commands that were recognised.
std::string CommandPath(const CLI::App& app) {
  std::vector<std::string> path;
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    path.push_back(at->get_name());
  }
  return absl::StrJoin(path, " ");
}

const CLI::App& DeepestCommand(const CLI::App& app) {
  return app.get_subcommands().empty() ? app : DeepestCommand(*app.get_subcommands().front());
}

std::string UnknownWord(const CLI::App& app, const std::string& word) {
  const CLI::App& command = DeepestCommand(app);
  std::vector<std::string> known;
  bool flag = word.starts_with("-");
  for (const CLI::App* at = &command; flag && at != nullptr; at = at->get_parent()) {
    for (const CLI::Option* option : at->get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
  }
  if (!flag) {
    for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
      known.push_back(sub->get_name());
  }
  std::string name = word.substr(0, word.find('='));
  const std::vector<std::string_view> names(known.begin(), known.end());
  const std::optional<std::string_view> nearest = NearestName(name, names);
  std::string what = flag ? "there is no flag " : known.empty() ? "one argument too many: " : "there is no command ";
  return absl::StrCat(what, name, nearest ? absl::StrCat("; did you mean ", std::string(*nearest), "?") : "");
}

std::string UsageMessage(const CLI::App& app, const CLI::ParseError& error) {
  std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  if (!unknown.empty()) return UnknownWord(app, unknown.front());
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr &&
      DeepestCommand(app).get_require_subcommand_min() > 0) {
    std::vector<std::string> names;
    for (const CLI::App* sub : DeepestCommand(app).get_subcommands([](const CLI::App*) { return true; })) {
      names.push_back(sub->get_name());
    }
    return absl::StrCat("a command is missing: one of ", absl::StrJoin(names, ", "));
  }
  return error.what();
}

int Main(int argc, char** argv) {
  CatchInterrupts();
  Common common;
  Run run;
  CLI::App app("Millrace: topics, records, offsets and the state of a cluster", "millrace");
  app.formatter(std::make_shared<HelpFormatter>());  // before the commands are added: they take it over
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", absl::StrCat("millrace ", std::string(LibraryVersion())));
  AddCommonFlags(app, common);
  AddTopicCommands(app, common, run);
  AddProduceCommand(app, common, run);
  AddConsumeCommand(app, common, run);
  AddOffsetsCommand(app, common, run);
  AddBenchCommands(app, common, run);
  AddClusterCommands(app, common, run);
  AddCompletionCommand(app, common, run);
  BindEnvironment(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    // What was wrong may have stopped CLI11 before it came to --output.
    const std::vector<std::string>& output = app.get_option("--output")->results();
    if (!output.empty() && output.back() == "json") common.output = Output::kJson;
    return ReportUsage(common, CommandPath(app), UsageMessage(app, error));
  }
  for (const std::string& name : UnknownVariables(app)) {
    Remark(common, absl::StrCat("the environment variable ", name, " belongs to no flag and is ignored"));
  }
  return run();
}

}  // namespace
}  // namespace millrace::cli

int main(int argc, char** argv) { return millrace::cli::Main(argc, argv); }
