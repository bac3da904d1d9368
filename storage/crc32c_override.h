// Makes RocksDB compute CRC32C with the processor's instructions.
//
// Debian's library is built for any x86-64 and computes CRC32C from tables at 1.3 GB/s: half of all CPU of a write, four fifths
// of a read from the page cache. It calls rocksdb::crc32c::Extend, a symbol that it exports, through its procedure linkage
// table; so a definition in the executable takes its place. Same polynomial, same values: files stay readable by any RocksDB.
// Crc32cCombine is replaced likewise: the log's writer joins a fragment's checksum to that of its type with it, and for each block
// bit by bit that was 2.5 % of a busy loop.
#pragma once

namespace millrace::storage {

// Whether RocksDB called our function since the last ResetCrc32cCalled(). What opens a database computes checksums; if this is
// false afterwards, the library's own function is in effect.
bool Crc32cCalled();
void ResetCrc32cCalled();

}  // namespace millrace::storage
