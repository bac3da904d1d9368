// Pieces of memory that one call to the kernel fills or writes, when it did so for a part of them only.
//
//     const ssize_t done = pwritev(fd, &*next, count, offset);
//     next = Behind(next, pieces.end(), done);
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <vector>

namespace millrace::storage {

// The first piece with something left behind `done` bytes, cut to what is left; `end` if nothing is. Passes by empty ones.
inline std::vector<iovec>::iterator Behind(std::vector<iovec>::iterator piece, std::vector<iovec>::iterator end,
                                           size_t done) {
  for (; piece != end && done >= piece->iov_len; ++piece) done -= piece->iov_len;
  if (piece != end) {
    piece->iov_base = static_cast<char*>(piece->iov_base) + done;
    piece->iov_len -= done;
  }
  return piece;
}

}  // namespace millrace::storage
