// How long somebody else may hold up the log: the journal, or the reader of a log that is a fifo. A
// container that runs waits behind them as behind a full pipe, but not for ever: then records are
// dropped and counted until they are taken again. When it has ended its exit file waits.
#pragma once

#include "sys/clock.h"
#include "sys/fd.h"

namespace record {

// What to do while nothing is taken: keep the record until it is, or wait for that here.
enum class Patience : uint8_t { later, now };

// So long a running container waits; begun again whenever something is taken.
constexpr sys::Instant stall_max_ms = 5000;

// The waits at the end of the container.
class LastWait {
  public:
    // Begun again whenever something is taken; it takes a busy machine's journal a second or more.
    static constexpr sys::Instant stall_max_ms = 2000;
    static constexpr sys::Instant max_ms = 10'000; // of all waits together

    // Until `fd` can be written. False when that has taken too long.
    bool wait(sys::FdRef fd);

  private:
    sys::Instant end_at_ = sys::never;
};

} // namespace record
