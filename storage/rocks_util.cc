#include "storage/rocks_util.h"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace millrace::storage {
namespace {

// Of the process or the machine, not of the bytes. RocksDB keeps of errno only the text, at the end.
bool IsPassing(absl::string_view message) {
  constexpr int kPassing[] = {EMFILE, ENFILE, ENOMEM, EINTR, EAGAIN};
  return std::any_of(std::begin(kPassing), std::end(kPassing),
                     [&](int error) { return absl::EndsWith(message, std::generic_category().message(error)); });
}

}  // namespace

absl::Status ReadError(std::string_view what, const rocksdb::Status& status) {
  std::string message = absl::StrCat("reading ", absl::string_view(what.data(), what.size()), ": ", status.ToString());
  const bool lost = status.IsCorruption() || (status.IsIOError() && !IsPassing(message));
  return lost ? absl::DataLossError(message) : absl::UnavailableError(message);
}

absl::StatusOr<std::optional<std::string>> GetValue(rocksdb::DB& db, std::string_view key) {
  std::string value;
  const rocksdb::Status status = db.Get(rocksdb::ReadOptions(), ToSlice(key), &value);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) return ReadError("a key of the store", status);
  return value;
}

// With checksums, as is RocksDB's default: of a damaged block nothing can be told, and RocksDB 7.8.3 as Debian builds it (with
// assertions) ends the process over some of what it finds in one.
RangeIterator::RangeIterator(rocksdb::DB& db, KeyRange range)
    : range_(std::move(range)), begin_(ToSlice(range_.begin)), end_(ToSlice(range_.end)) {
  rocksdb::ReadOptions options;
  options.iterate_lower_bound = &begin_;
  options.iterate_upper_bound = &end_;
  iterator_.reset(db.NewIterator(options));
  iterator_->SeekToFirst();
}

absl::Status RangeIterator::status(std::string_view what) const {
  const rocksdb::Status status = iterator_->status();
  return status.ok() ? absl::OkStatus() : ReadError(what, status);
}

}  // namespace millrace::storage
