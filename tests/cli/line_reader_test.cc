#include "client/cli/line_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "client/cli/interrupt.h"

namespace millrace::cli {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::HasSubstr;

// Gives bytes in pieces of a given size, as pipes do.
class PieceSource : public ByteSource {
 public:
  PieceSource(std::string bytes, size_t piece) : bytes_(std::move(bytes)), piece_(piece) {}
  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    size = std::min({size, piece_, bytes_.size() - done_});
    bytes_.copy(to, size, done_);
    done_ += size;
    return size;
  }
  std::optional<double> Fraction() const override { return std::nullopt; }

 private:
  std::string bytes_;
  size_t piece_;
  size_t done_ = 0;
};

std::vector<std::optional<std::string>> ReadAll(RecordInput& input) {
  std::vector<std::optional<std::string>> records;
  while (input.Next()) {
    records.emplace_back(input.record() ? std::optional<std::string>(*input.record()) : std::nullopt);
    EXPECT_EQ(input.number(), static_cast<int64_t>(records.size()));
  }
  return records;
}

std::vector<std::optional<std::string>> Lines(std::string text, size_t piece = 1 << 20) {
  RecordInput input(std::make_unique<PieceSource>(std::move(text), piece), Framing::kLines);
  auto lines = ReadAll(input);
  EXPECT_TRUE(input.status().ok()) << input.status();
  return lines;
}

std::string Prefixed(const std::string& value) {
  const auto size = static_cast<uint32_t>(value.size());
  return std::string{static_cast<char>(size >> 24), static_cast<char>(size >> 16), static_cast<char>(size >> 8),
                     static_cast<char>(size)} +
         value;
}

class TempFile {
 public:
  TempFile(const std::string& suffix, const std::string& bytes)
      : path_(testing::TempDir() + "/line_reader_" + std::to_string(getpid()) + suffix) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~TempFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string Gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

TEST(Lines, EndAtNewlinesAndTheLastNeedsNone) {
  EXPECT_THAT(Lines("a\nbc\n"), ElementsAre("a", "bc"));
  EXPECT_THAT(Lines("a\nbc"), ElementsAre("a", "bc"));
  EXPECT_THAT(Lines(""), ElementsAre());
}

TEST(Lines, KeepEmptyOnesCarriageReturnsAndZeroBytes) {
  EXPECT_THAT(Lines("\n\na\r\n\0\n"s), ElementsAre("", "", "a\r", "\0"s));
}

TEST(Lines, AreTheSameHoweverTheyArrive) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  std::vector<std::optional<std::string>> expected;
  std::string text;
  for (int i = 0; i < 2000; ++i) {
    expected.emplace_back(std::string(random() % 2000, static_cast<char>('a' + i % 26)));
    text += *expected.back() + "\n";
  }
  for (size_t piece : {size_t{1}, size_t{7}, size_t{4096}, size_t{65536}, size_t{10'000'000}})
    EXPECT_EQ(Lines(text, piece), expected) << piece;
}

TEST(Lines, MayBeManyMegabytesLong) {
  const std::string large(5'000'000, 'x');
  EXPECT_TRUE(Lines("a\n" + large + "\nb\n" + large, 65536) ==
              std::vector<std::optional<std::string>>({"a", large, "b", large}));
}

TEST(Lines, LongerThanAnyRecordAreRefused) {
  RecordInput input(std::make_unique<PieceSource>("a\n" + std::string(kRecordBytesMax + 2, 'x') + "\n", 1 << 20),
                    Framing::kLines);
  EXPECT_EQ(ReadAll(input).size(), 1u);
  EXPECT_TRUE(absl::IsInvalidArgument(input.status()));
}

TEST(LengthPrefixed, TakesAnyBytesAndNull) {
  const std::string binary = "\n\0\xff"s;
  for (size_t piece : {1, 3, 100}) {
    RecordInput input(
        std::make_unique<PieceSource>(Prefixed(binary) + Prefixed("") + "\xff\xff\xff\xff" + Prefixed("z"), piece),
        Framing::kLengthPrefixed);
    EXPECT_THAT(ReadAll(input), ElementsAre(binary, "", std::nullopt, "z"));
    EXPECT_TRUE(input.status().ok());
  }
}

TEST(LengthPrefixed, RefusesWhatIsCutShortOrNoLength) {
  for (const std::string& tail : {"\0"s, "\0\0\0\5abc"s, "\xff\xff\xff\xfe"s, "text without any length"s}) {
    RecordInput input(std::make_unique<PieceSource>(Prefixed("ok") + tail, 2), Framing::kLengthPrefixed);
    EXPECT_THAT(ReadAll(input), ElementsAre("ok"));
    EXPECT_TRUE(absl::IsInvalidArgument(input.status())) << tail;
  }
}

TEST(Gzip, IsUnpackedMembersOneAfterTheOther) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "line " + std::to_string(i) + "\n";
  TempFile file(".gz", Gzip(text) + Gzip("and more\n") + Gzip(""));
  RecordInput input(*OpenInput(file.path()), Framing::kLines);
  auto lines = ReadAll(input);
  EXPECT_TRUE(input.status().ok()) << input.status();
  ASSERT_EQ(lines.size(), 100'001u);
  EXPECT_EQ(lines[99'999], "line 99999");
  EXPECT_EQ(lines[100'000], "and more");
  EXPECT_EQ(input.Fraction(), 1.0);
}

TEST(Gzip, CutShortOrDamagedIsAnErrorAfterTheLinesThatAreSound) {
  const std::string packed = Gzip("some lines\nof text\n" + std::string(100'000, 'x'));
  TempFile cut(".gz", packed.substr(0, packed.size() - 4));
  RecordInput input(*OpenInput(cut.path()), Framing::kLines);
  EXPECT_THAT(ReadAll(input), testing::Contains("some lines"));
  EXPECT_TRUE(absl::IsDataLoss(input.status()));
  EXPECT_THAT(std::string(input.status().message()), HasSubstr("cut short"));

  TempFile plain(".gz", "not gzip at all, although the name says so");
  RecordInput other(*OpenInput(plain.path()), Framing::kLines);
  EXPECT_THAT(ReadAll(other), ElementsAre());
  EXPECT_TRUE(absl::IsDataLoss(other.status()));
}

TEST(OpenInput, NamesTheFileAndTheCause) {
  absl::StatusOr<std::unique_ptr<ByteSource>> missing = OpenInput("/no/such/file");
  EXPECT_THAT(std::string(missing.status().message()),
              testing::AllOf(HasSubstr("/no/such/file"), HasSubstr("No such file")));
  EXPECT_FALSE(OpenInput(testing::TempDir()).ok());
}

}  // namespace
}  // namespace millrace::cli
