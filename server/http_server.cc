#include "server/http_server.h"

#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace millrace::server {
namespace {

constexpr int kMaxConnections = 64;
constexpr int kIdleSeconds = 10;
constexpr int kConnectionBytes = 16 << 10;
constexpr int kStackBytes = 512 << 10;

constexpr const char* kIndex =
    "Millrace broker\n\n"
    "/metrics  for Prometheus\n"
    "/healthz  200 while the process runs: it ends when its store fails\n"
    "/readyz   200 while clients may come; else 503 and the reason\n";

struct Answer {
  unsigned code = 200;
  const char* type = "text/plain; charset=utf-8";
  std::string body;
};

Answer ProbeAnswer(const std::string& why_not) {
  return why_not.empty() ? Answer{.body = "ok\n"} : Answer{.code = 503, .body = why_not + "\n"};
}

Answer Route(const HttpServer::Options& options, std::string_view method, std::string_view path) {
  if (method != "GET" && method != "HEAD") return {.code = 405, .body = "only GET and HEAD\n"};
  if (path == "/") return {.body = kIndex};
  if (path == "/healthz") return {.body = "ok\n"};
  if (path == "/readyz") return ProbeAnswer(options.health.WhyNotReady());
  if (path == "/metrics") return {.type = "text/plain; version=0.0.4; charset=utf-8", .body = options.metrics()};
  return {.code = 404, .body = absl::StrCat("nothing here; there are:\n\n", kIndex)};
}

MHD_Result Handle(void* context, MHD_Connection* connection, const char* path, const char* method, const char*,
                  const char*, size_t* upload_bytes, void** seen_before) {
  // The first call comes with the headers; answering it would close the connection. Uploads are read and thrown away.
  if (*seen_before == nullptr || *upload_bytes > 0) {
    *seen_before = context;
    *upload_bytes = 0;
    return MHD_YES;
  }
  const Answer answer = Route(*static_cast<const HttpServer::Options*>(context), method, path);
  // The library copies the body and does not write to it.
  MHD_Response* response =
      MHD_create_response_from_buffer(answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.type);
  MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
  const MHD_Result queued = MHD_queue_response(connection, answer.code, response);
  MHD_destroy_response(response);
  return queued;
}

absl::Status CannotListen(const HostPort& address, const std::string& why) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen for HTTP on ", address.ToString(), ": ", why, "; --http chooses another address"));
}

// A socket that listens on the first address of the host; `port` gets the one in use.
absl::StatusOr<int> Listen(const HostPort& address, uint16_t& port) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) return CannotListen(address, gai_strerror(error));

  const int on = 1;
  const int off = 0;
  const int fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (found->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  const bool listening = bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0 &&
                         getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) == 0;
  const int cause = errno;
  freeaddrinfo(found);
  if (!listening) {
    close(fd);
    return CannotListen(address, std::strerror(cause));
  }
  port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  return fd;
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

std::string Health::WhyNotReady() const {
  const std::lock_guard lock(mutex_);
  return not_ready_;
}

struct HttpServer::Impl {
  explicit Impl(Options given) : options(std::move(given)) {}
  ~Impl() {
    if (daemon != nullptr) MHD_stop_daemon(daemon);  // closes the socket, too
  }

  const Options options;
  MHD_Daemon* daemon = nullptr;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HostPort& listen, Options options) {
  HostPort address = listen;
  const auto fd = Listen(listen, address.port);
  if (!fd.ok()) return fd.status();

  auto impl = std::make_unique<Impl>(std::move(options));
  const MHD_OptionItem settings[] = {
      {MHD_OPTION_LISTEN_SOCKET, *fd, nullptr},
      {MHD_OPTION_CONNECTION_LIMIT, kMaxConnections, nullptr},
      {MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds, nullptr},
      {MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionBytes, nullptr},
      {MHD_OPTION_THREAD_STACK_SIZE, kStackBytes, nullptr},
      {MHD_OPTION_END, 0, nullptr},
  };
  constexpr unsigned kOneThread = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC;
  impl->daemon = MHD_start_daemon(kOneThread, address.port, nullptr, nullptr, Handle,
                                  const_cast<Options*>(&impl->options), MHD_OPTION_ARRAY, settings, MHD_OPTION_END);
  if (impl->daemon == nullptr) {
    const int cause = errno;
    close(*fd);
    return CannotListen(listen, absl::StrCat("the HTTP thread does not start: ", std::strerror(cause)));
  }
  auto server = std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
  server->address_ = address;
  return server;
}

}  // namespace millrace::server
