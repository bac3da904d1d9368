#include "client/cli/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace millrace::cli {
namespace {

// A value is kept as its highest 8 bits: its bucket is 128 times the number of bits cut off, plus those 8 bits.
constexpr int kPrecisionBits = 7;
constexpr int64_t kPerPower = int64_t{1} << kPrecisionBits;
constexpr int64_t kBuckets = (64 - kPrecisionBits) * kPerPower;

int64_t BucketOf(int64_t value) {
  auto bits = static_cast<uint64_t>(std::max<int64_t>(0, value));
  int shift = std::max(0, static_cast<int>(std::bit_width(bits)) - (kPrecisionBits + 1));
  return shift * kPerPower + static_cast<int64_t>(bits >> shift);
}

// Largest value that falls into the bucket.
int64_t TopOf(int64_t bucket) {
  int64_t shift = std::max<int64_t>(0, bucket / kPerPower - 1);
  int64_t kept = bucket - shift * kPerPower;
  return static_cast<int64_t>(((static_cast<uint64_t>(kept) + 1) << shift) - 1);
}

}  // namespace

Histogram::Histogram() : buckets_(kBuckets) {}

void Histogram::Record(int64_t value) {
  ++buckets_[BucketOf(value)];
  ++count_;
}

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
}

void Histogram::Subtract(const Histogram& earlier) {
  for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] -= earlier.buckets_[i];
  count_ -= earlier.count_;
}

int64_t Histogram::Percentile(double percentile) const {
  int64_t rank = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(percentile / 100 * static_cast<double>(count_))));
  int64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) return TopOf(static_cast<int64_t>(i));
  }
  return 0;
}

LatencyRecorder::LatencyRecorder() : buckets_(new std::atomic<int64_t>[kBuckets]()) {}

void LatencyRecorder::Record(int64_t value) {
  std::atomic<int64_t>& bucket = buckets_[BucketOf(value)];
  bucket.store(bucket.load(std::memory_order_relaxed) + 1,
               std::memory_order_relaxed);  // one writer: no locked instruction
}

Histogram LatencyRecorder::Snapshot() const {
  Histogram snapshot;
  for (int64_t i = 0; i < kBuckets; ++i) {
    snapshot.buckets_[i] = buckets_[i].load(std::memory_order_relaxed);
    snapshot.count_ += snapshot.buckets_[i];
  }
  return snapshot;
}

}  // namespace millrace::cli
