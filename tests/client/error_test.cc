#include "millrace/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/status.h"
#include "millrace/v1/error.pb.h"

namespace millrace {
namespace {

TEST(Errors, EveryCodeOfTheProtocolHasItsNameHere) {
  const auto* codes = v1::Error::Code_descriptor();
  for (int i = 0; i < codes->value_count(); ++i) {
    EXPECT_EQ(ErrorCodeName(static_cast<ErrorCode>(codes->value(i)->number())), codes->value(i)->name());
  }
}

TEST(Errors, StatusKeepsEverything) {
  const Error error{.code = ErrorCode::kOffsetOutOfRange,
                    .message = "gone",
                    .retriable = true,
                    .may_have_happened = true,
                    .topic = "t",
                    .partition = 0,
                    .address = "a:1",
                    .limit = 5,
                    .size = 6,
                    .log_start_offset = 0,
                    .high_watermark = 9};
  const absl::Status status = ToStatus(error);
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(status.message(), "OFFSET_OUT_OF_RANGE: gone");
  const Error back = ErrorFrom(status);
  EXPECT_EQ(back.code, error.code);
  EXPECT_EQ(back.message, error.message);
  EXPECT_TRUE(back.retriable);
  EXPECT_TRUE(back.may_have_happened);
  EXPECT_EQ(back.topic, "t");
  EXPECT_EQ(back.partition, 0);
  EXPECT_EQ(back.address, "a:1");
  EXPECT_EQ(back.limit, 5);
  EXPECT_EQ(back.size, 6);
  EXPECT_EQ(back.log_start_offset, 0);
  EXPECT_EQ(back.high_watermark, 9);
}

TEST(Errors, OtherStatusesAreUnknown) {
  EXPECT_EQ(ErrorFrom(absl::OkStatus()).code, ErrorCode::kNone);
  EXPECT_TRUE(ToStatus({}).ok());
  const Error error = ErrorFrom(absl::InternalError("x"));
  EXPECT_EQ(error.code, ErrorCode::kUnknown);
  EXPECT_EQ(error.message, "x");
  EXPECT_TRUE(error.may_have_happened);
}

TEST(Errors, EndOfACallThatSaysNothingIsTheConnections) {
  const Error timeout = client::ErrorOfCall({absl::DeadlineExceededError(""), {}}, "a:1");
  EXPECT_EQ(timeout.code, ErrorCode::kRequestTimedOut);
  EXPECT_EQ(timeout.address, "a:1");
  const Error broken = client::ErrorOfCall({absl::UnavailableError("reset"), {}}, "a:1");
  EXPECT_EQ(broken.code, ErrorCode::kNetworkException);
  EXPECT_TRUE(broken.may_have_happened);
  EXPECT_EQ(client::ErrorOfCall({absl::UnimplementedError("x"), {}}, "a:1").code, ErrorCode::kUnsupportedVersion);
  const Error refused = client::ErrorOfCall({.status = absl::UnavailableError("refused"), .never_sent = true}, "a:1");
  EXPECT_EQ(refused.code, ErrorCode::kNetworkException);
  EXPECT_TRUE(refused.retriable);
  EXPECT_FALSE(refused.may_have_happened);
}

}  // namespace
}  // namespace millrace
