// What a refused client learns, however odd its request: the code, what to do, and never more than a header holds.
#include <functional>

#include "proto/wire/utf8.h"
#include "server/errors.h"
#include "tests/server/broker/fixture.h"

namespace millrace {
namespace {

class Errors : public BrokerTest {
 protected:
  template <typename Response, typename Request>
  ErrorFrame ErrorOf(const std::string& method, const Request& request) {
    Response response;
    return Unary(method, request, &response).error;
  }

  // The error of every call that names a topic.
  std::vector<ErrorFrame> ErrorsFor(const std::string& topic) {
    std::vector<ErrorFrame> errors;
    v1::AppendRequest append;
    append.set_topic(topic);
    append.add_records()->set_value("x");
    errors.push_back(ErrorOf<v1::AppendResponse>("Broker/Append", append));
    v1::ReadRequest read;
    read.set_topic(topic);
    errors.push_back(ErrorOf<v1::ReadResponse>("Broker/Read", read));
    v1::DescribeTopicRequest describe;
    describe.set_name(topic);
    errors.push_back(ErrorOf<v1::DescribeTopicResponse>("Admin/DescribeTopic", describe));
    v1::DeleteTopicRequest remove;
    remove.set_name(topic);
    errors.push_back(ErrorOf<v1::DeleteTopicResponse>("Admin/DeleteTopic", remove));
    v1::AlterTopicRequest alter;
    alter.set_name(topic);
    errors.push_back(ErrorOf<v1::AlterTopicResponse>("Admin/AlterTopic", alter));
    v1::TrimPartitionRequest trim;
    trim.set_name(topic);
    errors.push_back(ErrorOf<v1::TrimPartitionResponse>("Admin/TrimPartition", trim));
    FrameClient produce(executor_, network_, "Produce"), fetch(executor_, network_, "Fetch");
    errors.push_back(Send(produce, topic, 0, BatchOf({"x"})).error);
    fetch.Send(FetchFrom(At(1, topic, 0, 0)));
    errors.push_back(PartitionsOf(fetch, 1).at(0).error);
    return errors;
  }
};

// As a newer broker answers, to one that hands its answer on.
TEST(FailedCall, ACodeThatIsNotKnownHereIsHandedOn) {
  const CallEnd end = server::FailedCall({.code = 1004, .message = "newer", .retriable = true});
  EXPECT_EQ(end.status.code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(end.status.message(), "code 1004: newer");
  EXPECT_EQ(end.error.code, 1004);
  EXPECT_TRUE(end.error.retriable);
}

TEST_F(Errors, AnUnknownTopicIsNoReasonToRetry) {
  for (const ErrorFrame& error : ErrorsFor("missing")) {
    EXPECT_EQ(error.code, Error::UNKNOWN_TOPIC_OR_PARTITION);
    EXPECT_FALSE(error.retriable);
    EXPECT_EQ(error.topic, "missing");
    EXPECT_NE(error.message.find("millrace topic create missing"), std::string::npos) << error.message;
  }
}

TEST_F(Errors, ABadNameIsNotAdvisedToBeCreated) {
  for (const std::string name : {"", "a b", "..", "caf\xc3\xa9"}) {
    for (const ErrorFrame& error : ErrorsFor(name)) {
      EXPECT_EQ(error.code, Error::INVALID_TOPIC_EXCEPTION) << name;
      EXPECT_EQ(error.message.find("create"), std::string::npos) << error.message;
      if (!name.empty()) {
        EXPECT_NE(error.message.find(name), std::string::npos) << error.message;
      }
    }
  }
}

TEST_F(Errors, ALongNameIsNotEchoed) {
  for (const std::string& name : {std::string(100'000, 'n'), "__" + std::string(100'000, 'n'), std::string(250, 'n')}) {
    for (const ErrorFrame& error : ErrorsFor(name)) {
      EXPECT_EQ(error.code, Error::INVALID_TOPIC_EXCEPTION);
      EXPECT_LE(error.topic.size(), 249u);
      EXPECT_LT(SerializeError(error).size(), 1500u);
    }
    v1::CreateTopicRequest create;
    create.set_name(name);
    EXPECT_LT(SerializeError(ErrorOf<v1::CreateTopicResponse>("Admin/CreateTopic", create)).size(), 1500u);
  }
}

TEST_F(Errors, LongValuesAreCutAtACharacter) {
  v1::CreateTopicRequest create;
  create.set_name("t");
  std::string value;
  for (int i = 0; i < 10'000; ++i) value += "\xe2\x82\xac";
  (*create.mutable_config())["flush"] = value;
  const ErrorFrame error = ErrorOf<v1::CreateTopicResponse>("Admin/CreateTopic", create);
  EXPECT_EQ(error.code, Error::INVALID_CONFIG);
  EXPECT_LE(error.message.size(), 1000u);
  EXPECT_TRUE(IsUtf8(error.message));
}

TEST_F(Errors, WhatIsNoTextIsMadeText) {
  const ErrorFrame error = server::MakeError(Error::INVALID_REQUEST, "bad \xff byte");
  EXPECT_TRUE(IsUtf8(error.message));
}

TEST_F(Errors, APartitionThatIsNotThereIsNoReasonToRetry) {
  CreateTopic("t", 2);
  for (const int32_t partition : {-1, 2}) {
    v1::ReadRequest read;
    read.set_topic("t");
    read.set_partition(partition);
    const ErrorFrame error = ErrorOf<v1::ReadResponse>("Broker/Read", read);
    EXPECT_EQ(error.code, Error::UNKNOWN_TOPIC_OR_PARTITION);
    EXPECT_FALSE(error.retriable);
    EXPECT_NE(error.message.find("0 to 1"), std::string::npos) << error.message;
  }
}

TEST_F(Errors, ATopicThatExistsSaysWhatToDo) {
  CreateTopic("t", 1);
  v1::CreateTopicRequest create;
  create.set_name("t");
  const ErrorFrame error = ErrorOf<v1::CreateTopicResponse>("Admin/CreateTopic", create);
  EXPECT_EQ(error.code, Error::TOPIC_ALREADY_EXISTS);
  EXPECT_NE(error.message.find("if_not_exists"), std::string::npos) << error.message;
}

TEST_F(Errors, UnknownOffsetSpecsAreRefused) {
  CreateTopic("t", 1);
  v1::ListOffsetsRequest request;
  request.add_queries()->set_topic("t");
  request.mutable_queries(0)->set_spec(static_cast<v1::OffsetSpec>(7));
  v1::ListOffsetsResponse response;
  ASSERT_TRUE(Unary("Broker/ListOffsets", request, &response).status.ok());
  EXPECT_EQ(response.results(0).error().code(), Error::INVALID_REQUEST);
}

}  // namespace
}  // namespace millrace
