#include "storage/crc32c_override.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <rocksdb/db.h>

#include <cstdint>
#include <memory>
#include <string>

#include "tests/storage/temp_dir.h"

namespace rocksdb::crc32c {
uint32_t Extend(uint32_t init_crc, const char* data, size_t n);
uint32_t Crc32cCombine(uint32_t crc1, uint32_t crc2, size_t crc2len);
}  // namespace rocksdb::crc32c

namespace millrace::storage {
namespace {

uint32_t Crc(const std::string& data) { return rocksdb::crc32c::Extend(0, data.data(), data.size()); }

// RFC 3720, appendix B.4, and the usual check value.
TEST(Crc32cOverride, KnownVectors) {
  EXPECT_EQ(Crc(""), 0u);
  EXPECT_EQ(Crc("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc(std::string(32, '\xff')), 0x62a8ab43u);
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending.push_back(static_cast<char>(i));
  EXPECT_EQ(Crc(ascending), 0x46dd794eu);
  EXPECT_EQ(Crc(std::string(ascending.rbegin(), ascending.rend())), 0x113fdb5cu);
}

TEST(Crc32cOverride, ExtendingInPiecesGivesTheSame) {
  std::string data;
  for (int i = 0; i < 5000; ++i) data.push_back(static_cast<char>(i * 31 + i / 7));
  const uint32_t whole = Crc(data);
  for (size_t cut = 0; cut <= data.size(); cut += 313) {
    const uint32_t first = rocksdb::crc32c::Extend(0, data.data(), cut);
    EXPECT_EQ(rocksdb::crc32c::Extend(first, data.data() + cut, data.size() - cut), whole) << cut;
  }
}

// With the length of a whole fragment among the second's.
TEST(Crc32cOverride, CombiningGivesWhatTheWholeHas) {
  std::string data;
  for (int i = 0; i < 70'000; ++i) data.push_back(static_cast<char>(i * 31 + i / 7));
  const size_t first = 1'000;
  for (size_t second : {0, 1, 4095, 4096, 4097, 32'760, 32'761, 32'762, 69'000}) {
    const uint32_t crc = Crc(data.substr(first, second));
    EXPECT_EQ(rocksdb::crc32c::Crc32cCombine(Crc(data.substr(0, first)), crc, second),
              Crc(data.substr(0, first + second)))
        << second;
  }
}

TEST(Crc32cOverride, RocksDbCallsIt) {
  TempDir directory;
  ResetCrc32cCalled();
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* db = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, directory / "db", &db).ok());
  std::unique_ptr<rocksdb::DB> owner(db);
  EXPECT_TRUE(Crc32cCalled());
}

// Nothing tells whether it is called; but a library that has it under this name finds ours, as it finds Extend.
TEST(Crc32cOverride, RocksDbFindsTheOtherOneToo) {
  constexpr const char* kName = "_ZN7rocksdb6crc32c13Crc32cCombineEjjm";
  void* const rocksdb = dlopen("librocksdb.so.7.8", RTLD_LAZY | RTLD_NOLOAD);
  ASSERT_NE(rocksdb, nullptr) << dlerror();
  void* const theirs = dlsym(rocksdb, kName);
  void* const found = dlsym(RTLD_DEFAULT, kName);
  dlclose(rocksdb);
  ASSERT_NE(theirs, nullptr) << "RocksDB has no such function any more";
  EXPECT_NE(found, theirs);
  EXPECT_EQ(found, reinterpret_cast<void*>(&rocksdb::crc32c::Crc32cCombine));
}

}  // namespace
}  // namespace millrace::storage
