// Rate: how much of the container's output may be recorded, as a bucket of bytes for each stream,
// which fills at a steady rate up to what a burst may have, and which recording empties. What a
// line takes beyond what was left is owed, so that no line is too long to pass.
#pragma once

#include "record/loss.h"
#include "record/stream.h"
#include "sys/clock.h"

#include <array>

namespace record {

// What is known of a stream, as plain data: a new program takes it over as it is.
struct RateState {
    // How the stream's last record ended: its line, or in the middle of one that was recorded so
    // far, or that is being dropped.
    enum class Line : uint64_t { whole, recorded, dropped };

    int64_t milli_bytes;     // in the bucket; less than 0 after a long line
    sys::Instant filled_at;  // 0: never
    sys::Instant notice_due; // if anything is missing: when to say so
    Loss missing;            // dropped and not yet said
    Line line;
};

using RateStates = std::array<RateState, stream_count>;

} // namespace record
