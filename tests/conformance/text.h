// Text in std::string_view, which this abseil's functions do not take.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace millrace::conformance {

template <typename T>
decltype(auto) ToAbsl(const T& value) {
  if constexpr (std::is_same_v<T, std::string_view>) {
    return absl::string_view(value.data(), value.size());
  } else {
    return (value);
  }
}

// absl::StrCat and absl::StrAppend.
template <typename... Args>
std::string Cat(const Args&... args) {
  return absl::StrCat(ToAbsl(args)...);
}
template <typename... Args>
void CatTo(std::string* out, const Args&... args) {
  absl::StrAppend(out, ToAbsl(args)...);
}

// Without blanks around it.
std::string_view Strip(std::string_view text);
// The pieces between any of `separators`; empty ones too.
std::vector<std::string_view> Split(std::string_view text, std::string_view separators);
// The pieces that are not blank.
std::vector<std::string_view> Words(std::string_view text, std::string_view separators = " \n");
std::string Lower(std::string_view text);
// nullopt unless the text is a number that is not negative.
std::optional<int64_t> Number(std::string_view text);

}  // namespace millrace::conformance
