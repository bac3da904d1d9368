// Which partition a key belongs to: partitioner 1 of TopicMetadata, exactly Kafka's default.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

// MurmurHash2, 32 bit, with Kafka's seed (0x9747b28c), as org.apache.kafka.common.utils.Utils.murmur2.
uint32_t Murmur2(std::string_view key);

// (murmur2(key) & 0x7fffffff) % partitions. partitions >= 1.
int32_t PartitionForKey(std::string_view key, int32_t partitions);

}  // namespace millrace
