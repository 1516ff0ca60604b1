// In place of src/sys/calls.h, for code whose system calls a test wants to fail: functions of the
// same names that ask shadow::ask() first and then make the real call, or not. Calls that are not
// named here (they cannot fail, or nobody looks) are the real ones.
#pragma once

#include "shadow/faults.h"

// The real header, under another name. (The name of a header in <> is not subject to macros.)
#define sys real_sys
#include "../../../src/sys/calls.h"
#undef sys

#include <algorithm>
#include <array>
#include <cerrno>
#include <concepts>

namespace sys {

using namespace real_sys; // a name that is declared here hides that one

#define SHADOWED(name)                                                                             \
    template <typename... Arguments> auto name(Arguments... arguments) {                           \
        const ::shadow::Instead instead = ::shadow::ask(#name);                                    \
        if (instead.error != 0) {                                                                  \
            errno = instead.error;                                                                 \
            return static_cast<decltype(::real_sys::name(arguments...))>(-1);                      \
        }                                                                                          \
        return ::real_sys::name(arguments...);                                                     \
    }

SHADOWED(accept4)
SHADOWED(access)
SHADOWED(bind)
SHADOWED(connect)
SHADOWED(dup2)
SHADOWED(epoll_create1)
SHADOWED(epoll_ctl)
SHADOWED(epoll_wait)
SHADOWED(eventfd)
SHADOWED(execve)
SHADOWED(fchdir)
SHADOWED(fchmod)
SHADOWED(fchmodat)
SHADOWED(fcntl)
SHADOWED(fork)
SHADOWED(fstat)
SHADOWED(fstatat)
SHADOWED(fsync)
SHADOWED(ftruncate)
SHADOWED(getcwd)
SHADOWED(getsockopt)
SHADOWED(ioctl)
SHADOWED(kill)
SHADOWED(listen)
SHADOWED(madvise)
SHADOWED(mkfifoat)
SHADOWED(nanosleep)
SHADOWED(open)
SHADOWED(openat)
SHADOWED(pipe2)
SHADOWED(poll)
SHADOWED(prctl)
SHADOWED(recvmsg)
SHADOWED(renameat)
SHADOWED(sendmsg)
SHADOWED(set_disposition)
SHADOWED(setsid)
SHADOWED(signalfd)
SHADOWED(sigprocmask)
SHADOWED(sigtimedwait)
SHADOWED(socket)
SHADOWED(stat)
SHADOWED(statfs)
SHADOWED(symlink)
SHADOWED(tcgetattr)
SHADOWED(tcsetattr)
SHADOWED(unlink)
SHADOWED(unlinkat)
SHADOWED(waitid)

#undef SHADOWED

// A close that fails has closed nevertheless, on Linux.
inline int close(int fd) {
    const shadow::Instead instead = shadow::ask("close");
    const int closed = ::close(fd);
    if (instead.error != 0) {
        errno = instead.error;
        return -1;
    }
    return closed;
}

// Those that may move less than was asked.
#define SHADOWED_MOVE(name, parameters, shorter)                                                   \
    inline ssize_t name parameters {                                                               \
        const shadow::Instead instead = shadow::ask(#name);                                        \
        if (instead.error != 0) {                                                                  \
            errno = instead.error;                                                                 \
            return -1;                                                                             \
        }                                                                                          \
        size = std::min(size, instead.at_most);                                                    \
        return ::name shorter;                                                                     \
    }

SHADOWED_MOVE(read, (int fd, void* into, size_t size), (fd, into, size))
SHADOWED_MOVE(write, (int fd, const void* from, size_t size), (fd, from, size))
SHADOWED_MOVE(pread, (int fd, void* into, size_t size, off_t at), (fd, into, size, at))
SHADOWED_MOVE(pwrite, (int fd, const void* from, size_t size, off_t at), (fd, from, size, at))
SHADOWED_MOVE(getrandom, (void* into, size_t size, unsigned flags), (into, size, flags))

#undef SHADOWED_MOVE

inline ssize_t writev(int fd, const iovec* parts, int count) {
    const shadow::Instead instead = shadow::ask("writev");
    if (instead.error != 0) {
        errno = instead.error;
        return -1;
    }
    std::array<iovec, 8> shorter;
    size_t left = instead.at_most;
    int kept = 0;
    for (; kept < count && kept < static_cast<int>(shorter.size()) && left != 0; ++kept) {
        iovec& part = shorter[static_cast<size_t>(kept)];
        part = parts[kept];
        part.iov_len = std::min(part.iov_len, left);
        left -= part.iov_len;
    }
    return ::writev(fd, shorter.data(), kept);
}

// It cannot fail; `at_most` is what it says.
inline int getpagesize() {
    const shadow::Instead instead = shadow::ask("getpagesize");
    return instead.at_most == SIZE_MAX ? ::getpagesize() : static_cast<int>(instead.at_most);
}

template <typename... Arguments> void* mmap(void* at, size_t size, Arguments... arguments) {
    const shadow::Instead instead = shadow::ask("mmap");
    if (instead.error != 0) {
        errno = instead.error;
        return MAP_FAILED;
    }
    return ::mmap(at, size, arguments...);
}

// The new process asks, too, until it executes: it shares our memory.
inline int clone(int (*run)(void*), void* stack, int flags, void* argument, int* pidfd = nullptr) {
    const shadow::Instead instead = shadow::ask("clone");
    if (instead.error != 0) {
        errno = instead.error;
        return -1;
    }
    if ((flags & CLONE_PIDFD) != 0 && shadow::ask("CLONE_PIDFD").error != 0) {
        flags &= ~CLONE_PIDFD;
    }
    if ((flags & CLONE_VM) != 0 && shadow::ask("CLONE_VM").error != 0) {
        flags &= ~(CLONE_VM | CLONE_VFORK);
    }
    return ::clone(run, stack, flags, argument, pidfd);
}

constexpr std::string_view name_of_number(long number) {
    switch (number) {
    case SYS_close_range:
        return "close_range";
    case SYS_getdents64:
        return "getdents64";
    case SYS_pidfd_open:
        return "pidfd_open";
    default:
        return "syscall";
    }
}

template <typename... Arguments> long syscall(long number, Arguments... arguments) {
    const shadow::Instead instead = shadow::ask(name_of_number(number));
    if (instead.error != 0) {
        errno = instead.error;
        return -1;
    }
    return ::syscall(number, arguments...);
}

} // namespace sys
