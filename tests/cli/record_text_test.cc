// Records as text: --format, --length-prefixed, and JSON, which must come back as it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "client/cli/produce_input.h"
#include "client/cli/record_format.h"
#include "client/cli/record_json.h"

namespace millrace::cli {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using testing::HasSubstr;

ConsumerRecord Sample() {
  return {.topic = "orders",
          .partition = 3,
          .leader_epoch = 7,
          .offset = 42,
          .timestamp = 1372896000000,
          .append_time = 1700000000000,
          .key = "k",
          .value = "value",
          .headers = {}};
}

std::string Format(std::string_view format, const ConsumerRecord& record) {
  absl::StatusOr<RecordFormat> compiled = RecordFormat::Compile(format);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  std::string out;
  compiled->Append(out, record);
  return out;
}

TEST(Format, WritesEveryField) {
  std::vector<Header> headers = {{"a", "1"}, {"b", std::nullopt}, {"a", ""}};
  ConsumerRecord record = Sample();
  record.headers = headers;
  EXPECT_EQ(Format("%t %p %o %k %v %T %h %e %K %V %%", record),
            "orders 3 42 k value 1372896000000 a=1,b=NULL,a= 7 1 5 %");
}

TEST(Format, WritesNothingForNullAndMinusOneForItsLength) {
  ConsumerRecord record = Sample();
  record.key.reset();
  record.value.reset();
  EXPECT_EQ(Format("[%k|%v|%K|%V]", record), "[||-1|-1]");
}

TEST(Format, ResolvesEscapes) { EXPECT_EQ(Format(R"(%v\n\t\r\0\\\x41\xff)", Sample()), "value\n\t\r\0\\A\xff"s); }

TEST(Format, RefusesUnknownFieldsAndEscapes) {
  for (const char* format : {"%", "%q", "\\", "\\q", "\\x", "\\x4", "\\xgg"})
    EXPECT_FALSE(RecordFormat::Compile(format).ok()) << format;
  EXPECT_THAT(std::string(RecordFormat::Compile("%s").status().message()), HasSubstr("'%s' is no field"));
}

TEST(LengthPrefixed, IsBigEndianAndMinusOneForNull) {
  std::string out;
  ConsumerRecord record = Sample();
  AppendLengthPrefixed(out, record);
  record.value.reset();
  AppendLengthPrefixed(out, record);
  EXPECT_EQ(out, "\0\0\0\5value\xff\xff\xff\xff"s);
}

TEST(Json, HasTheDocumentedMembersInOrder) {
  ConsumerRecord record = Sample();
  std::vector<Header> headers = {{"h", std::nullopt}};
  record.headers = headers;
  record.key.reset();
  std::string line;
  AppendJsonRecord(line, record);
  EXPECT_EQ(
      line,
      R"({"topic":"orders","partition":3,"offset":42,"leader_epoch":7,"timestamp":1372896000000,"append_time":1700000000000,)"
      R"("key":null,"value":"value","headers":[{"key":"h","value":null}]})"
      "\n");
}

TEST(Json, HoldsWhatIsNotUtf8AsBase64) {
  ConsumerRecord record = Sample();
  record.value = "\xff\x00"sv;
  std::string line;
  AppendJsonRecord(line, record);
  EXPECT_THAT(line, HasSubstr(R"("value":"/wA=","value_encoding":"base64")"));
}

// Goal: nothing a record can hold is lost or changed by `consume --output json | produce --input json`. Method: random records
// of bytes that are hard on JSON, written, checked by a JSON library, read back, and compared.
TEST(Json, ComesBackAsItWas) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  auto bytes = [&](unsigned size_max) {
    static const std::string pieces[] = {"a",
                                         "\"",
                                         "\\",
                                         "\n",
                                         "\r",
                                         "\t",
                                         "\b",
                                         "\f",
                                         "\0"s,
                                         "\x1f",
                                         "\x7f",
                                         "/",
                                         "{",
                                         "\xc3\xa9",
                                         "\xe2\x80\xa8",
                                         "\xf0\x9f\x98\x80",
                                         "\xed\xa0\x80",
                                         "\xff",
                                         "\xc0\x80",
                                         "\xf4\x90\x80\x80"};
    const bool text = random() % 2 == 0;
    std::string built;
    for (unsigned i = random() % size_max; i > 0; --i) built += pieces[random() % (text ? 16 : std::size(pieces))];
    return built;
  };
  auto maybe = [&](unsigned size_max) {
    return random() % 5 == 0 ? std::nullopt : std::optional<std::string>(bytes(size_max));
  };
  for (int round = 0; round < 5000; ++round) {
    const std::optional<std::string> key = maybe(5), value = maybe(30);
    std::vector<HeaderText> header_texts;
    for (unsigned i = random() % 4; i > 0; --i) header_texts.push_back({bytes(4), maybe(6)});
    std::vector<Header> headers;
    for (const HeaderText& header : header_texts) headers.push_back({header.key, header.value});
    ConsumerRecord record = {.topic = "t",
                             .partition = static_cast<int32_t>(random() % 1000),
                             .leader_epoch = 1,
                             .offset = static_cast<int64_t>(random()),
                             .timestamp = static_cast<int32_t>(random()),
                             .append_time = 1,
                             .key = key,
                             .value = value,
                             .headers = headers};
    std::string line;
    AppendJsonRecord(line, record);
    ASSERT_TRUE(nlohmann::json::accept(line)) << line;
    ASSERT_EQ(line.find('\n'), line.size() - 1) << line;

    RecordMaker maker({.input = RecordMakerOptions::Input::kJson, .keep_partition = true, .keep_timestamp = true});
    ProducerRecord back;
    ASSERT_TRUE(maker.Make(std::string_view(line).substr(0, line.size() - 1), back).ok()) << line;
    ASSERT_EQ(back.key, record.key) << line;
    ASSERT_EQ(back.value, record.value) << line;
    ASSERT_EQ(back.partition, record.partition) << line;
    ASSERT_EQ(back.timestamp, record.timestamp) << line;
    ASSERT_EQ(back.headers.size(), headers.size()) << line;
    for (size_t i = 0; i < headers.size(); ++i) {
      ASSERT_EQ(back.headers[i].key, headers[i].key) << line;
      ASSERT_EQ(back.headers[i].value, headers[i].value) << line;
    }
  }
}

