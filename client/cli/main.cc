// millrace: topics, records, offsets, benchmarks and the state of a cluster from the command line.
#include <millrace/version.h>

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/arguments.h"
#include "client/cli/environment.h"
#include "client/cli/interrupt.h"
#include "client/cli/usage.h"
#include "proto/transport/grpc_transport.h"

namespace millrace::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  millrace topic create orders --partitions 4
  millrace produce orders --file orders.jsonl.gz --key-field customer
  millrace consume orders --from -15m --follow

Every flag but --config can be given as an environment variable, --address as MILLRACE_ADDRESS; the flag wins.
Exit codes: 0 done, 1 failed, 2 bad usage, 3 cannot reach the cluster, 4 done in part, 130 interrupted.)";

absl::StatusOr<std::chrono::nanoseconds> ParseTimeout(std::string_view text) {
  absl::StatusOr<std::chrono::nanoseconds> timeout = ParseDuration(text);
  if (timeout.ok() && *timeout < std::chrono::milliseconds(1))
    return absl::InvalidArgumentError(absl::StrCat("'", std::string(text), "' is too short: at least 1ms"));
  return timeout;
}

void AddCommonFlags(CLI::App& app, Common& common) {
  app.add_option("--address,--brokers,--bootstrap-server", common.address,
                 "Brokers to ask, any of the cluster (default 127.0.0.1:9470)")
      ->type_name("HOST:PORT[,...]");
  AddChoice<Output>(app, "--output", common.output, {{"text", Output::kText}, {"json", Output::kJson}},
                    "What to write (default text); times in json are milliseconds since 1970");
  AddParsed(app, "--timeout", common.timeout, ParseTimeout, "DURATION",
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
  std::string make_option_desc(const CLI::Option* option) const override {
    bool required = option->get_required() && !option->get_positional();
    return option->get_description() + (required ? " (required)" : "");
  }
  std::string make_subcommands(const CLI::App* app, CLI::AppFormatMode mode) const override {
    std::string text = CLI::Formatter::make_subcommands(app, mode);
    size_t heading = text.find("Subcommands:");
    return heading == std::string::npos ? text : text.replace(heading, 12, "Commands:");
  }
};

int Main(int argc, char** argv) {
  CatchInterrupts();
  Common common;
  Run run;
  CLI::App app("Millrace: topics, records, offsets and the state of a cluster", "millrace");
  app.formatter(std::make_shared<HelpFormatter>());  // before the commands are added: they take it over
  app.footer(kFooter);
  app.require_subcommand(1);
  app.option_defaults()->take_last();
  app.set_version_flag("--version", absl::StrCat("millrace ", std::string(LibraryVersion())));
  AddCommonFlags(app, common);
  AddTopicCommands(app, common, run);
  AddProduceCommand(app, common, run);
  AddConsumeCommand(app, common, run);
  AddOffsetsCommand(app, common, run);
  AddInspectCommand(app, common, run);
  AddBenchCommands(app, common, run);
  AddGroupCommands(app, common, run);
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
    common.command = CommandPath(app);
    return ReportUsage(common, UsageMessage(app, error, argc, argv));
  }
  common.command = CommandPath(app);
  if (std::vector<std::string> unknown = UnknownVariables(app); !unknown.empty()) {
    Remark(common,
           absl::StrCat("environment variables that belong to no flag are ignored: ", absl::StrJoin(unknown, ", ")));
  }
  return run();
}

}  // namespace
}  // namespace millrace::cli

int main(int argc, char** argv) {
  millrace::UseSystemResolver();
  return millrace::cli::Main(argc, argv);
}
