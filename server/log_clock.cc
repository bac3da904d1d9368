#include "server/log_clock.h"

#include <algorithm>

namespace millrace::server {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

namespace {

// Kernels slew by half of that at most.
constexpr int kSlewPart = 1000;

UnixMillis ToMillis(nanoseconds since_1970) { return std::chrono::duration_cast<milliseconds>(since_1970).count(); }

}  // namespace

LogClock::LogClock(const Clock& clock)
    : clock_(clock),
      looked_(clock.Monotonic()),
      time_(milliseconds(clock.Wall())),
      settled_from_(looked_ + kSettleTime) {}

UnixMillis LogClock::AppendTime() const { return std::max(clock_.Wall(), ToMillis(OwnTime(clock_.Monotonic()))); }

std::optional<UnixMillis> LogClock::Look() {
  const nanoseconds monotonic = clock_.Monotonic();
  const nanoseconds passed = monotonic - looked_;
  time_ = OwnTime(monotonic);
  looked_ = monotonic;
  const nanoseconds wall = milliseconds(clock_.Wall());
  const nanoseconds ahead = wall - time_;
  const bool settled = monotonic >= settled_from_;
  jumped_ = milliseconds(0);
  if (std::chrono::abs(ahead) > kApartMax) {
    if (settled) {
      jumped_ = std::chrono::duration_cast<milliseconds>(ahead);
    } else {
      time_ = wall;
      settled_from_ = monotonic + kSettleTime;
    }
    return std::nullopt;
  }
  time_ += std::clamp(ahead, -passed / kSlewPart, passed / kSlewPart);
  if (!settled) return std::nullopt;
  return ToMillis(std::min(time_, wall));
}

}  // namespace millrace::server
