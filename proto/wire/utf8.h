// Protobuf strings must be UTF-8: stock parsers refuse a whole message over one bad byte in any string of it.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// As protobuf checks it: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view text);

// `text` with '?' for each byte that is no part of a character.
std::string MakeUtf8(std::string_view text);

}  // namespace millrace
