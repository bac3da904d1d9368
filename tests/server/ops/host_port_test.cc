#include "server/host_port.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using ::testing::HasSubstr;

struct Form {
  const char* text;
  HostPort expected;
  const char* written;
};

class HostPortForms : public ::testing::TestWithParam<Form> {};

TEST_P(HostPortForms, AreReadAndWrittenBack) {
  const auto address = ParseHostPort(GetParam().text, 9470);
  ASSERT_TRUE(address.ok()) << address.status();
  EXPECT_EQ(*address, GetParam().expected);
  EXPECT_EQ(address->ToString(), GetParam().written);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostPortForms,
    ::testing::Values(Form{"localhost", {"localhost", 9470}, "localhost:9470"},
                      Form{"127.0.0.1:0", {"127.0.0.1", 0}, "127.0.0.1:0"},
                      Form{"broker-1.example.org:65535", {"broker-1.example.org", 65535}, "broker-1.example.org:65535"},
                      Form{"[::1]", {"::1", 9470}, "[::1]:9470"},
                      Form{"[fe80::1%eth0]:80", {"fe80::1%eth0", 80}, "[fe80::1%eth0]:80"},
                      Form{"my_service:1", {"my_service", 1}, "my_service:1"}));

struct BadForm {
  const char* text;
  const char* why;
};

class BadHostPortForms : public ::testing::TestWithParam<BadForm> {};

TEST_P(BadHostPortForms, AreRefusedWithTheReasonAndWhatIsAccepted) {
  const auto address = ParseHostPort(GetParam().text, 9470);
  ASSERT_FALSE(address.ok());
  const std::string text(address.status().message());
  EXPECT_THAT(text, HasSubstr(std::string("\"") + GetParam().text + "\" " + GetParam().why));
  EXPECT_THAT(text, HasSubstr("accepted: HOST or HOST:PORT"));
}

INSTANTIATE_TEST_SUITE_P(All, BadHostPortForms,
                         ::testing::Values(BadForm{"", "names no host"}, BadForm{":9470", "names no host"},
                                           BadForm{"[]:9470", "names no host"}, BadForm{"host:", "has no valid port"},
                                           BadForm{"host:65536", "has no valid port"},
                                           BadForm{"host:-1", "has no valid port"},
                                           BadForm{"host:80x", "has no valid port"},
                                           BadForm{"[::1]:", "has no valid port"},
                                           BadForm{"::1", "looks like an IPv6 address without its brackets"},
                                           BadForm{"[::1", "has no closing bracket"},
                                           BadForm{"[::1]9470", "has something other than :PORT after the bracket"},
                                           BadForm{"[localhost]", "has no IPv6 address between its brackets"},
                                           BadForm{"a b", "is not a host name or address"},
                                           BadForm{"http://a:80", "is a URL, not an address"}));

TEST(HostPort, KnowsWildcards) {
  EXPECT_TRUE((HostPort{"0.0.0.0", 1}).IsWildcard());
  EXPECT_TRUE((HostPort{"::", 1}).IsWildcard());
  EXPECT_FALSE((HostPort{"127.0.0.1", 1}).IsWildcard());
}

}  // namespace
}  // namespace millrace::server
