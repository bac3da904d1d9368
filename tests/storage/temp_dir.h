// A directory that goes with the object.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "proto/wire/check.h"

namespace millrace {

class TempDir {
 public:
  TempDir() {
    std::string name = std::filesystem::temp_directory_path() / "millrace-XXXXXX";
    MILLRACE_CHECK(mkdtemp(name.data()) != nullptr) << name;
    path_ = name;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace millrace
