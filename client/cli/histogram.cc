#include "client/cli/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace millrace::cli {
namespace {

// A value v is kept as its highest kPrecisionBits + 1 bits: bucket = (shift + 1) * 128 + those bits without the leading one.
constexpr int kPrecisionBits = 7;
constexpr int64_t kPerPower = int64_t{1} << kPrecisionBits;
constexpr int64_t kBuckets = (64 - kPrecisionBits) * kPerPower;

int64_t BucketOf(int64_t value) {
  auto bits = static_cast<uint64_t>(value);
  int shift = std::max(0, static_cast<int>(std::bit_width(bits)) - (kPrecisionBits + 1));
  return shift * kPerPower + static_cast<int64_t>(bits >> shift);
}

// Largest value that falls into the bucket.
int64_t TopOf(int64_t bucket) {
  int64_t shift = std::max<int64_t>(0, bucket / kPerPower - 1);
  int64_t mantissa = bucket - shift * kPerPower;
  return static_cast<int64_t>(((static_cast<uint64_t>(mantissa) + 1) << shift) - 1);
}

}  // namespace

Histogram::Histogram() : buckets_(kBuckets) {}

void Histogram::Record(int64_t value) {
  value = std::max<int64_t>(0, value);
  ++buckets_[BucketOf(value)];
  ++count_;
  max_ = std::max(max_, value);
}

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

void Histogram::Reset() { *this = Histogram(); }

int64_t Histogram::Percentile(double percentile) const {
  if (count_ == 0) return 0;
  int64_t rank = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(percentile / 100 * static_cast<double>(count_))));
  int64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) return std::min(TopOf(static_cast<int64_t>(i)), max_);
  }
  return max_;
}

}  // namespace millrace::cli
