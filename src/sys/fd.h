// Descriptors: Fd owns one, FdRef borrows one. Every descriptor that we make is close-on-exec from
// the call that makes it; the functions here add the flag.
#pragma once

#include "base/result.h"

#include <sys/types.h>

namespace sys {

class FdRef {
  public:
    constexpr FdRef() = default;
    constexpr explicit FdRef(int number) : number_{number} {}

    [[nodiscard]] constexpr int number() const { return number_; }
    [[nodiscard]] constexpr bool valid() const { return number_ >= 0; }

  private:
    int number_ = -1;
};

class Fd {
  public:
    constexpr Fd() = default;
    constexpr explicit Fd(int number) : number_{number} {}
    Fd(Fd&& other) noexcept : number_{other.release()} {}
    Fd& operator=(Fd&& other) noexcept {
        reset(other.release());
        return *this;
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { reset(); }

    operator FdRef() const { return FdRef{number_}; } // NOLINT(google-explicit-constructor)
    [[nodiscard]] int number() const { return number_; }
    [[nodiscard]] bool valid() const { return number_ >= 0; }

    // Gives the descriptor away; the caller closes it.
    [[nodiscard]] int release() { return std::exchange(number_, -1); }

    // Closes what is owned, keeping errno, and owns `number` instead.
    void reset(int number = -1);

  private:
    int number_ = -1;
};

struct Pipe {
    Fd read_end;
    Fd write_end;
};

// The directory argument of open_at for paths that are relative to the working directory.
FdRef working_directory();

// openat(2). `step` names the attempt in the error.
base::Result<Fd>
open_at(FdRef directory, const char* path, int flags, mode_t mode, base::Step step);

// A pipe; `flags` may add O_NONBLOCK for both ends.
base::Result<Pipe> make_pipe(int flags);

// Puts a copy of `from` at the number `to`, without close-on-exec: only for 0, 1 and 2.
base::Result<void> place_at(FdRef from, int to);

// Fills those of 0, 1 and 2 that are closed with /dev/null, so that nothing of ours gets one.
void occupy_stdio();

// Puts /dev/null at 0, for reading, and at 1 and 2, for writing.
base::Result<void> put_null_at_stdio();

// Sets O_NONBLOCK, which all holders of the same open file share.
base::Result<void> set_nonblocking(FdRef fd);

// The same for a descriptor that has no other status flag, such as one end of a new pipe.
base::Result<void> set_only_nonblocking(FdRef fd);

// Marks a descriptor that somebody else opened as close-on-exec.
base::Result<void> set_close_on_exec(FdRef fd);

// Closes all descriptors >= 3 except those in `keep`, which need not be sorted and may hold
// invalid ones. At most keep_max of them. Falls back to /proc/self/fd where close_range(2) (Linux
// 5.9) is missing.
constexpr size_t keep_max = 96;
void close_all_except(std::span<const FdRef> keep);

} // namespace sys
