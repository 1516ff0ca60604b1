// Account: what the monitor has done and what it could not do, in numbers that it keeps from its
// start to its end, also across an upgrade. SIGUSR1 has it written to
// `monitor.json` in the persist directory, or else in the bundle; MOTE_STATE=1 at the end of the
// container. The file is replaced as a whole, so that a reader sees one account or another.
#pragma once

#include "base/text.h"
#include "record/recorder.h"

namespace monitor {

// The order is that of the members in the file (account.cpp).
struct Counters {
    uint64_t started_ms; // since 1970, UTC
    uint64_t written_ms; // when the numbers were written down, too
    record::Counters records;
    uint64_t clients; // attached now, set when the numbers are written down
    uint64_t clients_ever;
    uint64_t clients_dropped; // for MOTE_ATTACH_STALL_MS, or since there were too many
    uint64_t stalls;          // times that a client or the log's reader held the container back,
    uint64_t stall_ms;        // and how long in all
    uint64_t oom_events;
    uint64_t upgrades;
};

// The counters as one JSON object in one line.
void put_account(base::TextSink& text, const Counters& counters);

} // namespace monitor
