// Whether RocksDB's manifest is as it was written.
//
// RocksDB 7.8.3 takes some damage for the manifest's end, and then opens an older version of the store and deletes what is newer: a
// length that points behind the file, a type that says that the record is of a file's former life, zeros where a record should begin
// (db/log_reader.cc). A power cut leaves one of the first kind only, or zeros to the file's end: the manifest is synced before
// anything relies on it.
//
//     if (std::optional<uint64_t> offset = FindManifestDamage(contents)) ...      // where
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace millrace::storage {

// Where `manifest`, all of the file, cannot be read although it was promised; nothing: nowhere, or in a torn tail only. A bit that
// flipped in the length of the very last record is told from a torn tail by the record's checksum.
std::optional<uint64_t> FindManifestDamage(std::string_view manifest);

}  // namespace millrace::storage
