// Commands and flags that one may expect and that this release does not have.
#pragma once

#include <string_view>

namespace millrace::cli {

// Why `word`, a command or flag, is not there behind `command` ("cluster", "" for millrace itself), as a sentence that says what
// to use instead. "" for words that stand for nothing.
std::string_view WhyUnavailable(std::string_view command, std::string_view word);

}  // namespace millrace::cli
