// How long a broker's address may take to connect.
#pragma once

#include <chrono>

namespace millrace::client {

// An advertised address may be one that this client cannot reach: it is gone around rather than waited for.
inline constexpr std::chrono::milliseconds kAdvertisedConnectTimeout{500};
inline constexpr std::chrono::milliseconds kConnectTimeout{2'000};

}  // namespace millrace::client
