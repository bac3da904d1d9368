#include "client/cli/common.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/cli/output.h"

namespace millrace::cli {
namespace {

bool EndsSentence(std::string_view text) { return text.ends_with('.') || text.ends_with('?'); }

void TellError(const Common& common, const Error& error, std::string_view code, std::string_view advice) {
  if (!common.json()) {
    Say(absl::StrCat("millrace: ", error.message, "\n", std::string(advice), advice.empty() ? "" : "\n"));
    return;
  }
  std::string message = error.message;
  if (!advice.empty()) absl::StrAppend(&message, EndsSentence(message) ? " " : ". ", std::string(advice));
  nlohmann::ordered_json document = {{"error", code},
                                     {"message", message},
                                     {"retriable", error.retriable},
                                     {"may_have_happened", error.may_have_happened},
                                     {"topic", nullptr},
                                     {"partition", nullptr},
                                     {"address", nullptr}};
  if (!error.topic.empty()) document["topic"] = error.topic;
  if (error.partition) document["partition"] = *error.partition;
  if (!error.address.empty()) document["address"] = error.address;
  Say(document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

// What to do about an error where the command knows nothing better, nor the broker.
std::string_view AdviceFor(const Error& error) {
  switch (error.code) {
    case ErrorCode::kNetworkException:
      return "Start a broker with: millraced; or say where one is with --address HOST:PORT";
    case ErrorCode::kRequestTimedOut:
      return "Wait longer with --timeout 60s, or see what is wrong with: millrace cluster status";
    case ErrorCode::kLeaderNotAvailable:
    case ErrorCode::kNotEnoughReplicas:
      return absl::StrContains(error.message, "millrace cluster status")
                 ? ""
                 : "See what is wrong with: millrace cluster status";
    default:
      return "";
  }
}

}  // namespace

ClientOptions Common::Client() const {
  ClientOptions options;
  options.bootstrap_servers = address;
  options.client_id = "millrace-cli";
  options.request_timeout = TimeoutOr(*this, options.request_timeout);
  // Who typed a wrong address should not wait for a broker that restarts.
  options.connect_timeout = TimeoutOr(*this, std::chrono::seconds(2));
  options.tls_ca = tls_ca;
  options.tls_cert = tls_cert;
  options.tls_key = tls_key;
  return options;
}

std::chrono::milliseconds TimeoutOr(const Common& common, std::chrono::milliseconds otherwise) {
  if (!common.timeout) return otherwise;
  return std::max(std::chrono::milliseconds(1), std::chrono::duration_cast<std::chrono::milliseconds>(*common.timeout));
}

int ExitCodeOf(const absl::Status& status) {
  return ErrorFrom(status).code == ErrorCode::kNetworkException ? kExitUnreachable : kExitFailed;
}

int Report(const Common& common, const absl::Status& status, std::string_view advice) {
  Error error = ErrorFrom(status);
  TellError(common, error, ErrorCodeName(error.code), advice.empty() ? AdviceFor(error) : advice);
  return ExitCodeOf(status);
}

int ReportTopicError(const Common& common, const absl::Status& status, std::string_view topic) {
  Error error = ErrorFrom(status);
  bool missing = error.code == ErrorCode::kUnknownTopicOrPartition && !error.partition;
  if (!missing || absl::StrContains(error.message, "topic create")) return Report(common, status);
  return Report(common, status, absl::StrCat("Create it with: millrace topic create ", std::string(topic)));
}

int ReportUsage(const Common& common, std::string_view message) {
  Error error;
  error.message = std::string(message);
  TellError(common, error, "USAGE",
            absl::StrCat("See: millrace ", common.command, common.command.empty() ? "" : " ", "--help"));
  return kExitUsage;
}

int ReportOptions(const Common& common, const absl::Status& status) {
  std::string message = ErrorFrom(status).message;
  absl::StrReplaceAll({{"settings \"", "\""}, {"setting \"", "\""}}, &message);
  absl::StrReplaceAll({{"\"batch.size\"", "--batch-bytes"},
                       {"bootstrap.servers", "--address"},
                       {"\"ssl.ca.location\"", "--tls-ca"},
                       {"\"ssl.certificate.location\"", "--tls-cert"},
                       {"\"ssl.key.location\"", "--tls-key"}},
                      &message);
  return ReportUsage(common, message);
}

void Remark(const Common& common, std::string_view text) {
  if (!common.quiet) Say(absl::StrCat("millrace: ", std::string(text), "\n"));
}

int Print(const Common& common, std::string_view text) {
  OutputBuffer out(STDOUT_FILENO);
  out.buffer() = text;
  if (out.Flush() || out.closed()) return kExitDone;
  return Report(common, out.status());
}

}  // namespace millrace::cli
