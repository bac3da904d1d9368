#include "client/cli/field_scanner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "client/cli/produce_input.h"

namespace millrace::cli {
namespace {

using Kind = JsonText::Kind;
using testing::HasSubstr;

// Kind of the field, nullopt when it is missing; `text` becomes its text.
std::optional<Kind> FieldOf(std::string_view line, const std::string& name, std::string& text) {
  FieldScanner scanner({name});
  absl::Status scanned = scanner.Scan(line);
  EXPECT_TRUE(scanned.ok()) << line << ": " << scanned;
  const JsonText* field = scanner.field(0);
  if (field == nullptr) return std::nullopt;
  text = std::string(field->text);
  return field->kind;
}

TEST(FieldScanner, FindsValuesOfEveryKind) {
  std::string text;
  const char* line =
      R"( { "s" : "a b" , "n":-1.5e3,"t":true,"f":false,"z":null,"o":{"s":"inner"},"a":[{"s":1}], "e":"" } )";
  EXPECT_EQ(FieldOf(line, "s", text), Kind::kString);
  EXPECT_EQ(text, "a b");
  EXPECT_EQ(FieldOf(line, "n", text), Kind::kNumber);
  EXPECT_EQ(text, "-1.5e3");
  EXPECT_EQ(FieldOf(line, "t", text), Kind::kBool);
  EXPECT_EQ(FieldOf(line, "f", text), Kind::kBool);
  EXPECT_EQ(FieldOf(line, "z", text), Kind::kNull);
  EXPECT_EQ(FieldOf(line, "o", text), Kind::kObject);
  EXPECT_EQ(text, R"({"s":"inner"})");
  EXPECT_EQ(FieldOf(line, "a", text), Kind::kArray);
  EXPECT_EQ(FieldOf(line, "e", text), Kind::kString);
  EXPECT_EQ(text, "");
  EXPECT_EQ(FieldOf(line, "inner", text), std::nullopt);
  EXPECT_EQ(FieldOf("{}", "s", text), std::nullopt);
}

TEST(FieldScanner, LooksOnlyAtTheTopLevelAndOutsideStrings) {
  std::string text;
  const char* line = R"({"deep":{"k":"no","list":["k","}",{"k":"no"}]},"quote":"\"k\":\"no\"","k":"yes"})";
  FieldOf(line, "k", text);
  EXPECT_EQ(text, "yes");
}

TEST(FieldScanner, ResolvesEscapesInNamesAndValues) {
  std::string text;
  FieldOf(R"({"k":"tab\tquote\"\u00e9\ud83d\ude00\\"})", "k", text);
  EXPECT_EQ(text, "tab\tquote\"\xc3\xa9\xf0\x9f\x98\x80\\");
  FieldOf(R"({"\u006b":"found"})", "k", text);
  EXPECT_EQ(text, "found");
}

TEST(FieldScanner, TakesTheFirstOfARepeatedName) {
  std::string text;
  FieldOf(R"({"k":"first","k":"second"})", "k", text);
  EXPECT_EQ(text, "first");
}

TEST(FieldScanner, RefusesWhatIsNoObject) {
  FieldScanner scanner({"k"});
  for (const char* line : {"",
                           " ",
                           "[]",
                           "1",
                           "null",
                           "\"k\"",
                           "{",
                           "{\"k\"",
                           "{\"k\":",
                           "{\"k\":\"",
                           "{\"a\":1",
                           "{\"a\":1 \"k\":2}",
                           "{k:1}",
                           "{\"a\":[1,{\"b\":2]",
                           "{\"k\":nul}",
                           "{\"k\":}",
                           "{\"k\":\"\\x\"}",
                           "{\"k\":\"\\",
                           "{\"k\":01x}",
                           "{\"k\":\"\\ud83d\"}",
                           "{\"k\":\"\\ude00\"}",
                           "{\"k\":\"\\u12\"}"}) {
    EXPECT_FALSE(scanner.Scan(line).ok()) << line;
  }
}

