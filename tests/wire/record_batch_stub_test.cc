// Batches of our builder under protobuf's parser, and protobuf's under our reader.
#include "google/protobuf/stubs/logging.h"
#include "gtest/gtest.h"
#include "millrace/v1/record.pb.h"
#include "proto/wire/record_batch.h"
#include "tests/wire/random_stub.h"

namespace millrace {
namespace {

void ExpectSame(const RecordView& record, const v1::Record& stub, int64_t base_timestamp) {
  EXPECT_EQ(static_cast<uint64_t>(record.timestamp),
            static_cast<uint64_t>(base_timestamp) + static_cast<uint64_t>(stub.timestamp_delta()));
  ASSERT_EQ(record.key.has_value(), stub.has_key());
  ASSERT_EQ(record.value.has_value(), stub.has_value());
  EXPECT_EQ(record.key.value_or(""), stub.key());
  EXPECT_EQ(record.value.value_or(""), stub.value());
  ASSERT_EQ(record.headers.size(), stub.headers_size());
  for (int i = 0; i < stub.headers_size(); ++i) {
    EXPECT_EQ(record.headers[i].key, stub.headers(i).key());
    ASSERT_EQ(record.headers[i].value.has_value(), stub.headers(i).has_value());
    EXPECT_EQ(record.headers[i].value.value_or(""), stub.headers(i).value());
  }
}

RecordView ViewOf(const v1::Record& stub, int64_t base_timestamp) {
  RecordView record{.timestamp = static_cast<int64_t>(static_cast<uint64_t>(base_timestamp) +
                                                      static_cast<uint64_t>(stub.timestamp_delta()))};
  if (stub.has_key()) record.key = stub.key();
  if (stub.has_value()) record.value = stub.value();
  for (const v1::Header& header : stub.headers()) {
    HeaderView& view = record.headers.emplace_back(header.key(), std::nullopt);
    if (header.has_value()) view.value = header.value();
  }
  return record;
}

v1::Records RandomRecords(RandomInput& random, UnknownFields unknown) {
  v1::Records records;
  for (size_t n = random.Below(20) + 1; n > 0; --n) FillRandomly(random, unknown, records.add_records());
  return records;
}

TEST(RecordBatchStub, BuilderWritesTheBytesThatStubsWrite) {
  RandomInput random;
  for (int i = 0; i < 300; ++i) {
    v1::Records records = RandomRecords(random, UnknownFields::kNone);
    records.mutable_records(0)->clear_timestamp_delta();  // the first record's time is the batch's base
    const int64_t base_timestamp = random.SignedNumber();
    BatchBuilder builder;
    for (const v1::Record& record : records.records()) builder.Add(ViewOf(record, base_timestamp));
    const std::string bytes(builder.Finish({.producer_id = 5, .producer_epoch = -1, .base_sequence = INT32_MAX}));

    v1::RecordBatch stub;
    ASSERT_TRUE(stub.ParseFromString(bytes));
    EXPECT_EQ(stub.SerializeAsString(), bytes);
    EXPECT_EQ(stub.payload(), records.SerializeAsString());
    EXPECT_EQ(stub.base_timestamp(), base_timestamp);
    EXPECT_EQ(stub.record_count(), records.records_size());
    EXPECT_EQ(stub.producer_id(), 5);
    EXPECT_EQ(stub.producer_epoch(), -1);
    EXPECT_EQ(stub.base_sequence(), INT32_MAX);
    EXPECT_TRUE(stub.has_crc32c());
  }
}

TEST(RecordBatchStub, ReaderReadsWhatStubsWrite) {
  RandomInput random;
  for (int i = 0; i < 300; ++i) {
    const v1::Records records = RandomRecords(random, UnknownFields::kSome);
    v1::RecordBatch stub;
    stub.set_base_timestamp(random.SignedNumber());
    stub.set_record_count(records.records_size());
    stub.set_payload(records.SerializeAsString());
    auto batch = ParseBatch(random.Chunked(stub.SerializeAsString()));
    ASSERT_TRUE(batch.ok()) << batch.status();
    EXPECT_EQ(*CountRecords(batch->payload), records.records_size());
    RecordReader reader(*batch);
    while (reader.Next()) ExpectSame(reader.record(), records.records(reader.index()), stub.base_timestamp());
    EXPECT_TRUE(reader.status().ok()) << reader.status();
    EXPECT_EQ(reader.index() + 1, records.records_size());
  }
}

TEST(RecordBatchStub, HeaderFieldsAreThoseOfTheStub) {
  RandomInput random;
  for (int i = 0; i < 1000; ++i) {
    v1::RecordBatch stub;
    FillRandomly(random, UnknownFields::kSome, &stub);
    auto batch = ParseBatch(random.Chunked(stub.SerializeAsString()));
    ASSERT_TRUE(batch.ok()) << batch.status();
    const BatchHeader& header = batch->header;
    EXPECT_EQ(header.base_timestamp, stub.base_timestamp());
    EXPECT_EQ(header.max_timestamp, stub.max_timestamp());
    EXPECT_EQ(header.record_count, stub.record_count());
    EXPECT_EQ(header.codec, stub.codec());
    EXPECT_EQ(header.payload_format, stub.payload_format());
    EXPECT_EQ(header.producer_id, stub.producer_id());
    EXPECT_EQ(header.producer_epoch, stub.producer_epoch());
    EXPECT_EQ(header.base_sequence, stub.base_sequence());
    EXPECT_EQ(header.crc32c.has_value(), stub.has_crc32c());
    EXPECT_EQ(header.crc32c.value_or(0), stub.crc32c());
    EXPECT_EQ(header.ttl_ms, stub.ttl_ms());
    EXPECT_EQ(header.deliver_at, stub.deliver_at());
    EXPECT_EQ(header.transaction_id, stub.transaction_id());
    EXPECT_EQ(header.schema_id, stub.schema_id());
    EXPECT_EQ(header.uncompressed_bytes, stub.uncompressed_bytes());
    EXPECT_EQ(batch->payload, stub.payload());
    stub.DiscardUnknownFields();
    EXPECT_EQ(SerializeBatch(header, batch->payload), stub.SerializeAsString());
  }
}

TEST(RecordBatchStub, AppendedChecksumIsTheFieldsValue) {
  v1::RecordBatch stub;
  stub.set_record_count(1);
  stub.set_payload("abc");
  const absl::Cord bytes = AppendCrc(absl::Cord(stub.SerializeAsString()), 0xdeadbeef);
  stub.set_crc32c(0xdeadbeef);
  v1::RecordBatch parsed;
  ASSERT_TRUE(parsed.ParseFromString(std::string(bytes)));
  EXPECT_EQ(parsed.SerializeAsString(), stub.SerializeAsString());
}

TEST(RecordBatchStub, AgreesWithStubsOnDamagedRecordsThatBothTake) {
  RandomInput random;
  google::protobuf::LogSilencer silencer;
  int both = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string payload = random.Damaged(RandomRecords(random, UnknownFields::kNone).SerializeAsString());
    v1::Records stub;
    if (!stub.ParseFromString(payload)) continue;
    RecordReader reader({.header = {.record_count = stub.records_size()}, .payload = random.Chunked(payload)});
    while (reader.Next()) ExpectSame(reader.record(), stub.records(reader.index()), 0);
    both += reader.status().ok();
  }
  EXPECT_GT(both, 100);
}

}  // namespace
}  // namespace millrace
