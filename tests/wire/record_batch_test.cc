#include "proto/wire/record_batch.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/wire/crc32c.h"
#include "tests/wire/random_input.h"

namespace millrace {
namespace {

using testing::HasSubstr;

// A record that owns its bytes.
struct OwnedRecord {
  int64_t timestamp = 0;
  std::optional<std::string> key, value;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers;

  RecordView view() const {
    RecordView record{.timestamp = timestamp, .key = key, .value = value};
    for (const auto& [key, value] : headers) record.headers.push_back({key, value});
    return record;
  }
};

OwnedRecord Own(const RecordView& record) {
  OwnedRecord owned{.timestamp = record.timestamp};
  if (record.key) owned.key.emplace(*record.key);
  if (record.value) owned.value.emplace(*record.value);
  for (const HeaderView& header : record.headers) {
    auto& [key, value] = owned.headers.emplace_back(header.key, std::nullopt);
    if (header.value) value.emplace(*header.value);
  }
  return owned;
}

bool operator==(const OwnedRecord& a, const OwnedRecord& b) {
  return a.timestamp == b.timestamp && a.key == b.key && a.value == b.value && a.headers == b.headers;
}

OwnedRecord RandomRecord(RandomInput& random) {
  OwnedRecord record{.timestamp = random.OneIn(3) ? random.SignedNumber() : int64_t{1700000000000}};
  if (!random.OneIn(4)) record.key = random.SomeBytes();
  if (!random.OneIn(4)) record.value = random.SomeBytes();
  for (size_t n = random.OneIn(2) ? random.Below(4) : 0; n > 0; --n) {
    auto& [key, value] = record.headers.emplace_back(random.Text(), std::nullopt);
    if (!random.OneIn(3)) value = random.SomeBytes();
  }
  return record;
}

absl::Cord BatchOf(std::initializer_list<std::string_view> values, BatchBuilder::Options options = {}) {
  BatchBuilder builder;
  for (std::string_view value : values) builder.Add({.timestamp = 1000, .value = value});
  return builder.Finish(options);
}

BatchView Parsed(const absl::Cord& bytes) {
  auto batch = ParseBatch(bytes);
  EXPECT_TRUE(batch.ok()) << batch.status();
  return *std::move(batch);
}

absl::Status ReadAll(const BatchView& batch, std::vector<OwnedRecord>* records = nullptr,
                     RecordReader::Options options = {}) {
  RecordReader reader(batch, options);
  while (reader.Next()) {
    if (records != nullptr) records->push_back(Own(reader.record()));
  }
  EXPECT_FALSE(reader.Next()) << "the end is the end";
  return reader.status();
}

TEST(RecordBatch, RecordsComeBackAsTheyWereAdded) {
  RandomInput random;
  for (int i = 0; i < 300; ++i) {
    const Codec codec = std::array{Codec::kNone, Codec::kLz4, Codec::kZstd}[random.Below(3)];
    BatchBuilder builder(random.OneIn(2) ? 0 : random.Below(10'000));
    for (int round = 0; round < 2; ++round) {  // the second with what the builder kept
      std::vector<OwnedRecord> added;
      for (size_t n = random.Below(random.OneIn(10) ? 300 : 10) + 1; n > 0; --n) {
        added.push_back(RandomRecord(random));
        const size_t before = builder.payload_bytes();
        builder.Add(added.back().view());
        EXPECT_LE(builder.payload_bytes(), before + BatchBuilder::SizeBound(added.back().view()));
      }
      const int64_t payload_bytes = builder.payload_bytes();
      const absl::Cord bytes =
          builder.Finish({.codec = codec, .producer_id = 7, .producer_epoch = 2, .base_sequence = 40});
      EXPECT_TRUE(builder.empty());
      EXPECT_EQ(builder.payload_bytes(), 0);

      const BatchView batch = Parsed(random.Chunked(std::string(bytes)));
      const BatchHeader& header = batch.header;
      EXPECT_EQ(header.record_count, added.size());
      EXPECT_EQ(header.base_timestamp, added[0].timestamp);
      EXPECT_EQ(header.max_timestamp, std::ranges::max(added, {}, &OwnedRecord::timestamp).timestamp);
      EXPECT_EQ(header.payload_format, 1);
      EXPECT_EQ(header.producer_id, 7);
      EXPECT_EQ(header.producer_epoch, 2);
      EXPECT_EQ(header.base_sequence, 40);
      EXPECT_EQ(header.crc32c, ComputeBatchCrc(header, batch.payload));
      if (header.codec == 0) {
        EXPECT_EQ(*CountRecords(batch.payload), added.size());
        EXPECT_EQ(batch.payload.size(), payload_bytes);
      } else {
        EXPECT_EQ(header.codec, static_cast<int32_t>(codec));
        EXPECT_EQ(header.uncompressed_bytes, payload_bytes);
        EXPECT_LT(batch.payload.size(), payload_bytes);
      }
      std::vector<OwnedRecord> read;
      const absl::Status status = ReadAll(batch, &read);
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_TRUE(read == added);
    }
  }
}

TEST(RecordBatch, NullEmptyAndUnsetAreKeptApart) {
  BatchBuilder builder;
  builder.Add({.timestamp = 5});
  builder.Add({.timestamp = 5, .key = "", .value = ""});
  builder.Add({.timestamp = 5, .headers = {{.key = "a", .value = std::nullopt}, {.key = "", .value = ""}}});
  std::vector<OwnedRecord> read;
  ASSERT_TRUE(ReadAll(Parsed(builder.Finish({})), &read).ok());
  EXPECT_FALSE(read[0].key || read[0].value);
  EXPECT_TRUE(read[1].key == "" && read[1].value == "");
  EXPECT_FALSE(read[2].headers[0].second);
  EXPECT_EQ(read[2].headers[1].second, "");
}

TEST(RecordBatch, TimestampsSpanTheWholeRange) {
  BatchBuilder builder;
  builder.Add({.timestamp = INT64_MIN});
  builder.Add({.timestamp = INT64_MAX});
  builder.Add({.timestamp = -1});
  std::vector<OwnedRecord> read;
  ASSERT_TRUE(ReadAll(Parsed(builder.Finish({})), &read).ok());
  EXPECT_EQ(read[0].timestamp, INT64_MIN);
  EXPECT_EQ(read[1].timestamp, INT64_MAX);
  EXPECT_EQ(read[2].timestamp, -1);
}

TEST(RecordBatch, UncompressedBatchIsOneChunkInTheBuildersOwnBuffer) {
  const std::string value(10'000, 'v');
  BatchBuilder builder(100'000);
  for (int i = 0; i < 9; ++i) builder.Add({.value = value});
  const absl::Cord bytes = builder.Finish({});
  EXPECT_EQ(std::distance(bytes.chunk_begin(), bytes.chunk_end()), 1);
}

TEST(RecordBatch, PayloadSharesTheReceivedBuffer) {
  const absl::Cord bytes = BatchOf({std::string(5000, 'a'), std::string(5000, 'b')});
  const absl::string_view received = *bytes.TryFlat();
  const BatchView batch = Parsed(bytes);
  const absl::string_view payload = *batch.payload.TryFlat();
  EXPECT_GE(payload.data(), received.data());
  EXPECT_EQ(payload.data() + payload.size(), received.data() + received.size());
}

TEST(RecordBatch, EffectiveMaxTimestampFallsBackToBase) {
  EXPECT_EQ((BatchHeader{.base_timestamp = 5}).EffectiveMaxTimestamp(), 5);
  EXPECT_EQ((BatchHeader{.base_timestamp = 5, .max_timestamp = 9}).EffectiveMaxTimestamp(), 9);
}

TEST(RecordBatch, TinyBatchesStayUncompressedWhenThatIsSmaller) {
  const BatchView batch = Parsed(BatchOf({"x"}, {.codec = Codec::kZstd}));
  EXPECT_EQ(batch.header.codec, 0);
  EXPECT_EQ(batch.header.uncompressed_bytes, 0);
  EXPECT_TRUE(ReadAll(batch).ok());
}

// The table of record.proto, with a shift for each byte instead of the machine's order.
TEST(RecordBatchCrc, CoversTheLayoutInTheProtoFile) {
  RandomInput random;
  for (int i = 0; i < 50; ++i) {
    const BatchHeader header{.base_timestamp = random.SignedNumber(),
                             .max_timestamp = random.SignedNumber(),
                             .record_count = static_cast<int32_t>(random.SignedNumber()),
                             .codec = static_cast<int32_t>(random.SignedNumber()),
                             .payload_format = static_cast<int32_t>(random.SignedNumber()),
                             .producer_id = random.SignedNumber(),
                             .producer_epoch = static_cast<int32_t>(random.SignedNumber()),
                             .base_sequence = static_cast<int32_t>(random.SignedNumber()),
                             .crc32c = 12345,
                             .ttl_ms = random.SignedNumber(),
                             .deliver_at = random.SignedNumber(),
                             .transaction_id = random.SignedNumber(),
                             .schema_id = static_cast<int32_t>(random.SignedNumber()),
                             .uncompressed_bytes = random.SignedNumber()};
    const std::string payload = random.SomeBytes();
    std::string covered;
    auto put = [&](int64_t value, int bytes) {
      for (int shift = 0; shift < 8 * bytes; shift += 8) covered += static_cast<char>(value >> shift & 0xff);
    };
    put(header.base_timestamp, 8);
    put(header.max_timestamp, 8);
    put(header.record_count, 4);
    put(header.codec, 4);
    put(header.payload_format, 4);
    put(header.producer_epoch, 4);
    put(header.producer_id, 8);
    put(header.base_sequence, 4);
    put(header.schema_id, 4);
    put(header.ttl_ms, 8);
    put(header.deliver_at, 8);
    put(header.transaction_id, 8);
    put(header.uncompressed_bytes, 8);
    ASSERT_EQ(covered.size(), 80);
    EXPECT_EQ(ComputeBatchCrc(header, random.Chunked(payload)), Crc32c(0, covered + payload));
  }
}

TEST(RecordBatchCrc, AppendedOneCountsAndKeepsTheOtherBytes) {
  const absl::Cord plain = SerializeBatch({.record_count = 1}, absl::Cord(absl::string_view("\x0a\x00", 2)));
  const uint32_t crc = ComputeBatchCrc({.record_count = 1}, absl::Cord(absl::string_view("\x0a\x00", 2)));
  EXPECT_FALSE(Parsed(plain).header.crc32c);
  const absl::Cord with_crc = AppendCrc(plain, crc);
  EXPECT_TRUE(with_crc.StartsWith(plain));
  EXPECT_EQ(Parsed(with_crc).header.crc32c, crc);
  EXPECT_TRUE(ReadAll(Parsed(with_crc)).ok());
}

TEST(RecordReader, FindsDamageByTheChecksum) {
  BatchView batch = Parsed(BatchOf({"value"}));
  batch.header.record_count = 2;
  const absl::Status status = ReadAll(batch);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("CRC-32C"));
}

TEST(RecordReader, FindsAWrongCountEitherWay) {
  BatchView batch = Parsed(BatchOf({"a", "b", "c"}));
  for (const int32_t count : {-1, 0, 2, 4}) {
    batch.header.record_count = count;
    std::vector<OwnedRecord> read;
    EXPECT_EQ(ReadAll(batch, &read, {.check_crc = false}).code(), absl::StatusCode::kDataLoss);
    EXPECT_LE(read.size(), std::max(count, 0)) << "a record beyond the count would have the next batch's offset";
  }
}

TEST(RecordReader, ReadsBatchesWithoutChecksum) {
  BatchView batch = Parsed(BatchOf({"a"}));
  batch.header.crc32c.reset();
  EXPECT_TRUE(ReadAll(batch).ok());
}

TEST(RecordReader, RefusesFormatsAndCodecsOfLaterReleases) {
  BatchView batch = Parsed(BatchOf({"a"}));
  batch.header.crc32c.reset();
  batch.header.payload_format = 2;
  EXPECT_EQ(ReadAll(batch).code(), absl::StatusCode::kUnimplemented);
  batch.header.payload_format = 0;
  batch.header.codec = 9;
  EXPECT_EQ(ReadAll(batch).code(), absl::StatusCode::kUnimplemented);
}

TEST(RecordReader, StopsADecompressionBomb) {
  BatchBuilder builder;
  const std::string zeros(20 << 20, '\0');
  builder.Add({.value = zeros});
  const BatchView batch = Parsed(builder.Finish({.codec = Codec::kZstd}));
  ASSERT_LT(batch.payload.size(), 10'000);
  EXPECT_EQ(ReadAll(batch, nullptr, {.size_max = 1 << 20}).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ReadAll(batch).ok());
}

TEST(RecordReader, DamagedPayloadsEndInAStatusAndReadNothingElse) {
  RandomInput random;
  for (int i = 0; i < 5000; ++i) {
    std::string payload;
    if (random.OneIn(4)) {
      payload = random.SomeBytes();
    } else {
      BatchBuilder builder;
      for (size_t n = random.Below(5) + 1; n > 0; --n) builder.Add(RandomRecord(random).view());
      payload = random.Damaged(std::string(Parsed(builder.Finish({})).payload));
    }
    const absl::Cord chunks = random.Chunked(payload);
    const auto count = CountRecords(chunks);
    BatchView batch{.header = {.record_count = static_cast<int32_t>(count.value_or(3))}, .payload = chunks};
    std::vector<OwnedRecord> read;
    const absl::Status status = ReadAll(batch, &read);
    if (status.ok()) {
      EXPECT_TRUE(count.ok());
      EXPECT_EQ(read.size(), *count);
    } else {
      EXPECT_THAT(status.code(), testing::AnyOf(absl::StatusCode::kInvalidArgument, absl::StatusCode::kDataLoss));
    }
  }
}

TEST(ParseBatch, DamagedBytesEndInAStatus) {
  RandomInput random;
  const std::string bytes(BatchOf({"one", "two"}, {.producer_id = 1 << 20}));
  int refused = 0;
  for (int i = 0; i < 5000; ++i) {
    auto batch = ParseBatch(random.Chunked(random.OneIn(4) ? random.SomeBytes() : random.Damaged(bytes)));
    if (batch.ok()) continue;
    EXPECT_EQ(batch.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(batch.status().message()), HasSubstr("not a RecordBatch: malformed protobuf at byte"));
    ++refused;
  }
  EXPECT_GT(refused, 1000);
}

TEST(CountRecords, WalksTagsOverChunkBoundaries) {
  RandomInput random;
  BatchBuilder builder;
  for (int i = 0; i < 1000; ++i) builder.Add(RandomRecord(random).view());
  const std::string payload(Parsed(builder.Finish({})).payload);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(*CountRecords(random.Chunked(payload)), 1000);
  EXPECT_EQ(*CountRecords(absl::Cord()), 0);
}

TEST(CountRecords, RefusesWhatIsNoListOfRecords) {
  const std::string bad[] = {
      "\x0a",  // no length
      "\x0a\x05"
      "abcd",                                          // longer than what is there
      "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  // a length of 2^64 - 1
      "\x0b",                                          // a group
      std::string(1, '\0'),                            // field 0
  };
  for (const std::string& payload : bad) {
    EXPECT_EQ(CountRecords(absl::Cord(payload)).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(BatchBuilderDeathTest, ABatchHasRecords) { EXPECT_DEATH(BatchBuilder().Finish({}), "at least one record"); }

}  // namespace
}  // namespace millrace
