#include "millrace/version.h"

namespace millrace {

std::string_view LibraryVersion() { return MILLRACE_VERSION; }

}  // namespace millrace
