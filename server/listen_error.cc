#include "server/listen_error.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

namespace millrace::server {
namespace {

std::string WhatToDo(int error) {
  switch (error) {
    case EADDRINUSE:
      return "another process listens there; stop it, or choose another port";
    case EADDRNOTAVAIL:
      return "it is not an address of this machine; name one that is, or 0.0.0.0 for all";
    case EACCES:
      return "this user may not use the port; choose one above 1023";
    default:
      return "check the address and the machine's network";
  }
}

// errno of listening there; 0: nothing is in the way now.
int TryToListen(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool listens = bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int error = listens ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

absl::Status ListenError(const HostPort& address) {
  const std::string prefix = absl::StrCat("cannot listen on ", address.ToString(), ": ");
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
      error != 0) {
    return absl::UnavailableError(absl::StrCat(prefix, "the host ", address.host, " is not known (",
                                               gai_strerror(error),
                                               "); check the name, or give an address of this machine"));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  for (; found != nullptr; found = found->ai_next) {
    if (const int error = TryToListen(*found); error != 0) {
      return absl::UnavailableError(absl::StrCat(prefix, strerror(error), "; ", WhatToDo(error)));
    }
  }
  return absl::UnavailableError(absl::StrCat(prefix, "it was not free a moment ago, but is now; start again"));
}

}  // namespace millrace::server
