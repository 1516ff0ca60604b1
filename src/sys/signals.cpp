#include "sys/signals.h"

#include "sys/calls.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sys {

using base::fail;
using base::Result;

sigset_t blocked_signals() {
    // All bits, also those of the signals that C libraries keep for themselves and that sigfillset
    // leaves out: anybody can send them, and their default is death.
    sigset_t set;
    std::memset(&set, 0xff, sizeof set);
    for (const int signal : {SIGSEGV,
                             SIGBUS,
                             SIGFPE,
                             SIGILL,
                             SIGTRAP,
                             SIGABRT,
                             SIGSYS, // faults
                             SIGTSTP,
                             SIGTTIN,
                             SIGTTOU,
                             SIGCONT}) { // jobs
        (void)sigdelset(&set, signal);
    }
    return set;
}

sigset_t block_signals() {
    (void)sys::set_disposition(SIGPIPE, SIG_IGN);
    // Ignored by a careless caller, it would take the status of all our children away.
    (void)sys::set_disposition(SIGCHLD, SIG_DFL);

    const sigset_t set = blocked_signals();
    sigset_t original;
    (void)sys::sigprocmask(SIG_SETMASK, &set, &original);
    return original;
}

void set_signal_mask(const sigset_t& mask) {
    (void)sys::sigprocmask(SIG_SETMASK, &mask, nullptr);
}

Result<Fd> open_signal_fd() {
    const sigset_t set = blocked_signals();
    const int number = sys::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (number < 0) {
        return fail(errno, "create signalfd");
    }
    return Fd{number};
}

std::optional<int> next_signal(FdRef signal_fd) {
    signalfd_siginfo info;
    if (sys::read(signal_fd.number(), &info, sizeof info) != sizeof info) {
        return std::nullopt;
    }
    return static_cast<int>(info.ssi_signo);
}

bool await_child(Instant deadline) {
    sigset_t child;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    const Instant left_ms = std::max(deadline - monotonic_ms(), Instant{0});
    timespec left{};
    left.tv_sec = static_cast<time_t>(left_ms / 1000);
    left.tv_nsec = static_cast<long>(left_ms % 1000 * 1'000'000);
    return sys::sigtimedwait(&child, nullptr, &left) >= 0 || errno == EINTR;
}

void let_through(int signal, const sigset_t& original) {
    if (sigismember(&original, signal) == 1) {
        return; // the caller wants it to have no effect, and pending it would be read for ever
    }
    (void)sys::kill(sys::getpid(), signal);
    sigset_t before;
    (void)sys::sigprocmask(SIG_SETMASK, &original, &before);
    (void)sys::sigprocmask(SIG_SETMASK, &before, nullptr);
}

} // namespace sys
