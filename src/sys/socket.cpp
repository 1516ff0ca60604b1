#include "sys/socket.h"

#include "base/text.h"
#include "sys/calls.h"
#include "sys/file.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <sys/un.h>

namespace sys {

using base::fail;
using base::Result;
using base::Text;

namespace {

constexpr int backlog = 10; // conmon's
constexpr size_t console_name_max = 4095;

struct Address {
    sockaddr_un raw{};
    socklen_t length = 0;
};

Result<Address> address_of(std::string_view path) {
    Address address;
    address.raw.sun_family = AF_UNIX;
    // The last byte stays a terminator: not all readers of socket names go by the length.
    if (path.size() >= sizeof address.raw.sun_path) {
        return fail(ENAMETOOLONG, "name socket");
    }
    std::memcpy(address.raw.sun_path, path.data(), path.size());
    address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    return address;
}

int type_of(SocketKind kind) {
    switch (kind) {
    case SocketKind::stream:
        return SOCK_STREAM;
    case SocketKind::datagram:
        return SOCK_DGRAM;
    case SocketKind::record:
        return SOCK_SEQPACKET;
    }
    return -1;
}

// CMSG_NXTHDR compares a signed with an unsigned length in musl.
cmsghdr* next_header(msghdr& message, cmsghdr* header) {
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wsign-compare"
    return CMSG_NXTHDR(&message, header);
#pragma clang diagnostic pop
}

} // namespace

Result<Fd> make_socket(SocketKind kind) {
    const int number = sys::socket(AF_UNIX, type_of(kind) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (number < 0) {
        return fail(errno, "create socket");
    }
    return Fd{number};
}

Result<void> bind_path(FdRef socket, std::string_view path) {
    const Address address = TRY(address_of(path));
    if (sys::bind(socket.number(),
                  reinterpret_cast<const sockaddr*>(&address.raw),
                  address.length) != 0) {
        return fail(errno, "bind socket");
    }
    return {};
}

Result<void> connect_path(FdRef socket, std::string_view path) {
    const Address address = TRY(address_of(path));
    if (sys::connect(socket.number(),
                     reinterpret_cast<const sockaddr*>(&address.raw),
                     address.length) != 0) {
        return fail(errno, "connect socket");
    }
    return {};
}

Result<void> send_datagram(Fd& socket, std::string_view path, const msghdr& message) {
    for (bool is_last = false;; is_last = true) {
        if (!socket.valid()) {
            Fd fresh = TRY(make_socket(SocketKind::datagram));
            TRY(connect_path(fresh, path));
            socket = std::move(fresh);
        }
        if (sys::sendmsg(socket.number(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            return {};
        }
        const int code = errno;
        if (is_last || code == EAGAIN || code == EMSGSIZE || code == ENOBUFS) {
            return fail(code, "send datagram");
        }
        socket.reset(); // the old connection is of no use any more
    }
}

namespace {

// A socket is bound by a path of 107 bytes at most, so by its name alone, in the directory. (A path
// through /proc/self/fd would cost three inodes of /proc for as long as we live; it is for a
// working directory that we could not come back to.)
Result<void> bind_name(FdRef socket, FdRef directory, const char* name) {
    const Result<Fd> here = open_at(working_directory(), ".", O_PATH | O_DIRECTORY, 0, "open");
    if (!here) {
        Text<64> path;
        path.put("/proc/self/fd/").put_dec(directory.number()).put('/').put(name);
        return bind_path(socket, path.view());
    }
    if (sys::fchdir(directory.number()) != 0) {
        return fail(errno, "change to directory");
    }
    const Result<void> bound = bind_path(socket, name);
    if (sys::fchdir(here->number()) != 0) {
        return fail(errno, "change back to directory");
    }
    return bound;
}

} // namespace

Result<Fd> bind_in(FdRef directory, const char* name, SocketKind kind, mode_t mode) {
    Fd socket = TRY(make_socket(kind));
    Result<void> bound = bind_name(socket, directory, name);
    if (!bound && bound.error().code == EADDRINUSE) {
        TRY(remove(directory, name));
        bound = bind_name(socket, directory, name);
    }
    if (!bound) {
        return base::Failure{bound.error()};
    }
    if (sys::fchmodat(directory.number(), name, mode) != 0) {
        const int code = errno;
        (void)remove(directory, name);
        return fail(code, "set mode of socket");
    }
    return socket;
}

Result<void> start_listening(FdRef socket) {
    if (sys::listen(socket.number(), backlog) != 0) {
        return fail(errno, "listen on socket");
    }
    return {};
}

Result<Fd> listen_in(FdRef directory, const char* name, SocketKind kind, mode_t mode) {
    Fd socket = TRY(bind_in(directory, name, kind, mode));
    if (const auto listening = start_listening(socket); !listening) {
        (void)remove(directory, name);
        return base::Failure{listening.error()};
    }
    return socket;
}

Result<Fd> accept_one(FdRef listener) {
    const int number =
        sys::accept4(listener.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (number < 0) {
        return fail(errno, "accept connection");
    }
    return Fd{number};
}

Result<Fd> receive_fd(FdRef socket) {
    std::array<char, console_name_max> name;
    iovec part{.iov_base = name.data(), .iov_len = name.size()};
    // Room for more descriptors than the one that is right, so that a wrong message is seen whole.
    constexpr size_t fds_max = 8;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(fds_max * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t length = sys::recvmsg(socket.number(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length < 0) {
        return fail(errno, "receive terminal");
    }
    Fd received;
    size_t count = 0;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = next_header(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const size_t payload = header->cmsg_len - CMSG_LEN(0);
        for (size_t at = 0; at + sizeof(int) <= payload; at += sizeof(int)) {
            int number = -1;
            std::memcpy(&number, CMSG_DATA(header) + at, sizeof number);
            received.reset(number); // closes the one before
            ++count;
        }
    }
    if (length == 0 || count != 1 || (message.msg_flags & MSG_CTRUNC) != 0) {
        return fail(EPROTO, "receive terminal");
    }
    return received;
}

} // namespace sys
