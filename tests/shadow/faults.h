// Faults: makes the system calls of code under test fail, move less than was asked, or pass, and
// notes them. The code under test is compiled with tests/shadow first on the path of rooted
// includes, so that its "sys/calls.h" is the one beside this file, which asks here before each
// call.
//
// The notes are kept without allocation: between clone(2) and execve(2) the code under test runs on
// a stack of a few kilobytes in our own memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace shadow {

// What a call does instead of what was asked of it.
struct Instead {
    int error = 0;             // not 0: nothing is done, and the call fails with this errno
    size_t at_most = SIZE_MAX; // what read, write, pread, pwrite, writev and getrandom move at
                               // most; what getpagesize says
};

// One call as it was made: the `nth` of its name since the Faults object was made, from 1.
// syscall(2) goes by what it asks for ("close_range"); clone(2) with CLONE_PIDFD is noted as
// "CLONE_PIDFD" too, whose failure is an old kernel that does not know the flag, and with CLONE_VM
// as "CLONE_VM", whose failure is an emulator that copies the memory.
struct Call {
    std::string_view name;
    int nth = 0;

    bool operator==(const Call&) const = default;
};

// In force from its construction to its destruction; at most one at a time.
class Faults {
  public:
    using Judge = std::function<Instead(const Call&)>;

    // Notes calls and lets all pass.
    Faults() : Faults(Judge{}) {}
    explicit Faults(Judge judge);
    // The nth call of that name fails, once.
    Faults(std::string_view name, int nth, int error);
    Faults(const Faults&) = delete;
    Faults& operator=(const Faults&) = delete;
    ~Faults();

    // All calls in their order; those beyond the room for notes are missing.
    std::span<const Call> calls() const { return {calls_.data(), count_}; }
    // How many calls of that name were made.
    int count(std::string_view name) const;
    // Whether a call was made to do something else than was asked.
    bool fired() const { return fired_; }

  private:
    friend Instead ask(std::string_view name);

    static constexpr size_t calls_max = 2048;
    static constexpr size_t names_max = 64;

    Judge judge_;
    std::array<Call, calls_max> calls_;
    size_t count_ = 0;
    std::array<Call, names_max> last_; // of each name
    size_t names_ = 0;
    bool fired_ = false;
};

// Asked by every call in tests/shadow/sys/calls.h.
Instead ask(std::string_view name);

} // namespace shadow
