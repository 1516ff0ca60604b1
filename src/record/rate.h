// Rate: how much of the container's output may be recorded (MOTE_LOG_RATE), as a bucket of bytes
// for each stream, so that a flood of one costs the other nothing. It fills at a steady rate, up to
// what a burst may have, and recording empties it. A record that is begun is recorded as a whole;
// what it takes beyond what was left is owed.
//
//     excess           what happens when the bucket is empty
//     wait             the stream is not read until there is something in it again
//     drop             whole records are dropped and counted, and once a second at most a record of
//                      ours says how many, in the same stream:
//                          mote: dropped by MOTE_LOG_RATE, records lost: 12, bytes lost: 345
//     drop_silently    the same without that record
//
// A line is recorded or dropped as a whole as far as it is known to be one: when a part of it has
// been dropped, so is the rest; when a part has been recorded, so is the rest if it ends within a
// record, and otherwise the line is ended where it is.
#pragma once

#include "record/counters.h"
#include "sys/clock.h"

#include <algorithm>
#include <array>

namespace record {

enum class Excess : uint8_t { wait, drop, drop_silently };

struct RateLimit {
    uint32_t bytes_per_second = 0; // of the container's output; 0: no limit
    uint32_t burst = 0;            // not 0 if there is a limit
    Excess excess = Excess::wait;
};

// What is known of the streams, as plain data: a new program takes it over as it is.
struct RateState {
    // How the last record of a stream ended: with its line, or within one that has been recorded so
    // far, or that is being dropped.
    enum class Line : uint64_t { whole, recorded, dropped };

    struct Bucket {
        int64_t milli_bytes = 0;             // less than 0: owed
        sys::Instant filled_at = 0;          // 0: never
        sys::Instant read_at = sys::never;   // if the stream waits: when it is read again
        sys::Instant notice_at = sys::never; // if anything is missing: when that is to be said
        Loss missing;
        Line line = Line::whole;
    };

    std::array<Bucket, stream_count> buckets;
    sys::Instant due = sys::never; // no later than the first of their times
};

} // namespace record
