#include "storage/payload_mover.h"

#include "storage/rocks_util.h"

namespace millrace::storage {

using rocksdb::IOOptions;
using rocksdb::IOStatus;

namespace {

constexpr uint64_t kFileBytesMax = 64 << 20;

}  // namespace

PayloadMover::~PayloadMover() {
  Close();
  for (uint64_t number : begun_) payloads_.EndMoved(number);
}

std::optional<PayloadPlace> PayloadMover::Move(const PayloadPlace& from, size_t bytes) {
  if (failed_) return std::nullopt;
  payload_.resize(bytes);
  if (const IOStatus read = payloads_.Read(from, bytes, payload_.data()); !read.ok()) {
    if (absl::IsDataLoss(ReadError("a payload", read))) payloads_.Unreadable(from.file);
    return std::nullopt;
  }
  IOStatus status;
  if (file_ != nullptr && shared_->written() + bytes > kFileBytesMax) {
    shared_->Sync(&status);
    Close();
  }
  if (status.ok() && file_ == nullptr) status = Begin();
  if (status.ok()) {
    const PayloadPlace place = {begun_.back(), shared_->written()};
    status = Append(payload_);
    if (status.ok()) return place;
  }
  failed_ = true;
  if (shared_ != nullptr) shared_->Fail(status);
  return std::nullopt;
}

IOStatus PayloadMover::Begin() {
  uint64_t number = 0;
  shared_.reset();
  IOStatus status = payloads_.BeginMoved(&number, &file_, &shared_);
  if (status.ok()) begun_.push_back(number);
  handed_over_ = 0;
  return status;
}

IOStatus PayloadMover::Append(const rocksdb::Slice& payload) {
  IOStatus status = file_->Append(payload, IOOptions(), nullptr);
  if (!status.ok()) return status;
  shared_->Wrote(payload.size());
  const uint64_t pending = shared_->written() - handed_over_;
  if (piece_bytes_ == 0 || pending < piece_bytes_) return status;
  status = file_->RangeSync(handed_over_, pending, IOOptions(), nullptr);
  handed_over_ += pending;
  return status;
}

void PayloadMover::Close() {
  if (file_ == nullptr) return;
  shared_->Closing();
  // What a table refers to was synced before.
  file_->Close(IOOptions(), nullptr).PermitUncheckedError();
  file_.reset();
}

}  // namespace millrace::storage
