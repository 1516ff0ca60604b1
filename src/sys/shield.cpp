#include "sys/shield.h"

#include "sys/calls.h"

#include <cerrno>
#include <cstdint>

namespace sys {

namespace {

// What the frames of attempt() and of the calls in it take at most. The stack of the new process
// begins below them: we wait, and have no signal handler that could run there.
#if __has_feature(address_sanitizer) // which stands in for the calls, with frames of its own
constexpr uintptr_t frames_max = 65'536;
#else
constexpr uintptr_t frames_max = 512;
#endif

struct Start {
    Shield::Work work; // nullptr: none
    void* argument;
    volatile bool began;
};

int begin_work(void* place) {
    Start& start = *static_cast<Start*>(place);
    start.began = true;
    if (start.work != nullptr) {
        start.work(start.argument);
    }
    ::_exit(0);
}

} // namespace

// False: nothing was done, and may be another time, or never can be where memory is not shared.
[[gnu::noinline]] bool Shield::attempt(Work work, void* argument, FdRef signals) {
    const uintptr_t stack =
        (reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - frames_max) & ~uintptr_t{15};
    Start start{.work = work, .argument = argument, .began = false};
    // Short work has no signal at its end, so that nobody who reaps our children meets it.
    constexpr int flags = CLONE_VM | CLONE_FILES | CLONE_FS;
    const pid_t pid = sys::clone(begin_work,
                                 reinterpret_cast<void*>(stack),
                                 flags | (signals.valid() ? SIGCHLD : CLONE_VFORK),
                                 &start);
    if (pid < 0) {
        return false;
    }
    if (signals.valid()) {
        pollfd signal{.fd = signals.number(), .events = POLLIN, .revents = 0};
        (void)sys::poll(&signal, 1, -1);
        is_called_ = true;
    }
    while (sys::waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
    }
    if (!start.began) {
        state_ = State::useless; // an emulator has copied the memory
    }
    return start.began;
}

void Shield::run(Work work, void* argument) {
    run_long(work, argument, {});
}

void Shield::run_long(Work work, void* argument, FdRef signals) {
    if (state_ == State::in_use) {
        work(argument);
        return;
    }
    // The first time without work, which would be lost in a copy.
    if (state_ == State::untried && attempt(nullptr, nullptr, {})) {
        state_ = State::usable;
    }
    is_called_ = false;
    if (state_ == State::usable) {
        state_ = State::in_use;
        owner_ = sys::getpid();
        const bool done = attempt(work, argument, signals);
        state_ = State::usable;
        if (done) {
            return;
        }
    }
    is_called_ = true; // our signals are not seen while we work
    work(argument);
}

bool Shield::is_over() const {
    return is_called_ || sys::getppid() != owner_;
}

} // namespace sys
