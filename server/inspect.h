// `millraced inspect`: what the store of a stopped broker holds, and whether all of it can be read.
//
//     return RunInspect({"/var/lib/millrace", "--output", "json"});
//
// Changes nothing. Exit code 0: all checksums are right. 1: something is damaged, or there is no store that can be read. 2: usage.
#pragma once

#include <string>
#include <vector>

namespace millrace::server {

int RunInspect(const std::vector<std::string>& arguments);

}  // namespace millrace::server
