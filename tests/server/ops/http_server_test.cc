#include "server/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "tests/support/tcp_socket.h"

namespace millrace::server {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Ask(const HostPort& address, const std::string& method, const std::string& path) {
  TcpSocket socket(address.host, address.port);
  EXPECT_TRUE(socket.connected());
  socket.Send(method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  return socket.ReadAll();
}

class Http : public ::testing::Test {
 protected:
  void Start(const HostPort& listen) {
    auto server =
        HttpServer::Start(listen, {.health = health_, .metrics = [] { return std::string("millrace_x 1\n"); }});
    server_ = std::move(server).value();
  }
  std::string Get(const std::string& path) { return Ask(server_->Address(), "GET", path); }

  Health health_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(Http, TakesAFreePortAndSaysWhich) {
  Start({"127.0.0.1", 0});
  EXPECT_NE(server_->Address().port, 0);
  EXPECT_EQ(server_->Address().host, "127.0.0.1");
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(Http, ListensOnIpv6) {
  auto server = HttpServer::Start({"::1", 0}, {.health = health_, .metrics = [] { return std::string(); }});
  if (TcpSocket("::1", 1).error() == EADDRNOTAVAIL) {  // a machine without IPv6: it has to say so
    ASSERT_FALSE(server.ok());
    EXPECT_THAT(std::string(server.status().message()), HasSubstr("::1"));
  } else {
    ASSERT_TRUE(server.ok()) << server.status();
    EXPECT_THAT(Ask((*server)->Address(), "GET", "/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
}

TEST_F(Http, ListensOnAName) {
  Start({"localhost", 0});
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(Http, IsReadyOnlyBetweenStartAndDrain) {
  Start({"127.0.0.1", 0});
  EXPECT_THAT(Get("/readyz"), AllOf(StartsWith("HTTP/1.1 503 "), EndsWith("\r\n\r\nstarting\n")));
  health_.SetReady();
  EXPECT_THAT(Get("/readyz"), AllOf(StartsWith("HTTP/1.1 200 "), EndsWith("\r\n\r\nok\n")));
  health_.SetNotReady("draining");
  EXPECT_THAT(Get("/readyz"), AllOf(StartsWith("HTTP/1.1 503 "), EndsWith("\r\n\r\ndraining\n")));
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(Http, ServesMetricsInThePrometheusTextFormat) {
  Start({"127.0.0.1", 0});
  EXPECT_THAT(Get("/metrics"), AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("Content-Type: text/plain; version=0.0.4"),
                                     EndsWith("\r\n\r\nmillrace_x 1\n")));
}

TEST_F(Http, ListsWhatThereIs) {
  Start({"127.0.0.1", 0});
  for (const char* path : {"/", "/nothing/here", "/metrics/x"}) {
    EXPECT_THAT(Get(path), AllOf(HasSubstr("/metrics"), HasSubstr("/healthz"), HasSubstr("/readyz")));
  }
  EXPECT_THAT(Get("/"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/nothing/here"), StartsWith("HTTP/1.1 404 "));
}

TEST_F(Http, AnswersHeadWithoutABodyAndNothingThatWrites) {
  Start({"127.0.0.1", 0});
  EXPECT_THAT(Ask(server_->Address(), "HEAD", "/healthz"),
              AllOf(HasSubstr("Content-Length: 3\r\n"), EndsWith("\r\n\r\n")));
  EXPECT_THAT(Ask(server_->Address(), "POST", "/metrics"), StartsWith("HTTP/1.1 405 "));
}

TEST_F(Http, AnswersProbesBesideAClientThatNeverFinishesItsRequest) {
  Start({"127.0.0.1", 0});
  TcpSocket slow(server_->Address().host, server_->Address().port);
  slow.Send("GET /metrics HT");
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(Http, SurvivesGarbage) {
  Start({"127.0.0.1", 0});
  TcpSocket socket(server_->Address().host, server_->Address().port);
  socket.Send("\x16\x03\x01 no http \r\n\r\n");
  socket.ReadAll();
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(Http, NamesAPortThatIsTaken) {
  Start({"127.0.0.1", 0});
  const auto second =
      HttpServer::Start(server_->Address(), {.health = health_, .metrics = [] { return std::string(); }});
  ASSERT_FALSE(second.ok());
  const std::string text(second.status().message());
  EXPECT_THAT(text, AllOf(HasSubstr("127.0.0.1:" + std::to_string(server_->Address().port)), HasSubstr("in use"),
                          HasSubstr("--http")));
}

TEST_F(Http, NamesAHostThatIsNotThisOne) {
  const auto unknown =
      HttpServer::Start({"no-such-host.invalid", 0}, {.health = health_, .metrics = [] { return std::string(); }});
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("no-such-host.invalid"));
  const auto foreign =
      HttpServer::Start({"192.0.2.1", 0}, {.health = health_, .metrics = [] { return std::string(); }});
  ASSERT_FALSE(foreign.ok());
  EXPECT_THAT(std::string(foreign.status().message()), HasSubstr("192.0.2.1"));
}

}  // namespace
}  // namespace millrace::server
