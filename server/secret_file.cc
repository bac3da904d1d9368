#include "server/secret_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace millrace::server {
namespace {

constexpr size_t kMinBytes = 16;
constexpr size_t kMaxBytes = 1024;

}  // namespace

absl::StatusOr<std::string> ReadSecretFile(const std::string& file) {
  struct stat info;
  if (stat(file.c_str(), &info) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot be read: ", strerror(errno)));
  }
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("is not a file");
  if ((info.st_mode & (S_IROTH | S_IWOTH)) != 0) {
    return absl::InvalidArgumentError(
        "is open to every user of this machine, so it is no secret; make another one and keep it to the user that runs "
        "the broker (chmod 600; in Kubernetes defaultMode: 0440)");
  }
  std::string text(kMaxBytes + 3, '\0');  // with an end of line, and one more to see that it is too long
  std::ifstream in(file, std::ios::binary);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || !in.is_open()) return absl::InvalidArgumentError(absl::StrCat("cannot be read: ", strerror(errno)));
  text.resize(static_cast<size_t>(in.gcount()));
  absl::StripAsciiWhitespace(&text);
  const bool printable = std::ranges::all_of(text, [](unsigned char c) { return absl::ascii_isgraph(c); });
  if (text.size() >= kMinBytes && text.size() <= kMaxBytes && printable) return text;
  return absl::InvalidArgumentError(absl::StrCat("does not hold ", kMinBytes, " to ", kMaxBytes,
                                                 " printable characters without spaces; a good one comes from: openssl "
                                                 "rand -hex 32"));
}

}  // namespace millrace::server
