#include <lz4frame.h>
#include <zstd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/wire/record_batch.h"
#include "tests/wire/random_input.h"

namespace millrace {
namespace {

constexpr size_t kSizeMax = 64 << 20;
constexpr int32_t kLz4 = static_cast<int32_t>(Codec::kLz4);
constexpr int32_t kZstd = static_cast<int32_t>(Codec::kZstd);

absl::StatusCode DecompressCode(int32_t codec, std::string_view bytes, int64_t announced, size_t size_max = kSizeMax) {
  return Decompress(codec, absl::Cord(absl::string_view(bytes.data(), bytes.size())), announced, size_max)
      .status()
      .code();
}

// Frames as other producers make them: no content size, many small blocks.
std::string StreamedZstd(std::string_view bytes) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::string frame(ZSTD_compressBound(bytes.size()) + bytes.size() + 1000, '\0');
  ZSTD_outBuffer out{frame.data(), frame.size(), 0};
  for (size_t done = 0; done < bytes.size();) {
    const size_t n = std::min<size_t>(bytes.size() - done, 3000);
    ZSTD_inBuffer in{bytes.data() + done, n, 0};
    while (in.pos < in.size) ZSTD_compressStream2(context, &out, &in, ZSTD_e_flush);
    done += n;
  }
  ZSTD_inBuffer end{nullptr, 0, 0};
  EXPECT_EQ(ZSTD_compressStream2(context, &out, &end, ZSTD_e_end), 0);
  ZSTD_freeCCtx(context);
  frame.resize(out.pos);
  return frame;
}

std::string PlainLz4(std::string_view bytes) {
  std::string frame(LZ4F_compressFrameBound(bytes.size(), nullptr), '\0');
  frame.resize(LZ4F_compressFrame(frame.data(), frame.size(), bytes.data(), bytes.size(), nullptr));
  return frame;
}

class CompressionTest : public testing::TestWithParam<Codec> {
 protected:
  int32_t codec() const { return static_cast<int32_t>(GetParam()); }
  std::string Foreign(std::string_view bytes) const {
    return GetParam() == Codec::kLz4 ? PlainLz4(bytes) : StreamedZstd(bytes);
  }
};

TEST_P(CompressionTest, GivesBackWhatWasPutIn) {
  RandomInput random;
  for (int i = 0; i < 200; ++i) {
    std::string bytes = random.SomeBytes();
    for (size_t n = random.Below(5); n > 0; --n) bytes += bytes;  // something to compress
    const absl::Cord payload = random.Chunked(bytes);
    const absl::Cord compressed = Compress(GetParam(), payload);
    for (const int64_t announced : {int64_t{0}, static_cast<int64_t>(bytes.size())}) {
      auto result = Decompress(codec(), random.Chunked(std::string(compressed)), announced, kSizeMax);
      ASSERT_TRUE(result.ok()) << result.status();
      ASSERT_EQ(*result, bytes);
    }
  }
}

TEST_P(CompressionTest, ReadsLargeFramesOfOthersAndFramesInARow) {
  RandomInput random;
  std::string bytes = random.Bytes(100'000);
  bytes += bytes + std::string(500'000, 'x');
  const std::string frames = Foreign(bytes) + Foreign("second");
  for (const int64_t announced : {int64_t{0}, static_cast<int64_t>(bytes.size() + 6)}) {
    auto result = Decompress(codec(), random.Chunked(frames), announced, kSizeMax);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(*result == bytes + "second");
  }
}

TEST_P(CompressionTest, AnnouncedSizeMustBeTrue) {
  for (const std::string& frame :
       {Foreign(std::string(1000, 'x')), std::string(Compress(GetParam(), absl::Cord(std::string(1000, 'x'))))}) {
    EXPECT_EQ(DecompressCode(codec(), frame, 1000), absl::StatusCode::kOk);
    EXPECT_EQ(DecompressCode(codec(), frame, 999), absl::StatusCode::kDataLoss);
    EXPECT_EQ(DecompressCode(codec(), frame, 10), absl::StatusCode::kDataLoss);
    EXPECT_EQ(DecompressCode(codec(), frame, 1001), absl::StatusCode::kDataLoss);
    EXPECT_EQ(DecompressCode(codec(), frame, -1), absl::StatusCode::kDataLoss);
    EXPECT_EQ(DecompressCode(codec(), frame, INT64_MAX), absl::StatusCode::kResourceExhausted);
  }
}

TEST_P(CompressionTest, BombsStopAtTheLimit) {
  const std::string bomb = Foreign(std::string(30 << 20, 'x'));
  EXPECT_LT(bomb.size(), 400'000);
  for (const int64_t announced : {0, 1 << 20, 30 << 20}) {
    EXPECT_EQ(DecompressCode(codec(), bomb, announced, /*size_max=*/(1 << 20) - 1),
              absl::StatusCode::kResourceExhausted);
  }
  EXPECT_EQ(DecompressCode(codec(), bomb, 0, /*size_max=*/30 << 20), absl::StatusCode::kOk);
  EXPECT_EQ(DecompressCode(codec(), bomb, 0, /*size_max=*/(30 << 20) - 1), absl::StatusCode::kResourceExhausted);
}

TEST_P(CompressionTest, CutOffAndEmptyInputIsDamage) {
  const std::string frame = Foreign(std::string(1000, 'x') + "tail");
  for (size_t size = 0; size < frame.size(); ++size) {
    for (const int64_t announced : {0, 1004}) {
      ASSERT_EQ(DecompressCode(codec(), frame.substr(0, size), announced), absl::StatusCode::kDataLoss) << size;
    }
  }
  EXPECT_EQ(DecompressCode(codec(), frame + "garbage", 0), absl::StatusCode::kDataLoss);
}

TEST_P(CompressionTest, DamagedInputEndsInAStatus) {
  RandomInput random;
  const std::string bytes = random.Bytes(300) + std::string(3000, 'x');
  for (int i = 0; i < 2000; ++i) {
    const std::string damaged = random.OneIn(4) ? random.SomeBytes() : random.Damaged(Foreign(bytes));
    auto result = Decompress(codec(), random.Chunked(damaged), random.OneIn(2) ? 0 : 3300, 1 << 20);
    if (result.ok()) {
      EXPECT_LE(result->size(), 1 << 20);
    } else {
      EXPECT_THAT(result.status().code(),
                  testing::AnyOf(absl::StatusCode::kDataLoss, absl::StatusCode::kResourceExhausted));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, CompressionTest, testing::Values(Codec::kLz4, Codec::kZstd),
                         [](const auto& info) { return info.param == Codec::kLz4 ? "Lz4" : "Zstd"; });

TEST(Compression, NoneIsThePayloadItself) {
  const absl::Cord payload("abc");
  EXPECT_EQ(Compress(Codec::kNone, payload), payload);
  EXPECT_EQ(*Decompress(0, payload, 0, 3), payload);
  EXPECT_EQ(DecompressCode(0, "abcd", 0, 3), absl::StatusCode::kResourceExhausted);
}

TEST(Compression, UnknownCodecsAreUnimplemented) {
  for (const int32_t codec : {1, 2, 5, -1})
    EXPECT_EQ(DecompressCode(codec, "abc", 3), absl::StatusCode::kUnimplemented);
}

TEST(Compression, OneCodecDoesNotReadTheOther) {
  EXPECT_EQ(DecompressCode(kZstd, PlainLz4("abc"), 3), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecompressCode(kLz4, StreamedZstd("abc"), 3), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace millrace
