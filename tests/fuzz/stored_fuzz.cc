// The decoders of what a store gives back: any bytes are refused or are what the encoder makes of the value.
#include <cstring>
#include <string>
#include <string_view>

#include "proto/wire/check.h"
#include "raft/membership.h"
#include "raft/persisted_state.h"
#include "storage/entry_format.h"
#include "tests/fuzz/input.h"

namespace millrace {
namespace {

void Membership(std::string_view bytes) {
  const auto membership = raft::DecodeMembership(bytes);
  if (membership.ok()) MILLRACE_CHECK(Encode(*membership) == bytes);
}

void Memberships(std::string_view bytes) {
  const auto memberships = raft::DecodeMemberships(bytes);
  if (memberships.ok()) MILLRACE_CHECK(raft::EncodeMemberships(*memberships) == bytes);
}

void Header(std::string_view bytes) {
  const auto header = storage::DecodeHeader(bytes);
  if (!header.ok()) return;
  char encoded[storage::kStoredHeaderBytes];
  storage::EncodeHeader(*header, encoded);
  MILLRACE_CHECK(std::memcmp(encoded, bytes.data(), sizeof(encoded)) == 0);
  if (header->placed) (void)storage::DecodePlace(bytes);
}

void Mended(std::string_view bytes) {
  const auto mended = storage::MendHeader(bytes, raft::LogIndex(1), raft::Offset(0), 0);
  if (mended) MILLRACE_CHECK_EQ(mended->entry.index, raft::LogIndex(1));
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      millrace::Membership(bytes);
      millrace::Memberships(bytes);
      break;
    case 1:
      millrace::Header(bytes);
      break;
    case 2:
      millrace::Mended(bytes);
      break;
  }
  return 0;
}
