#include "proto/transport/cord_buffer.h"

#include <grpc/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

namespace millrace {
namespace {

// Below this a reference costs more than a copy (and a small slice may hold its bytes inside itself).
constexpr size_t kCopyBelowBytes = 512;

// Keeps a Cord alive for all slices that refer to its chunks.
struct SharedCord {
  explicit SharedCord(absl::Cord c) : cord(std::move(c)) {}
  const absl::Cord cord;
  std::atomic<int> references{1};

  static void Unref(void* self) {
    auto* shared = static_cast<SharedCord*>(self);
    if (shared->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete shared;
  }
};

// A reference to one slice, given back as a buffer is. Not as a slice is (grpc_slice_unref): in gRPC 1.51 that has no
// ExecCtx, and the memory quota calls one when the slice is the last of its allocator's and memory is short.
class HeldSlice {
 public:
  explicit HeldSlice(const grpc::Slice& slice) {
    grpc_slice counted = slice.c_slice();
    buffer_ = grpc_raw_byte_buffer_create(&counted, 1);
    grpc_slice_unref(counted);  // the buffer has one of its own
  }
  HeldSlice(HeldSlice&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
  HeldSlice& operator=(HeldSlice&&) = delete;
  ~HeldSlice() { grpc_byte_buffer_destroy(buffer_); }

 private:
  grpc_byte_buffer* buffer_;
};

}  // namespace

absl::Cord CordFromByteBuffer(const grpc::ByteBuffer& buffer) {
  absl::Cord cord;
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return cord;
  for (const grpc::Slice& slice : slices) {
    const absl::string_view bytes(reinterpret_cast<const char*>(slice.begin()), slice.size());
    if (bytes.size() < kCopyBelowBytes) {
      cord.Append(bytes);
    } else {
      cord.Append(absl::MakeCordFromExternal(bytes, [held = HeldSlice(slice)] {}));
    }
  }
  return cord;
}

grpc::ByteBuffer ByteBufferFromCord(absl::Cord cord) {
  auto* shared = new SharedCord(std::move(cord));
  std::vector<grpc::Slice> slices;
  std::string small;
  auto flush_small = [&] {
    if (small.empty()) return;
    slices.emplace_back(small);
    small.clear();
  };
  for (absl::string_view chunk : shared->cord.Chunks()) {
    if (chunk.size() < kCopyBelowBytes) {
      small.append(chunk.data(), chunk.size());
      continue;
    }
    flush_small();
    shared->references.fetch_add(1, std::memory_order_relaxed);
    slices.emplace_back(const_cast<char*>(chunk.data()), chunk.size(), &SharedCord::Unref, shared);
  }
  flush_small();
  grpc::ByteBuffer buffer(slices.data(), slices.size());
  SharedCord::Unref(shared);
  return buffer;
}

}  // namespace millrace
