#include "millrace/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/address.h"
#include "millrace/error.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

std::string Text(const absl::Status& status) { return std::string(status.message()); }

TEST(Options, KafkasNamesAreTaken) {
  auto options = ProducerOptions::FromMap({{"bootstrap.servers", "a:1,b:2"},
                                           {"client.id", "me"},
                                           {"acks", "1"},
                                           {"linger.ms", "5"},
                                           {"batch.size", "64KiB"},
                                           {"compression.type", "zstd"},
                                           {"buffer.memory", "1048576"},
                                           {"enable.idempotence", "false"},
                                           {"delivery.timeout.ms", "1000"}});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->client.bootstrap_servers, "a:1,b:2");
  EXPECT_EQ(options->client.client_id, "me");
  EXPECT_EQ(options->acks, AckLevel::kLeader);
  EXPECT_EQ(options->linger, milliseconds(5));
  EXPECT_EQ(options->batch_size, 64 << 10);
  EXPECT_EQ(options->compression, Compression::kZstd);
  EXPECT_EQ(options->buffer_memory, 1 << 20);
  EXPECT_FALSE(options->idempotence);

  auto consumer = ConsumerOptions::FromMap({{"auto.offset.reset", "latest"},
                                            {"on.gap", "report"},
                                            {"fetch.max.bytes", "1MiB"},
                                            {"max.poll.records", "10"},
                                            {"check.crcs", "false"},
                                            {"header.filters", "region=eu,vip"}});
  ASSERT_TRUE(consumer.ok()) << consumer.status();
  EXPECT_EQ(consumer->auto_offset_reset, AutoOffsetReset::kLatest);
  EXPECT_EQ(consumer->on_gap, OnGap::kReport);
  ASSERT_EQ(consumer->header_filters.size(), 2u);
  EXPECT_EQ(consumer->header_filters[0].value, "eu");
  EXPECT_EQ(consumer->header_filters[1].value, std::nullopt);
}

TEST(Options, DefaultsAreTheDocumentedOnes) {
  const ProducerOptions producer = *ProducerOptions::FromMap({});
  EXPECT_EQ(producer.acks, AckLevel::kQuorum);
  EXPECT_TRUE(producer.idempotence);
  EXPECT_EQ(producer.linger, milliseconds(0));
  EXPECT_EQ(producer.batch_size, 256 << 10);
  EXPECT_EQ(producer.compression, Compression::kNone);
  EXPECT_EQ(producer.buffer_memory, 64 << 20);
  EXPECT_EQ(producer.delivery_timeout, milliseconds(120'000));
  EXPECT_EQ(ConsumerOptions::FromMap({})->auto_offset_reset, AutoOffsetReset::kEarliest);
  EXPECT_EQ(ClientOptions::FromMap({})->bootstrap_servers, "127.0.0.1:9470");
}

TEST(Options, UnknownNameNamesTheNearest) {
  auto options = ProducerOptions::FromMap({{"linger", "5"}});
  ASSERT_FALSE(options.ok());
  EXPECT_EQ(ErrorFrom(options.status()).code, ErrorCode::kInvalidConfig);
  EXPECT_THAT(Text(options.status()), HasSubstr("did you mean \"linger.ms\"?"));
  EXPECT_THAT(Text(ConsumerOptions::FromMap({{"auto.offest.reset", "earliest"}}).status()),
              HasSubstr("\"auto.offset.reset\""));
  EXPECT_THAT(Text(ClientOptions::FromMap({{"bootstrap.server", "a"}}).status()), HasSubstr("\"bootstrap.servers\""));
  EXPECT_EQ(Text(ClientOptions::FromMap({{"color", "red"}}).status()), "INVALID_CONFIG: unknown setting \"color\"");
}

TEST(Options, ValuesTakeTheUnitsThatTheBrokersSettingsTake) {
  auto options =
      ProducerOptions::FromMap({{"linger.ms", "5ms"}, {"delivery.timeout.ms", "2m"}, {"batch.size", "64kb"}});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->linger, milliseconds(5));
  EXPECT_EQ(options->delivery_timeout, milliseconds(120'000));
  EXPECT_EQ(options->batch_size, 64'000);
}

TEST(Options, BadValuesSayWhatIsExpected) {
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"acks", "2"}}).status()), HasSubstr("none, leader, quorum"));
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"linger.ms", "-1"}}).status()), HasSubstr("0 or more"));
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"linger.ms", "5 min"}}).status()), HasSubstr("milliseconds"));
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"batch.size", "10"}}).status()), HasSubstr("1 KiB"));
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"batch.size", "99999999999GiB"}}).status()), HasSubstr("bytes"));
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"batch.size", "-1"}}).status()), HasSubstr("0 or more"));
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"batch.size", "1M"}}).status()), HasSubstr("256KiB"));
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"buffer.memory", "1KiB"}}).status()), HasSubstr("batch.size"));
  EXPECT_THAT(Text(ConsumerOptions::FromMap({{"check.crcs", "yes"}}).status()), HasSubstr("true, false"));
  EXPECT_THAT(Text(ConsumerOptions::FromMap({{"header.filters", "=x"}}).status()), HasSubstr("NAME=VALUE"));
  EXPECT_THAT(Text(ClientOptions::FromMap({{"ssl.key.location", "f"}}).status()), HasSubstr("go together"));
}

TEST(Options, SettingsOfKafkaWithoutMeaningAreRefusedWithAReason) {
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"retries", "3"}}).status()), HasSubstr("delivery.timeout.ms"));
  EXPECT_THAT(Text(ConsumerOptions::FromMap({{"heartbeat.interval.ms", "1s"}}).status()),
              HasSubstr("session.timeout.ms"));
  EXPECT_THAT(Text(ProducerOptions::FromMap({{"min.insync.replicas", "2"}}).status()), HasSubstr("majority"));
}

TEST(Addresses, FormsOfHosts) {
  EXPECT_THAT(*client::ParseAddresses("host"), ElementsAre("host:9470"));
  EXPECT_THAT(*client::ParseAddresses("a:1, b:2 ,a:1,"), ElementsAre("a:1", "b:2"));
  EXPECT_THAT(*client::ParseAddresses("[::1]:7,[fe80::1]"), ElementsAre("[::1]:7", "[fe80::1]:9470"));
  for (const char* bad :
       {"", ",", ":9470", "host:", "host:0", "host:70000", "host:x", "::1", "[::1", "[]:1", "[::1]x:1"}) {
    EXPECT_FALSE(client::ParseAddresses(bad).ok()) << bad;
  }
  EXPECT_THAT(Text(client::ParseAddresses("::1").status()), HasSubstr("[::1]:9470"));
}

}  // namespace
}  // namespace millrace
