#include "client/control_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "tests/support/sim_executor.h"

namespace millrace {
namespace {

using client::ControlClient;
using client::Repeat;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;

// Answers calls from a list, and notes where they went.
class ScriptedTransport : public ClientTransport {
 public:
  explicit ScriptedTransport(SimExecutor& executor) : executor_(executor) {}

  std::unique_ptr<Stream> OpenStream(const std::string&, const std::string&, StreamHandler*) override {
    return nullptr;
  }
  void Call(const std::string& address, const std::string&, absl::Cord, std::chrono::nanoseconds,
            std::function<void(CallReply)> done) override {
    called.push_back(address);
    if (address == silent) return unanswered.push_back(std::move(done));
    CallReply reply = answers.empty() ? fallback : answers.front();
    if (!answers.empty()) answers.pop_front();
    executor_.Post([done = std::move(done), reply = std::move(reply)] { done(reply); });
  }

  void AnswerSilent(const CallReply& reply) {
    for (const auto& done : std::exchange(unanswered, {})) done(reply);
  }

  std::vector<std::string> called;
  std::deque<CallReply> answers;
  CallReply fallback;
  std::string silent;  // an address that answers when AnswerSilent says so
  std::vector<std::function<void(CallReply)>> unanswered;

 private:
  SimExecutor& executor_;
};

CallReply Failure(int32_t code, bool retriable, bool may_have_happened) {
  CallReply reply;
  reply.end.status = absl::UnavailableError("x");
  reply.end.error = {
      .code = code, .message = "said so", .retriable = retriable, .may_have_happened = may_have_happened};
  return reply;
}

CallReply Refused() { return Failure(13, true, false); }
CallReply Broken() { return Failure(13, true, true); }

class ControlTest : public testing::Test {
 protected:
  absl::StatusOr<absl::Cord> Call(Repeat repeat, std::vector<std::string> addresses = {"a:1", "b:1"}) {
    ControlClient control({executor.clock(), executor, random, transport}, options, std::move(addresses));
    std::optional<absl::StatusOr<absl::Cord>> result;
    control.Call("/m", absl::Cord(), {.timeout = seconds(10), .repeat = repeat},
                 [&](absl::StatusOr<absl::Cord> reply) { result = std::move(reply); });
    executor.Advance(seconds(60));
    return result.value_or(absl::InternalError("never answered"));
  }