// Random objects, written by a JSON library, are scanned as that library reads them.
TEST(FieldScanner, AgreesWithAJsonLibraryOnRandomObjects) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  auto text = [&] {
    static const char* const pieces[] = {
        "a", "\"", "\\", "\n", "{", "}", "[", ",", ":", "\xc3\xa9", "\xf0\x9f\x98\x80", "\x01", "k", "/"};
    std::string built;
    for (unsigned i = random() % 6; i > 0; --i) built += pieces[random() % std::size(pieces)];
    return built;
  };
  std::function<nlohmann::json(int)> value = [&](int depth) -> nlohmann::json {
    switch (random() % (depth > 2 ? 5 : 7)) {
      case 0:
        return nullptr;
      case 1:
        return random() % 2 == 0;
      case 2:
        return static_cast<int>(random()) * 0.25;
      case 3:
        return static_cast<int>(random());
      case 4:
        return text();
      case 5: {
        auto array = nlohmann::json::array();
        for (unsigned i = random() % 3; i > 0; --i) array.push_back(value(depth + 1));
        return array;
      }
      default: {
        auto object = nlohmann::json::object();
        for (unsigned i = random() % 3; i > 0; --i) object[text()] = value(depth + 1);
        return object;
      }
    }
  };
  for (int round = 0; round < 5000; ++round) {
    auto object = nlohmann::json::object();
    for (unsigned i = random() % 5; i > 0; --i) object[text()] = value(0);
    const std::string name = text();
    const std::string line = object.dump(random() % 2 == 0 ? -1 : 1, ' ', /*ensure_ascii=*/random() % 2 == 0);
    FieldScanner scanner({name});
    ASSERT_TRUE(scanner.Scan(line).ok()) << line;
    const JsonText* field = scanner.field(0);
    ASSERT_EQ(field != nullptr, object.contains(name)) << line;
    if (field == nullptr) continue;
    if (field->kind == Kind::kString) {
      ASSERT_EQ(field->text, object[name].get<std::string>()) << line;
    } else {
      ASSERT_EQ(nlohmann::json::parse(field->text), object[name]) << line;
    }
  }
}

TEST(TimestampField, TakesIsoSecondsAndMilliseconds) {
  auto time = [](Kind kind, std::string_view text) {
    const JsonText field{.kind = kind, .text = text};
    return TimestampOfField(&field, "time");
  };
  EXPECT_EQ(*time(Kind::kString, "2013-07-04T00:00:00Z"), 1372896000000);
  EXPECT_EQ(*time(Kind::kNumber, "1372896000"), 1372896000000);
  EXPECT_EQ(*time(Kind::kNumber, "1372896000.125"), 1372896000125);
  EXPECT_EQ(*time(Kind::kNumber, "1372896000000"), 1372896000000);
  EXPECT_FALSE(time(Kind::kNumber, "1372896000000000").ok());
  EXPECT_FALSE(time(Kind::kString, "2013-07-04").ok());
  EXPECT_FALSE(time(Kind::kNull, "null").ok());
  EXPECT_THAT(std::string(TimestampOfField(nullptr, "time").status().message()), HasSubstr("has no field 'time'"));
}

TEST(RecordMaker, KeepsTheLineAndTakesKeyAndTimeFromIt) {
  RecordMaker maker({.key_field = "tailnum", .timestamp_field = "time"});
  ProducerRecord record;
  std::string line = R"({"time":"2013-07-04T00:00:00Z","tailnum":"N14228","x":1})";
  ASSERT_TRUE(maker.Make(line, record).ok());
  EXPECT_EQ(record.value, line);
  EXPECT_EQ(record.key, "N14228");
  EXPECT_EQ(record.timestamp, 1372896000000);
  std::string without_key = R"({"time":"2013-07-04T00:00:01Z","tailnum":null})";
  ASSERT_TRUE(maker.Make(without_key, record).ok());
  EXPECT_EQ(record.key, std::nullopt);
  EXPECT_FALSE(maker.KeyFieldNeverSeen());
  EXPECT_FALSE(maker.Make("{\"tailnum\":\"N1\"}", record).ok());
}

TEST(RecordMaker, OneFieldCanBeKeyAndTime) {
  RecordMaker maker({.key_field = "t", .timestamp_field = "t"});
  ProducerRecord record;
  ASSERT_TRUE(maker.Make("{\"t\":1372896000}", record).ok());
  EXPECT_EQ(record.key, "1372896000");
  EXPECT_EQ(record.timestamp, 1372896000000);
}

TEST(RecordMaker, SaysWhenNoLineHadTheKeyField) {
  RecordMaker maker({.key_field = "tailnmu"});
  ProducerRecord record;
  ASSERT_TRUE(maker.Make("{\"tailnum\":1}", record).ok());
  EXPECT_EQ(record.key, std::nullopt);
  EXPECT_TRUE(maker.KeyFieldNeverSeen());
}

TEST(RecordMaker, SplitsAtTheFirstSeparator) {
  RecordMaker maker({.key_separator = ":"});
  ProducerRecord record;
  ASSERT_TRUE(maker.Make("k:v:w", record).ok());
  EXPECT_EQ(record.key, "k");
  EXPECT_EQ(record.value, "v:w");
  ASSERT_TRUE(maker.Make(":v", record).ok());
  EXPECT_EQ(record.key, "");
  ASSERT_TRUE(maker.Make("none", record).ok());
  EXPECT_EQ(record.key, std::nullopt);
  EXPECT_EQ(record.value, "none");
}

TEST(RecordMaker, AddsHeadersOnce) {
  RecordMaker maker({.key = "k", .headers = {{"a", "1"}, {"a", ""}}});
  ProducerRecord record;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(maker.Make("v", record).ok());
  ASSERT_EQ(record.headers.size(), 2u);
  EXPECT_EQ(record.headers[0].value, "1");
  EXPECT_EQ(record.headers[1].value, "");
  EXPECT_EQ(record.key, "k");
}

}  // namespace
}  // namespace millrace::cli
