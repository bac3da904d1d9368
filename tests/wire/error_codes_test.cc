// The table of error codes against the enum of the protocol, both ways.
#include "proto/wire/error_codes.h"

#include <gtest/gtest.h>

#include "millrace/v1/error.pb.h"

namespace millrace {
namespace {

TEST(ErrorCodes, EveryCodeOfTheProtocolIsInTheTableUnderItsName) {
  const auto* codes = v1::Error::Code_descriptor();
  for (int i = 0; i < codes->value_count(); ++i) {
    const ErrorCodeFacts* facts = FindErrorCode(codes->value(i)->number());
    ASSERT_NE(facts, nullptr) << codes->value(i)->name();
    EXPECT_EQ(std::string(facts->name), codes->value(i)->name());
  }
}

TEST(ErrorCodes, TheTableHasNoOthers) {
  EXPECT_EQ(ErrorCodes().size(), static_cast<size_t>(v1::Error::Code_descriptor()->value_count()));
  for (const int32_t code : {-1, 4, 13, 99, 1004}) EXPECT_EQ(FindErrorCode(code), nullptr) << code;
}

TEST(ErrorCodes, OnlyNoErrorIsOk) {
  for (const ErrorCodeFacts& facts : ErrorCodes()) {
    EXPECT_EQ(facts.status == absl::StatusCode::kOk, facts.code == v1::Error::NONE) << facts.name;
  }
}

}  // namespace
}  // namespace millrace
