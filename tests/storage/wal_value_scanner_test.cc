// The scanner against WAL files that RocksDB wrote: every place it reports holds the value, and none is missed.

#include "storage/wal_value_scanner.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "proto/wire/crc32c.h"
#include "tests/storage/temp_dir.h"

namespace millrace::storage {
namespace {

constexpr uint32_t kBytesMin = 4096;

struct FoundValue {
  std::string key;
  WalValue value;
};

std::vector<FoundValue> ScanInPieces(const std::string& wal, std::mt19937_64& random, size_t piece_max) {
  std::vector<FoundValue> found;
  WalValueScanner scanner(kBytesMin, [&](std::string_view key, const WalValue& value) {
    found.push_back({std::string(key), value});
  });
  for (size_t at = 0; at < wal.size();) {
    const size_t size = std::min<size_t>(1 + random() % piece_max, wal.size() - at);
    scanner.Scan(std::string_view(wal).substr(at, size));
    at += size;
  }
  return found;
}

std::string BytesAt(const std::string& wal, const WalValue& value) {
  std::string bytes;
  for (uint64_t i = 0; i < value.bytes; ++i) bytes += wal[WalPosition(value.offset, i)];
  return bytes;
}

// A database that is only written to; its one WAL file.
class Wal {
 public:
  explicit Wal(rocksdb::CompressionType compression = rocksdb::kNoCompression) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.wal_compression = compression;
    rocksdb::DB* db = nullptr;
    EXPECT_TRUE(rocksdb::DB::Open(options, directory_.path(), &db).ok());
    db_.reset(db);
  }
  void Write(rocksdb::WriteBatch& batch) { ASSERT_TRUE(db_->Write({}, &batch).ok()); }
  std::string Bytes() const {
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      if (entry.path().extension() != ".log") continue;
      std::ifstream file(entry.path(), std::ios::binary);
      return {std::istreambuf_iterator<char>(file), {}};
    }
    return "";
  }

 private:
  TempDir directory_;
  std::unique_ptr<rocksdb::DB> db_;
};

std::string RandomBytes(std::mt19937_64& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST(WalValueScanner, FindsEveryLargeValueWhereItLies) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  Wal wal;
  std::map<std::string, std::string> large;
  const size_t sizes[] = {0, 10, 4095, 4096, 4097, 32'700, 32'761, 32'768, 65'522, 70'000, 300'000};
  for (int i = 0; i < 300; ++i) {
    rocksdb::WriteBatch batch;
    for (uint64_t n = random() % 4; n <= 3; ++n) {
      const std::string key = "key " + std::to_string(i) + " " + std::to_string(n);
      const std::string value = RandomBytes(random, sizes[random() % std::size(sizes)] + random() % 3);
      if (random() % 4 == 0) batch.Delete("gone");
      if (random() % 4 == 0) batch.DeleteRange("a", "b");
      batch.Put(key, value);
      if (value.size() >= kBytesMin) large[key] = value;
    }
    wal.Write(batch);
  }
  const std::string bytes = wal.Bytes();
  for (size_t piece_max : {size_t{1}, size_t{100}, size_t{100'000}, bytes.size()}) {
    const auto found = ScanInPieces(bytes, random, piece_max);
    ASSERT_EQ(found.size(), large.size()) << "pieces of up to " << piece_max;
    for (const auto& [key, value] : found) {
      ASSERT_EQ(BytesAt(bytes, value), large[key]) << key;
      ASSERT_EQ(value.crc, Crc32c(Crc32c(0, key), large[key])) << key;
    }
  }
}

TEST(WalValueScanner, AnUnknownRecordHidesTheRestOfItsBatchOnly) {
  Wal wal;
  const std::string large(10'000, 'x');
  rocksdb::WriteBatch first;
  first.Put("before", large);
  first.PutLogData("known");
  first.Put("between", large);
  first.SingleDelete("a record that a batch of ours never has");
  first.Put("after", large);
  rocksdb::WriteBatch second;
  second.Put("next", large);
  wal.Write(first);
  wal.Write(second);
  std::mt19937_64 random(1);
  const auto found = ScanInPieces(wal.Bytes(), random, 1000);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].key, "before");
  EXPECT_EQ(found[1].key, "between");
  EXPECT_EQ(found[2].key, "next");
}

TEST(WalValueScanner, FindsNothingInACompressedLog) {
  Wal wal(rocksdb::kZSTD);
  rocksdb::WriteBatch batch;
  std::mt19937_64 random(1);
  batch.Put("key", RandomBytes(random, 100'000));
  wal.Write(batch);
  EXPECT_TRUE(ScanInPieces(wal.Bytes(), random, 1000).empty());
}

// Whatever the bytes are: what is reported lies inside them and has the checksum that it says.
TEST(WalValueScanner, NeverReportsWhatIsNotThere) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  Wal wal;
  for (int i = 0; i < 20; ++i) {
    rocksdb::WriteBatch batch;
    batch.Put("key " + std::to_string(i), RandomBytes(random, 20'000));
    wal.Write(batch);
  }
  const std::string whole = wal.Bytes();
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole;
    for (uint64_t flips = 1 + random() % 4; flips > 0; --flips) {
      const size_t at = random() % 3 == 0 ? random() % bytes.size() : random() % 14 * kWalBlockBytes + random() % 64;
      if (at < bytes.size()) bytes[at] = static_cast<char>(random());
    }
    for (const auto& [key, value] : ScanInPieces(bytes, random, 50'000)) {
      ASSERT_LE(WalPosition(value.offset, value.bytes - 1) + 1, bytes.size());
      ASSERT_EQ(value.crc, Crc32c(Crc32c(0, key), BytesAt(bytes, value)));
    }
  }
}

TEST(WalPosition, SkipsTheHeaderOfEachBlock) {
  EXPECT_EQ(WalPosition(7, 0), 7u);
  EXPECT_EQ(WalPosition(7, 32'760), 32'767u);
  EXPECT_EQ(WalPosition(7, 32'761), 32'775u);
  EXPECT_EQ(WalPosition(7, 2 * 32'761), 65'543u);
  EXPECT_EQ(WalPosition(40'000, 100'000), 40'000u + 100'000 + 3 * 7);
}

}  // namespace
}  // namespace millrace::storage
