// Counters: what has been recorded of the container's output and what has not, since the monitor's
// start. Plain numbers that whoever does something adds to, that account.h writes down, and that a
// new program takes over as they are.
#pragma once

#include "record/loss.h"
#include "record/stream.h"

#include <array>

namespace record {

struct Counters {
    struct Flow {
        uint64_t bytes;   // read from the container
        uint64_t records; // made of them, lost ones included: of the file, else of the journal
    };

    std::array<Flow, stream_count> streams;
    Loss lost_to_disk;     // the file took nothing, and memory was full
    Loss lost_to_limit;    // --log-global-size-max
    Loss lost_to_journal;  // it took nothing for too long
    Loss lost_to_rate;     // MOTE_LOG_RATE with MOTE_LOG_EXCESS=drop
    uint64_t rate_waits;   // times that a stream was not read for MOTE_LOG_RATE,
    uint64_t rate_wait_ms; // and how long in all
    uint64_t rotations;    // of the file, and reopenings
    uint64_t reopen_failures;
};

} // namespace record
