#include <algorithm>
#include <memory>

#include <lz4frame.h>
#include <zstd.h>

#include "absl/strings/str_cat.h"
#include "proto/wire/check.h"
#include "proto/wire/record_batch.h"
#include "proto/wire/write_buffer.h"

namespace millrace {

using internal::WriteBuffer;

namespace {

struct FreeContext {
  void operator()(LZ4F_dctx* context) const { LZ4F_freeDecompressionContext(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

// Contexts hold hundreds of KB of tables that would otherwise be set up for every batch: one of each per thread.
LZ4F_dctx* Lz4Decompressor() {
  thread_local std::unique_ptr<LZ4F_dctx, FreeContext> context = [] {
    LZ4F_dctx* created = nullptr;
    MILLRACE_CHECK(!LZ4F_isError(LZ4F_createDecompressionContext(&created, LZ4F_VERSION)));
    return std::unique_ptr<LZ4F_dctx, FreeContext>(created);
  }();
  LZ4F_resetDecompressionContext(context.get());
  return context.get();
}

ZSTD_DCtx* ZstdDecompressor() {
  thread_local std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  MILLRACE_CHECK(context != nullptr);
  ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only);
  return context.get();
}

ZSTD_CCtx* ZstdCompressor() {
  thread_local std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  MILLRACE_CHECK(context != nullptr);
  return context.get();
}

// `cord` in one piece, copied to `copy` if it is not already.
std::string_view Flat(const absl::Cord& cord, WriteBuffer& copy) {
  if (auto flat = cord.TryFlat()) return {flat->data(), flat->size()};
  copy = WriteBuffer(cord.size());
  for (absl::string_view chunk : cord.Chunks()) copy.Append({chunk.data(), chunk.size()});
  return copy.view();
}

// What one call of a decompressor did.
struct Step {
  size_t consumed;
  size_t produced;
  bool frame_complete;
  const char* error;  // or nullptr
};

// `stable`: what was produced before stays where it is, so that it can serve as the decompressor's history.
Step DecompressLz4(LZ4F_dctx* context, std::string_view in, char* out, size_t out_bytes, bool stable) {
  LZ4F_decompressOptions_t options{};
  options.stableDst = stable;
  size_t consumed = in.size();
  const size_t result = LZ4F_decompress(context, out, &out_bytes, in.data(), &consumed, &options);
  if (LZ4F_isError(result)) return {0, 0, false, LZ4F_getErrorName(result)};
  return {consumed, out_bytes, result == 0, nullptr};
}

Step DecompressZstd(ZSTD_DCtx* context, std::string_view in, char* out, size_t out_bytes) {
  ZSTD_inBuffer input{in.data(), in.size(), 0};
  ZSTD_outBuffer output{out, out_bytes, 0};
  const size_t result = ZSTD_decompressStream(context, &output, &input);
  if (ZSTD_isError(result)) return {0, 0, false, ZSTD_getErrorName(result)};
  return {input.pos, output.pos, result == 0, nullptr};
}

// Memory to begin with: what the sender announced, as far as that is believable for the bytes it sent.
size_t FirstCapacity(size_t compressed_bytes, size_t announced_bytes, size_t size_max) {
  constexpr size_t kBelievableRatio = 256, kGuessedRatio = 4, kSmallest = 64 << 10;
  const size_t wanted = announced_bytes != 0
                            ? std::min(announced_bytes, kSmallest + kBelievableRatio * compressed_bytes)
                            : std::max(kSmallest, kGuessedRatio * compressed_bytes);
  return std::min(wanted, size_max);
}

absl::Status TooLarge(size_t size_max) {
  return absl::ResourceExhaustedError(
      absl::StrCat("record batch decompresses to more than the ", size_max, " bytes allowed"));
}

absl::Status WrongSize(int64_t announced_bytes) {
  return absl::DataLossError(
      absl::StrCat("record batch does not decompress to the ", announced_bytes, " bytes its header says"));
}

// Runs `step(in, out, out_bytes)` until the input is used up at the end of a frame.
template <typename StepFunction>
absl::StatusOr<absl::Cord> DecompressFrames(std::string_view in, WriteBuffer out, int64_t announced_bytes,
                                            size_t size_max, StepFunction step) {
  for (bool frame_complete = false; !frame_complete || !in.empty();) {
    char* p = out.Reserve(0);
    const size_t room = std::min(out.capacity(), size_max) - out.size();
    const Step done = step(in, p, room);
    if (done.error != nullptr) {
      return absl::DataLossError(absl::StrCat("record batch does not decompress: ", done.error));
    }
    in.remove_prefix(done.consumed);
    out.SetEnd(p + done.produced);
    frame_complete = done.frame_complete;
    if (done.consumed != 0 || done.produced != 0) continue;
    if (room != 0) return absl::DataLossError("record batch does not decompress: its payload ends early");
    if (out.size() >= size_max) return TooLarge(size_max);
    if (announced_bytes != 0 && out.size() >= static_cast<size_t>(announced_bytes)) return WrongSize(announced_bytes);
    out.Reserve(1);
  }
  if (announced_bytes != 0 && out.size() != static_cast<size_t>(announced_bytes)) return WrongSize(announced_bytes);
  return std::move(out).ToCord();
}

}  // namespace

absl::StatusOr<absl::Cord> Decompress(int32_t codec, const absl::Cord& payload, int64_t uncompressed_bytes,
                                      size_t size_max) {
  if (codec == static_cast<int32_t>(Codec::kNone)) {
    if (payload.size() > size_max) return TooLarge(size_max);
    return payload;
  }
  if (codec != static_cast<int32_t>(Codec::kLz4) && codec != static_cast<int32_t>(Codec::kZstd)) {
    return absl::UnimplementedError(absl::StrCat("record batch has codec ", codec,
                                                 ", this release knows lz4 (3) and zstd (4): use a newer client"));
  }
  if (uncompressed_bytes < 0) return WrongSize(uncompressed_bytes);
  if (static_cast<uint64_t>(uncompressed_bytes) > size_max) return TooLarge(size_max);

  WriteBuffer copy;
  const std::string_view in = Flat(payload, copy);
  const size_t announced = static_cast<size_t>(uncompressed_bytes);
  WriteBuffer out(FirstCapacity(in.size(), announced, size_max));
  if (codec == static_cast<int32_t>(Codec::kLz4)) {
    const bool stable = announced != 0 && out.capacity() >= announced;
    return DecompressFrames(in, std::move(out), uncompressed_bytes, size_max,
                            [context = Lz4Decompressor(), stable](std::string_view rest, char* p, size_t room) {
                              return DecompressLz4(context, rest, p, room, stable);
                            });
  }
  return DecompressFrames(in, std::move(out), uncompressed_bytes, size_max,
                          [context = ZstdDecompressor()](std::string_view rest, char* p, size_t room) {
                            return DecompressZstd(context, rest, p, room);
                          });
}

absl::Cord Compress(Codec codec, const absl::Cord& payload) {
  WriteBuffer copy, out;
  switch (codec) {
    case Codec::kNone:
      return payload;
    case Codec::kLz4: {
      const std::string_view in = Flat(payload, copy);
      LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
      preferences.frameInfo.contentSize = in.size();
      const size_t bound = LZ4F_compressFrameBound(in.size(), &preferences);
      char* p = out.Reserve(bound);
      const size_t size = LZ4F_compressFrame(p, bound, in.data(), in.size(), &preferences);
      MILLRACE_CHECK(!LZ4F_isError(size)) << LZ4F_getErrorName(size);
      out.SetEnd(p + size);
      break;
    }
    case Codec::kZstd: {
      const std::string_view in = Flat(payload, copy);
      const size_t bound = ZSTD_compressBound(in.size());
      char* p = out.Reserve(bound);
      const size_t size = ZSTD_compressCCtx(ZstdCompressor(), p, bound, in.data(), in.size(), ZSTD_CLEVEL_DEFAULT);
      MILLRACE_CHECK(!ZSTD_isError(size)) << ZSTD_getErrorName(size);
      out.SetEnd(p + size);
      break;
    }
  }
  return std::move(out).ToCord();
}

}  // namespace millrace
