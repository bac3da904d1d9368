#include "server/topic_name.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace millrace::server {
namespace {

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

}  // namespace

bool IsInternalTopic(const std::string& name) { return name.starts_with("__"); }

std::string TopicNameProblem(const std::string& name) {
  if (name.empty()) return "the topic name is empty; name a topic";
  if (name.size() > kTopicNameMax) {
    return absl::StrCat("a topic name has at most ", kTopicNameMax, " characters, this one has ", name.size(),
                        "; choose a shorter one");
  }
  if (name == "." || name == "..") return absl::StrCat("\"", name, "\" is no topic name; choose another");
  if (!std::ranges::all_of(name, IsNameCharacter)) {
    return absl::StrCat("\"", name, "\" is no topic name; use the characters A-Z a-z 0-9 . _ - only");
  }
  if (IsInternalTopic(name)) {
    return absl::StrCat("\"", name, "\" is no name for a topic: those that begin with \"__\" are the cluster's own");
  }
  return "";
}

}  // namespace millrace::server
