#include "storage/rocks_util.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace millrace::storage {

absl::Status ReadError(std::string_view what, const rocksdb::Status& status) {
  std::string message = absl::StrCat("reading ", absl::string_view(what.data(), what.size()), ": ", status.ToString());
  const bool lost = status.IsCorruption() || status.IsIOError();
  return lost ? absl::DataLossError(message) : absl::UnavailableError(message);
}

absl::StatusOr<std::optional<std::string>> GetValue(rocksdb::DB& db, std::string_view key) {
  std::string value;
  const rocksdb::Status status = db.Get(rocksdb::ReadOptions(), ToSlice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) return ReadError("a key of the store", status);
  return value;
}

RangeIterator::RangeIterator(rocksdb::DB& db, KeyRange range, Checksums checksums)
    : range_(std::move(range)), begin_(ToSlice(range_.begin)), end_(ToSlice(range_.end)) {
  rocksdb::ReadOptions options;
  options.iterate_lower_bound = &begin_;
  options.iterate_upper_bound = &end_;
  options.verify_checksums = checksums == Checksums::kVerify;
  iterator_.reset(db.NewIterator(options));
  iterator_->SeekToFirst();
}

absl::Status RangeIterator::status(std::string_view what) const {
  const rocksdb::Status status = iterator_->status();
  return status.ok() ? absl::OkStatus() : ReadError(what, status);
}

}  // namespace millrace::storage
