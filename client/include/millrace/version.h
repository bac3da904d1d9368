// The version of the headers that a program was compiled with and of the library that it runs with.
#pragma once

#include <string_view>

namespace millrace {

inline constexpr std::string_view kHeaderVersion = "0.1.0";

// Of the library; differs from kHeaderVersion when the two were mixed up.
std::string_view LibraryVersion();

}  // namespace millrace
