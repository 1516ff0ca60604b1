#include "sys/io.h"

#include "sys/calls.h"

#include <array>
#include <cerrno>

namespace sys {

using base::Bytes;
using base::fail;
using base::MutableBytes;
using base::Result;

namespace {

bool is_would_block(int code) {
    // EINTR: nothing was moved; the loop comes back, as for a full or empty pipe.
    return code == EAGAIN || code == EINTR;
}

Result<Moved> moved(ssize_t count, base::Step step, Moved::State state_of_zero) {
    if (count > 0) {
        return Moved{static_cast<size_t>(count), Moved::State::some};
    }
    if (count == 0) {
        return Moved{0, state_of_zero};
    }
    if (is_would_block(errno)) {
        return Moved{0, Moved::State::would_block};
    }
    return fail(errno, step);
}

Result<Moved> receive(FdRef from, MutableBytes into, int flags) {
    iovec part{.iov_base = into.data(), .iov_len = into.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    return moved(sys::recvmsg(from.number(), &message, flags),
                 "receive from attached client",
                 Moved::State::ended);
}

} // namespace

Result<Moved> read_some(FdRef from, MutableBytes into) {
    return moved(sys::read(from.number(), into.data(), into.size()), "read", Moved::State::ended);
}

Result<Moved> write_some(FdRef to, const base::Ring::ConstSpans& bytes) {
    if (bytes[1].empty()) {
        return write_some(to, bytes[0]);
    }
    // iovec has no const member, though writev only reads.
    std::array<iovec, 2> parts;
    for (size_t i = 0; i < parts.size(); ++i) {
        parts[i] = {.iov_base = const_cast<std::byte*>(bytes[i].data()),
                    .iov_len = bytes[i].size()};
    }
    return moved(sys::writev(to.number(), parts.data(), static_cast<int>(parts.size())),
                 "write",
                 Moved::State::would_block);
}

Result<Moved> write_some(FdRef to, Bytes bytes) {
    return moved(
        sys::write(to.number(), bytes.data(), bytes.size()), "write", Moved::State::would_block);
}

Result<Moved> send_record(FdRef to, std::byte tag, Bytes payload) {
    std::array<iovec, 2> parts{{
        {.iov_base = &tag, .iov_len = 1},
        {.iov_base = const_cast<std::byte*>(payload.data()), .iov_len = payload.size()},
    }};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t sent = sys::sendmsg(to.number(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        return moved(sent, "send to attached client", Moved::State::ended);
    }
    return Moved{payload.size(), Moved::State::some};
}

Result<Moved> receive_record(FdRef from, MutableBytes into) {
    return receive(from, into, MSG_DONTWAIT);
}

Result<Moved> peek_record(FdRef from) {
    std::array<std::byte, 1> first;
    return receive(from, first, MSG_DONTWAIT | MSG_PEEK);
}

} // namespace sys
