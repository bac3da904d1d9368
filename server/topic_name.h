// Names that a topic may have.
#pragma once

#include <cstddef>
#include <string>

namespace millrace::server {

inline constexpr size_t kTopicNameMax = 249;  // Kafka's limit

// Topics of the cluster's own: read like any other, made and deleted by brokers alone.
bool IsInternalTopic(const std::string& name);

// Empty if a topic of this name may be created, otherwise what is wrong with it and what to do.
std::string TopicNameProblem(const std::string& name);

}  // namespace millrace::server
