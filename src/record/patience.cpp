#include "record/patience.h"

#include "sys/calls.h"

#include <algorithm>

namespace record {

bool LastWait::wait(sys::FdRef fd) {
    const sys::Instant now = sys::monotonic_ms();
    if (end_at_ == sys::never) {
        end_at_ = now + max_ms;
    }
    const sys::Instant most = std::min(stall_max_ms, end_at_ - now);
    pollfd waiting{.fd = fd.number(), .events = POLLOUT, .revents = 0};
    return most > 0 && sys::poll(&waiting, 1, static_cast<int>(most)) > 0;
}

} // namespace record
