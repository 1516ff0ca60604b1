// Messages to the console socket, sent through the kernel: any number of descriptors, with and
// without data and credentials, of several kinds of socket. Only one descriptor with data is taken,
// and no descriptor of any message stays open.

#include "sys/socket.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

void must(bool holds) {
    if (!holds) {
        std::abort();
    }
}

// The lowest number that is free: whatever was left open before it would have taken it.
int lowest_free() {
    const int number = ::dup(0); // NOLINT(android-cloexec-dup)
    must(number >= 0);
    ::close(number);
    return number;
}

bool send_message(int to, std::string_view data, size_t descriptors) {
    iovec part{.iov_base = const_cast<char*>(data.data()), .iov_len = data.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (descriptors != 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(descriptors * sizeof(int));
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(descriptors * sizeof(int));
        std::memset(CMSG_DATA(header), 0, descriptors * sizeof(int)); // standard input, many times
    }
    return ::sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) {
        return 0;
    }
    constexpr int kinds[]{SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    const int kind = kinds[data[0] % 3];
    const bool credentials = (data[0] & 0x80) != 0;
    const int lowest = lowest_free();
    int ends[2];
    must(::socketpair(AF_UNIX, kind | SOCK_CLOEXEC, 0, ends) == 0);
    if (credentials) {
        const int on = 1;
        must(::setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    }
    static const std::string text(6000, 'n');
    const int beyond_ends = lowest_free();
    for (size_t at = 1; at + 2 < size; at += 3) {
        const size_t descriptors = std::min<size_t>(data[at], 253);
        const size_t length = (data[at + 1] | static_cast<size_t>(data[at + 2]) << 8) % text.size();
        if (kind == SOCK_STREAM && length == 0) {
            continue; // nothing is sent
        }
        if (!send_message(ends[1], std::string_view(text).substr(0, length), descriptors)) {
            continue;
        }
        const auto received = sys::receive_fd(sys::FdRef{ends[0]});
        // Credentials leave no room for descriptors.
        must(received.has_value() == (descriptors == 1 && length != 0 && !credentials));
        if (received) {
            must((::fcntl(received->number(), F_GETFD) & FD_CLOEXEC) != 0);
        } else {
            must(received.error().code == EPROTO);
            must(lowest_free() == beyond_ends);
        }
        // What a name leaves in a stream.
        char rest[8192];
        while (::recv(ends[0], rest, sizeof rest, MSG_DONTWAIT) > 0) {
        }
    }
    ::close(ends[1]);
    if (kind != SOCK_DGRAM) {
        const auto ended = sys::receive_fd(sys::FdRef{ends[0]});
        must(!ended && ended.error().code == EPROTO);
    }
    ::close(ends[0]);
    must(lowest_free() == lowest);
    return 0;
}
