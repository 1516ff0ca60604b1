#include "sys/clock.h"

#include "sys/calls.h"

namespace sys {

Instant monotonic_ms() {
    timespec now{};
    (void)sys::clock_gettime(CLOCK_MONOTONIC, &now);
    return Instant{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

WallTime wall_time() {
    timespec now{};
    (void)sys::clock_gettime(CLOCK_REALTIME, &now);
    return {.seconds = now.tv_sec, .nanoseconds = static_cast<int32_t>(now.tv_nsec)};
}

uint64_t wall_ms() {
    const WallTime now = wall_time();
    return static_cast<uint64_t>(now.seconds * 1000 + now.nanoseconds / 1'000'000);
}

} // namespace sys
