#include "storage/wal_value_scanner.h"

#include <algorithm>
#include <cstring>

#include "proto/wire/crc32c.h"
#include "storage/little_endian.h"

namespace millrace::storage {
namespace {

constexpr int kVarint32ShiftMax = 28;

// Of a fragment that fills its block, without its header.
constexpr size_t kWholeFragmentBytes = kWalBlockBytes - kWalHeaderBytes;

// The checksum `crc` continued by the data of a whole fragment, by the checksum in its header: of the type, then the data.
uint32_t ContinueCrc(uint32_t crc, const char* header) {
  static const Crc32cShift shift(kWholeFragmentBytes);
  const uint32_t type_crc = Crc32c(0, std::string_view(header + 6, 1));
  return shift(crc ^ type_crc) ^ UnmaskedCrc(LittleEndianReader(std::string_view(header, 4)).Get<uint32_t>());
}

}  // namespace

void WalValueScanner::Scan(std::string_view bytes) {
  while (!bytes.empty() && !stopped_) {
    if (fragment_left_ == 0) {
      bytes.remove_prefix(ScanHeader(bytes));
      continue;
    }
    const size_t size = std::min(bytes.size(), fragment_left_);
    ScanBatch(bytes.substr(0, size));
    position_ += size;
    fragment_left_ -= size;
    bytes.remove_prefix(size);
    if (fragment_left_ == 0) EndFragment();
  }
}

size_t WalValueScanner::ScanHeader(std::string_view bytes) {
  const size_t block_left = kWalBlockBytes - position_ % kWalBlockBytes;
  if (header_bytes_ == 0 && block_left < kWalHeaderBytes) {  // zeros: no header fits
    const size_t size = std::min(bytes.size(), block_left);
    position_ += size;
    return size;
  }
  const size_t size = std::min(bytes.size(), kWalHeaderBytes - header_bytes_);
  std::memcpy(header_ + header_bytes_, bytes.data(), size);
  header_bytes_ += size;
  position_ += size;
  if (header_bytes_ == kWalHeaderBytes) BeginFragment();
  return size;
}

void WalValueScanner::BeginFragment() {
  header_bytes_ = 0;
  fragment_left_ = WalFragmentBytes(header_);
  fragment_type_ = static_cast<uint8_t>(header_[6]);
  const uint64_t in_block = position_ % kWalBlockBytes;
  if (in_block + fragment_left_ > kWalBlockBytes) return Stop();
  switch (fragment_type_) {
    case kFull:
    case kFirst:
      if (in_batch_) return Stop();
      in_batch_ = true;
      part_ = Part::kBatchHeader;
      left_ = kBatchHeaderBytes;
      break;
    case kMiddle:
    case kLast:
      if (!in_batch_ || in_block != kWalHeaderBytes) return Stop();
      break;
    default:
      return Stop();
  }
  if (fragment_left_ == 0) EndFragment();
}

void WalValueScanner::EndFragment() {
  if (fragment_type_ == kFull || fragment_type_ == kLast) {
    in_batch_ = false;
  } else if (position_ % kWalBlockBytes != 0) {
    Stop();
  }
}

void WalValueScanner::ScanBatch(std::string_view bytes) {
  batch_position_ = position_;
  while (!bytes.empty()) {
    const size_t size = ScanPart(bytes);
    batch_position_ += size;
    bytes.remove_prefix(size);
  }
}

// What the part that is being scanned takes of `bytes`.
size_t WalValueScanner::ScanPart(std::string_view bytes) {
  const size_t size = std::min(bytes.size(), left_);
  switch (part_) {
    case Part::kBatchHeader:
      left_ -= size;
      if (left_ == 0) part_ = Part::kTag;
      return size;
    case Part::kTag:
      BeginRecord(static_cast<uint8_t>(bytes[0]));
      return 1;
    case Part::kFamily:
    case Part::kKeyLength:
    case Part::kValueLength:
      return ScanLength(bytes);
    case Part::kKey:
      if (is_put_) key_.append(bytes.data(), size);
      left_ -= size;
      if (left_ == 0) part_ = has_value_ ? Part::kValueLength : Part::kTag;
      return size;
    case Part::kValue:
      if (keep_value_) {
        if (left_ == value_.bytes) value_.offset = batch_position_;
        value_.crc =
            size == kWholeFragmentBytes ? ContinueCrc(value_.crc, header_) : Crc32c(value_.crc, bytes.substr(0, size));
      }
      left_ -= size;
      if (left_ == 0) EndValue();
      return size;
    case Part::kUnknown:
      return bytes.size();
  }
  return bytes.size();
}

void WalValueScanner::BeginRecord(uint8_t tag) {
  is_put_ = tag == kPut || tag == kFamilyPut;
  has_value_ = is_put_ || tag == kRangeDeletion || tag == kFamilyRangeDeletion;
  key_.clear();
  length_ = 0;
  length_shift_ = 0;
  switch (tag) {
    case kDeletion:
    case kPut:
    case kLogData:
    case kRangeDeletion:
      part_ = Part::kKeyLength;
      break;
    case kFamilyDeletion:
    case kFamilyPut:
    case kFamilyRangeDeletion:
      part_ = Part::kFamily;
      break;
    case kNoop:
      break;
    default:
      part_ = Part::kUnknown;
  }
}

size_t WalValueScanner::ScanLength(std::string_view bytes) {
  const auto byte = static_cast<uint8_t>(bytes[0]);
  length_ |= static_cast<uint32_t>(byte & 0x7f) << length_shift_;
  if ((byte & 0x80) == 0) {
    EndLength();
  } else if (length_shift_ == kVarint32ShiftMax) {
    part_ = Part::kUnknown;
  } else {
    length_shift_ += 7;
  }
  return 1;
}

void WalValueScanner::EndLength() {
  left_ = length_;
  length_ = 0;
  length_shift_ = 0;
  if (part_ == Part::kFamily) {
    part_ = Part::kKeyLength;
  } else if (part_ == Part::kKeyLength) {
    part_ = Part::kKey;
    if (left_ == 0) part_ = has_value_ ? Part::kValueLength : Part::kTag;
  } else {
    BeginValue();
  }
}

void WalValueScanner::BeginValue() {
  part_ = Part::kValue;
  keep_value_ = is_put_ && left_ >= bytes_min_;
  if (keep_value_) value_ = {.bytes = static_cast<uint32_t>(left_), .crc = Crc32c(0, key_)};
  if (left_ == 0) part_ = Part::kTag;
}

void WalValueScanner::EndValue() {
  part_ = Part::kTag;
  if (keep_value_) found_(key_, value_);
}

}  // namespace millrace::storage
