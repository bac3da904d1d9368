// Between gRPC's buffers and ours, without copying.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "absl/strings/cord.h"

namespace millrace {

// A Cord that holds references to the buffer's slices. Slices of a few hundred bytes are copied.
absl::Cord CordFromByteBuffer(const grpc::ByteBuffer& buffer);

// A buffer whose slices refer to the Cord's chunks and keep them alive. Runs of small chunks are copied together.
grpc::ByteBuffer ByteBufferFromCord(absl::Cord cord);

}  // namespace millrace
