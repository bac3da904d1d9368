// Between RocksDB's types and ours.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <rocksdb/db.h>
#include <rocksdb/slice.h>
#include <rocksdb/status.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/keys.h"

namespace millrace::storage {

inline rocksdb::Slice ToSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
inline std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// Of a failed read: kDataLoss for damage and for what the disk does not give (a bad sector, a file that is gone), as who asks
// again is not helped; kUnavailable for the rest, such as too many open files. `what` says what was read.
absl::Status ReadError(std::string_view what, const rocksdb::Status& status);

// The value of a key, or nothing.
absl::StatusOr<std::optional<std::string>> GetValue(rocksdb::DB& db, std::string_view key);

// Walks the keys of a range, and none beyond it.
//
//     for (RangeIterator it(db, Segments(group)); it.Valid(); it.Next()) ...
class RangeIterator {
 public:
  // At the range's first key.
  RangeIterator(rocksdb::DB& db, KeyRange range);

  void Seek(std::string_view key) { iterator_->Seek(ToSlice(key)); }
  // To the last key <= `key`.
  void SeekForPrev(std::string_view key) { iterator_->SeekForPrev(ToSlice(key)); }
  void SeekToLast() { iterator_->SeekToLast(); }
  void Next() { iterator_->Next(); }

  bool Valid() const { return iterator_->Valid(); }
  std::string_view key() const { return ToView(iterator_->key()); }
  std::string_view value() const { return ToView(iterator_->value()); }
  // When Valid() is false: not OK if a read failed rather than the range ended.
  absl::Status status(std::string_view what) const;

 private:
  const KeyRange range_;
  const rocksdb::Slice begin_;  // of range_
  const rocksdb::Slice end_;
  std::unique_ptr<rocksdb::Iterator> iterator_;
};

}  // namespace millrace::storage