  SimExecutor executor;
  SimRandom random{1};
  ScriptedTransport transport{executor};
  ClientOptions options;
};

// A client that was stopped for longer than the call had, and whose other calls then find out that the broker is away.
TEST_F(ControlTest, AnAnswerThatComesAfterTheEndIsNobodys) {
  transport.silent = "a:1";
  ControlClient control({executor.clock(), executor, random, transport}, options, {"a:1", "b:1"});
  int done = 0;
  control.Call("/m", absl::Cord(), {.timeout = seconds(1)}, [&](const absl::StatusOr<absl::Cord>&) { ++done; });
  executor.Advance(seconds(2));
  control.Avoid("a:1");
  control.Avoid("b:1");
  EXPECT_EQ(done, 1);
  transport.AnswerSilent(Refused());
  executor.Advance(seconds(2));
  EXPECT_EQ(done, 1);
}

TEST_F(ControlTest, WhatABrokerAnsweredIsToldRatherThanThatAnotherIsAway) {
  options.connect_timeout = seconds(5);
  for (int i = 0; i < 1000; ++i) {
    transport.answers.push_back(Failure(5, true, false));
    transport.answers.push_back(Refused());
  }
  EXPECT_EQ(ErrorFrom(Call(Repeat::kSafe).status()).code, ErrorCode::kLeaderNotAvailable);
}

TEST_F(ControlTest, NextAddressIsTriedWhenOneCannotBeConnected) {
  transport.answers = {Refused(), {{}, absl::Cord("yes")}};
  EXPECT_EQ(*Call(Repeat::kIfNotSent), "yes");
  EXPECT_THAT(transport.called, ElementsAre("a:1", "b:1"));
}

TEST_F(ControlTest, WhatWasAskedOfABrokerThatStandsStillIsAskedOfAnother) {
  ControlClient control({executor.clock(), executor, random, transport}, options, {"a:1", "b:1"});
  transport.silent = "a:1";
  int safe = 0, unsafe = 0;
  control.Call("/m", absl::Cord(), {.timeout = seconds(10), .repeat = Repeat::kSafe}, [&](auto reply) { ++safe; });
  control.Call("/m", absl::Cord(), {.timeout = seconds(10), .repeat = Repeat::kIfNotSent},
               [&](auto reply) { ++unsafe; });
  control.Avoid("a:1");
  executor.RunUntilIdle();
  EXPECT_EQ(safe, 1);
  EXPECT_EQ(unsafe, 0);
  EXPECT_THAT(transport.called, ElementsAre("a:1", "a:1", "b:1"));
}

TEST_F(ControlTest, CallThatMayHaveHappenedIsRepeatedOnlyIfThatIsSafe) {
  transport.answers = {Broken(), {{}, absl::Cord("yes")}};
  EXPECT_EQ(*Call(Repeat::kSafe), "yes");
  transport.called.clear();
  transport.answers = {Broken(), {{}, absl::Cord("yes")}};
  const Error error = ErrorFrom(Call(Repeat::kIfNotSent).status());
  EXPECT_EQ(error.code, ErrorCode::kNetworkException);
  EXPECT_TRUE(error.may_have_happened);
  EXPECT_EQ(transport.called.size(), 1u);
}

TEST_F(ControlTest, FinalErrorsAreGivenAsTheyAre) {
  transport.fallback = Failure(36, false, false);
  const Error error = ErrorFrom(Call(Repeat::kSafe).status());
  EXPECT_EQ(error.code, ErrorCode::kTopicAlreadyExists);
  EXPECT_EQ(error.message, "said so");
  EXPECT_EQ(transport.called.size(), 1u);
}

TEST_F(ControlTest, UnknownTopicIsNotWaitedForThoughItIsRetriable) {
  transport.fallback = Failure(3, true, false);
  EXPECT_EQ(ErrorFrom(Call(Repeat::kSafe).status()).code, ErrorCode::kUnknownTopicOrPartition);
  EXPECT_EQ(transport.called.size(), 1u);
}

TEST_F(ControlTest, BrokerThatIsBackWithinTheTimeOutIsWaitedFor) {
  transport.fallback = Refused();
  ControlClient control({executor.clock(), executor, random, transport}, options, {"a:1"});
  std::optional<absl::StatusOr<absl::Cord>> result;
  control.Call("/m", absl::Cord(), {.timeout = seconds(10), .repeat = Repeat::kIfNotSent},
               [&](absl::StatusOr<absl::Cord> reply) { result = std::move(reply); });
  executor.Advance(seconds(7));
  ASSERT_FALSE(result);
  ASSERT_TRUE(control.last_failure());
  EXPECT_EQ(control.last_failure()->code, ErrorCode::kNetworkException);
  transport.fallback = {{}, absl::Cord("yes")};
  executor.Advance(seconds(2));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->value(), "yes");
  EXPECT_FALSE(control.last_failure());
}

TEST_F(ControlTest, UnreachableClusterIsReportedSoonWhereThatIsAskedForAndNamed) {
  options.connect_timeout = seconds(2);
  transport.fallback = Refused();
  const auto begun = executor.clock().Monotonic();
  std::optional<std::chrono::nanoseconds> answered;
  ControlClient control({executor.clock(), executor, random, transport}, options, {"a:1", "b:1"});
  Error error;
  control.Call("/m", absl::Cord(), {.timeout = seconds(10), .repeat = Repeat::kIfNotSent},
               [&](absl::StatusOr<absl::Cord> reply) {
                 error = ErrorFrom(reply.status());
                 answered = executor.clock().Monotonic() - begun;
               });
  executor.Advance(seconds(20));
  ASSERT_TRUE(answered);
  EXPECT_LE(*answered, seconds(2));
  EXPECT_EQ(error.code, ErrorCode::kNetworkException);
  EXPECT_FALSE(error.may_have_happened);
  EXPECT_THAT(error.message, HasSubstr("a:1, b:1"));
  EXPECT_GT(transport.called.size(), 4u);
}

TEST_F(ControlTest, BrokerThatIsBusyIsAskedUntilTheTimeOut) {
  transport.fallback = Failure(5, true, false);
  EXPECT_EQ(ErrorFrom(Call(Repeat::kSafe).status()).code, ErrorCode::kLeaderNotAvailable);
  EXPECT_GT(transport.called.size(), 8u);
}

}  // namespace
}  // namespace millrace
