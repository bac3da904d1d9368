// Goal: what users get for their own tests works as its header says.
#include <gtest/gtest.h>
#include <millrace/millrace.h>

#include <filesystem>

#include "millrace/testing.h"

namespace {

using millrace::testing::Broker;

TEST(TestingBroker, IsKilledAndComesBackWithItsData) {
  auto broker = Broker::Start({.millraced = MILLRACED});
  ASSERT_TRUE(broker.ok()) << broker.status();
  const std::string address = (*broker)->address(), directory = (*broker)->directory();
  const millrace::ClientOptions client{.bootstrap_servers = address};
  auto admin = millrace::Admin::Create(client).value();
  ASSERT_TRUE(admin->CreateTopic({.name = "t"}).ok());
  auto producer = millrace::Producer::Create({.client = client}).value();
  ASSERT_TRUE(producer->SendAndWait({.topic = "t", .value = "1"}).ok());
  (*broker)->Kill();
  ASSERT_TRUE((*broker)->Restart().ok());
  EXPECT_EQ((*broker)->address(), address);
  const auto second = producer->SendAndWait({.topic = "t", .value = "2"});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->offset, 1);
  broker->reset();
  EXPECT_FALSE(std::filesystem::exists(directory));
}

TEST(TestingBroker, WhatCannotStartSaysWhy) {
  EXPECT_NE(Broker::Start({.millraced = "/nowhere/millraced"}).status().message().find("MILLRACED"), std::string::npos);
  const absl::Status refused = Broker::Start({.millraced = MILLRACED, .arguments = {"--set", "flush=never"}}).status();
  EXPECT_NE(refused.message().find("flush"), std::string::npos) << refused;
}

}  // namespace
