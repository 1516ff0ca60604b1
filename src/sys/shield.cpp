#include "sys/shield.h"

#include "sys/calls.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace sys {

namespace {

// Enough for a turn of output with what it may have to say.
constexpr size_t stack_size = 32'768;

struct Work {
    void (*run)(void*);
    void* argument;
    bool began;
};

int begin_work(void* place) {
    Work& work = *static_cast<Work*>(place);
    work.began = true;
    if (work.run != nullptr) {
        work.run(work.argument);
    }
    ::_exit(0);
}

} // namespace

// False: nothing was done, and may be another time, or never can be where memory is not shared.
[[gnu::noinline]] bool Shield::attempt(void (*run)(void*), void* argument) {
    alignas(16) std::array<std::byte, stack_size> stack;
    Work work{.run = run, .argument = argument, .began = false};
    // Without a signal at its end nobody who reaps our children meets it.
    constexpr int flags = CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_VFORK;
    const pid_t pid = sys::clone(begin_work, stack.data() + stack.size(), flags, &work);
    if (pid < 0) {
        return false;
    }
    siginfo_t info{};
    while (sys::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | __WALL) != 0 &&
           errno == EINTR) {
    }
    if (!work.began) {
        state_ = State::useless; // an emulator has copied the memory
    }
    return work.began;
}

void Shield::run(void (*work)(void*), void* argument) {
    // The first time without work, which would be lost in a copy.
    if (state_ == State::untried && attempt(nullptr, nullptr)) {
        state_ = State::usable;
    }
    if (state_ == State::usable) {
        state_ = State::in_use;
        const bool done = attempt(work, argument);
        state_ = State::usable;
        if (done) {
            return;
        }
    }
    work(argument);
}

} // namespace sys
