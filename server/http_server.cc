#include "server/http_server.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <netdb.h>

#include <algorithm>
#include <array>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/log.h"

namespace millrace::server {
namespace {

constexpr const char* kIndex =
    "Millrace broker\n\n"
    "/metrics  for Prometheus\n"
    "/healthz  200 while the process and its store are sound\n"
    "/readyz   200 while clients may come; else 503 and the reason\n";

struct Answer {
  int code = 200;
  const char* type = "text/plain; charset=utf-8";
  std::string body;
};

const char* Reason(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    default:
      return "Service Unavailable";
  }
}

Answer ProbeAnswer(const std::string& why_not) {
  return why_not.empty() ? Answer{.body = "ok\n"} : Answer{.code = 503, .body = why_not + "\n"};
}

Answer Route(const HttpServer::Options& options, std::string_view method, std::string_view path) {
  if (method != "GET" && method != "HEAD") return {.code = 405, .body = "only GET and HEAD\n"};
  if (path == "/") return {.body = kIndex};
  if (path == "/healthz") return ProbeAnswer(options.health.WhyNotHealthy());
  if (path == "/readyz") return ProbeAnswer(options.health.WhyNotReady());
  if (path == "/metrics") return {.type = "text/plain; version=0.0.4; charset=utf-8", .body = options.metrics()};
  return {.code = 404, .body = absl::StrCat("nothing here; there are:\n\n", kIndex)};
}

int Handle(mg_connection* connection, void* context) {
  const mg_request_info* request = mg_get_request_info(connection);
  const std::string_view method = request->request_method;
  const Answer answer = Route(*static_cast<const HttpServer::Options*>(context), method, request->local_uri);
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
            "Connection: close\r\n\r\n",
            answer.code, Reason(answer.code), answer.type, answer.body.size());
  if (method != "HEAD") mg_write(connection, answer.body.data(), answer.body.size());
  return answer.code;
}

// Where the library's complaints go while this thread starts a server: its own error text says less.
thread_local std::string* complaint_of_start = nullptr;

// civetweb listens on literal addresses only.
absl::StatusOr<std::string> ResolveLiteral(const HostPort& listen) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(listen.host.c_str(), nullptr, &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("no address for host \"", listen.host, "\": ", gai_strerror(error)));
  }
  std::array<char, NI_MAXHOST> literal{};
  const int error =
      getnameinfo(found->ai_addr, found->ai_addrlen, literal.data(), literal.size(), nullptr, 0, NI_NUMERICHOST);
  freeaddrinfo(found);
  if (error != 0) return absl::InternalError(absl::StrCat("address of \"", listen.host, "\": ", gai_strerror(error)));
  return HostPort{literal.data(), listen.port}.ToString();
}

}  // namespace

void Health::SetReady() {
  const std::lock_guard lock(mutex_);
  not_ready_.clear();
}

void Health::SetNotReady(std::string reason) {
  const std::lock_guard lock(mutex_);
  not_ready_ = std::move(reason);
}

void Health::SetFailed(std::string reason) {
  const std::lock_guard lock(mutex_);
  failed_ = std::move(reason);
}

std::string Health::WhyNotHealthy() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

std::string Health::WhyNotReady() const {
  const std::lock_guard lock(mutex_);
  return failed_.empty() ? not_ready_ : failed_;
}

struct HttpServer::Impl {
  explicit Impl(Options given) : options(std::move(given)) {}
  ~Impl() {
    if (context != nullptr) mg_stop(context);
    mg_exit_library();
  }

  const Options options;
  mg_context* context = nullptr;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HostPort& listen, Options options) {
  const auto literal = ResolveLiteral(listen);
  if (!literal.ok()) return literal.status();

  mg_init_library(0);
  auto impl = std::make_unique<Impl>(std::move(options));
  mg_callbacks callbacks{};
  callbacks.log_message = [](const mg_connection*, const char* message) {
    if (complaint_of_start != nullptr) *complaint_of_start = message;
    return 1;  // nothing of it goes to the library's own log
  };
  // Two threads, so that one client that is slow to send its request does not hold up the probes. No keep-alive: an idle
  // connection would keep its thread.
  const char* settings[] = {"listening_ports", literal->c_str(), "num_threads",       "2",  "request_timeout_ms", "5000",
                            "enable_keep_alive", "no",           nullptr};
  std::array<char, 256> error_text{};
  mg_init_data init{.callbacks = &callbacks, .user_data = impl.get(), .configuration_options = settings};
  mg_error_data error{.code = nullptr, .text = error_text.data(), .text_buffer_size = error_text.size()};
  std::string complaint;
  complaint_of_start = &complaint;
  mg_context* context = mg_start2(&init, &error);
  complaint_of_start = nullptr;
  if (context == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot listen for HTTP on ", listen.ToString(), ": ", complaint,
                                               complaint.empty() ? error_text.data() : "",
                                               "; choose another address with --http"));
  }
  impl->context = context;
  mg_set_request_handler(context, "**", Handle, const_cast<Options*>(&impl->options));

  auto server = std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
  mg_server_port port{};
  mg_get_server_ports(context, 1, &port);
  server->address_ = {listen.host, static_cast<uint16_t>(port.port)};
  return server;
}

}  // namespace millrace::server
