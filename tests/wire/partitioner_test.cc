#include "proto/wire/partitioner.h"

#include "gtest/gtest.h"

namespace millrace {
namespace {

// Known values of Kafka's Utils.murmur2.
TEST(Partitioner, HashIsKafkas) {
  struct {
    std::string_view key;
    int32_t hash;
  } const known[] = {
      {"21", -973932308},
      {"foobar", -790332482},
      {"a-little-bit-long-string", -985981536},
      {"a-little-bit-longer-string", -1486304829},
      {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
      {"abc", 479470107},
  };
  for (const auto& [key, hash] : known) EXPECT_EQ(static_cast<int32_t>(Murmur2(key)), hash) << key;
}

TEST(Partitioner, ClearsTheSignBeforeTheRemainder) {
  EXPECT_EQ(PartitionForKey("21", 16), (-973932308 & 0x7fffffff) % 16);
  EXPECT_EQ(PartitionForKey("abc", 7), 479470107 % 7);
  EXPECT_EQ(PartitionForKey("foobar", 1), 0);
}

// Values from a separate implementation, in Python.
TEST(Partitioner, HashesBytesAsUnsignedAndEmptyKeys) {
  EXPECT_EQ(static_cast<int32_t>(Murmur2("\xff\xfe\xfd\xfc\xfb\xfa\xf9")), -166236347);
  EXPECT_EQ(static_cast<int32_t>(Murmur2("")), 275646681);
}

TEST(PartitionerDeathTest, NeedsAPartition) { EXPECT_DEATH(PartitionForKey("k", 0), "partitions >= 1"); }

}  // namespace
}  // namespace millrace
