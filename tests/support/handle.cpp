// Waiting on descriptors with a deadline.

#include "support/handle.h"

#include <cerrno>
#include <cstring>

#include <poll.h>

namespace support {

Broken::Broken(const std::string& what) : std::runtime_error(what + ": " + std::strerror(errno)) {}

int Deadline::left_ms() const {
    const auto left =
        std::chrono::ceil<milliseconds>(at_ - std::chrono::steady_clock::now()).count();
    return left > 0 ? static_cast<int>(left) : 0;
}

bool wait_readable(int fd, const Deadline& deadline) {
    while (true) {
        pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
        const int n = ::poll(&entry, 1, deadline.left_ms());
        if (n > 0) {
            return true;
        }
        if (n == 0) {
            return false;
        }
        if (errno != EINTR) {
            throw Broken("poll");
        }
    }
}

} // namespace support
