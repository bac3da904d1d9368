// Values of settings as people write them, and the names they nearly wrote.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace millrace {

// A whole number with an optional unit: B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB or Ki, Mi, Gi, Ti (powers of
// 1024); upper or lower case. K, M and G alone are refused: they mean 1000 to some tools and 1024 to others.
std::optional<int64_t> ParseBytes(std::string_view text);

// A whole number of milliseconds, or with a unit: ms, s, m, h, d.
std::optional<int64_t> ParseMillis(std::string_view text);

std::optional<int64_t> ParseInteger(std::string_view text);

// With the largest binary unit that divides it: 64MiB, 1000B.
std::string FormatBytes(int64_t bytes);

// The name closest to `name` by edit distance; none when even that one is too far off to be what was meant.
std::optional<std::string_view> NearestName(std::string_view name, std::span<const std::string_view> names);

// `; did you mean "retention.ms"?`, or nothing.
std::string DidYouMean(std::string_view name, std::span<const std::string_view> names);

}  // namespace millrace
