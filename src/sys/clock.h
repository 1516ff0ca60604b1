// The two clocks: one reading of each per turn of the loop.
#pragma once

#include <cstdint>

namespace sys {

// Milliseconds of CLOCK_MONOTONIC, for deadlines.
using Instant = int64_t;
constexpr Instant never = INT64_MAX;

Instant monotonic_ms();

struct WallTime {
    int64_t seconds; // since 1970, UTC
    int32_t nanoseconds;
};

WallTime wall_time();

// Milliseconds since 1970.
uint64_t wall_ms();

} // namespace sys