TEST(Json, WithoutKeepLeavesPlaceAndTimeToTheProducer) {
  RecordMaker maker({.input = RecordMakerOptions::Input::kJson});
  ProducerRecord record;
  ASSERT_TRUE(maker.Make(R"({"partition":5,"timestamp":7,"key":null,"value":"v"})", record).ok());
  EXPECT_EQ(record.partition, std::nullopt);
  EXPECT_EQ(record.timestamp, std::nullopt);
}

TEST(Json, SaysWhatIsWrong) {
  auto error = [](std::string_view line) {
    JsonRecord record;
    return std::string(ParseJsonRecord(line, record).message());
  };
  EXPECT_THAT(error("flight UA1545"), HasSubstr("no JSON object"));
  EXPECT_THAT(error(R"({"value":""} {)"), HasSubstr("more than one"));
  EXPECT_THAT(error(R"({"value":"\q"})"), HasSubstr("invalid escape"));
  EXPECT_THAT(error(R"({"flight":"UA1545"})"), HasSubstr("has no \"value\""));
  EXPECT_THAT(error(R"({"value":5})"), HasSubstr("neither a string nor null"));
  EXPECT_THAT(error(R"({"value":"?","value_encoding":"base64"})"), HasSubstr("not base64"));
  EXPECT_THAT(error(R"({"value":"?","value_encoding":"hex"})"), HasSubstr("other than base64"));
  EXPECT_THAT(error(R"({"value":"","partition":-1})"), HasSubstr("no whole number"));
  EXPECT_THAT(error(R"({"value":"","partition":1.5})"), HasSubstr("no whole number"));
  EXPECT_THAT(error(R"({"value":"","partition":3000000000})"), HasSubstr("no whole number"));
  EXPECT_THAT(error(R"({"value":"","headers":[1]})"), HasSubstr("no array of"));
  EXPECT_THAT(error(R"({"value":"","headers":[{"value":"x"}]})"), HasSubstr("header without a \"key\""));
  RecordMaker keep({.input = RecordMakerOptions::Input::kJson, .keep_partition = true});
  ProducerRecord record;
  EXPECT_THAT(std::string(keep.Make(R"({"value":""})", record).message()), HasSubstr("no \"partition\" to keep"));
}

}  // namespace
}  // namespace millrace::cli
