#include "sys/fd.h"

#include "base/scan.h"
#include "sys/calls.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

namespace sys {

using base::fail;
using base::Result;

namespace {

constexpr int first_above_stdio = 3;

// Where descriptors are not looked for any more when the kernel can neither close nor list them.
constexpr int blind_max = 65'536;

// The layout of linux_dirent64 up to the name (getdents64(2)); opendir would bring malloc in.
struct DirectoryEntry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[1];
};

bool contains(std::span<const int> numbers, int number) {
    return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

// Closing changes the listing, so the listing is read again until a pass closes nothing.
void close_by_listing(std::span<const int> keep) {
    bool closed_any = true;
    while (closed_any) {
        closed_any = false;
        Result<Fd> directory = open_at(
            working_directory(), "/proc/self/fd", O_RDONLY | O_DIRECTORY, 0, "list descriptors");
        if (!directory) {
            for (int number = first_above_stdio; number < blind_max; ++number) {
                if (!contains(keep, number)) {
                    (void)sys::close(number);
                }
            }
            return;
        }
        alignas(DirectoryEntry) std::array<char, 2048> buffer;
        for (;;) {
            const long length =
                sys::syscall(SYS_getdents64, directory->number(), buffer.data(), buffer.size());
            if (length <= 0) {
                break;
            }
            for (long at = 0; at < length;) {
                const auto* entry = reinterpret_cast<const DirectoryEntry*>(buffer.data() + at);
                at += entry->length;
                const auto number = base::parse_int<int>(static_cast<const char*>(entry->name));
                if (number && *number >= first_above_stdio && *number != directory->number() &&
                    !contains(keep, *number)) {
                    (void)sys::close(*number);
                    closed_any = true;
                }
            }
        }
    }
}

} // namespace

void Fd::reset(int number) {
    if (number_ >= 0) {
        const int kept = errno;
        (void)sys::close(number_); // EINTR too means closed, on Linux
        errno = kept;
    }
    number_ = number;
}

FdRef working_directory() {
    return FdRef{AT_FDCWD};
}

Result<Fd> open_at(FdRef directory, const char* path, int flags, mode_t mode, base::Step step) {
    const int number = sys::openat(directory.number(), path, flags | O_CLOEXEC, mode);
    if (number < 0) {
        return fail(errno, step);
    }
    return Fd{number};
}

Result<Pipe> make_pipe(int flags) {
    std::array<int, 2> ends;
    if (sys::pipe2(ends.data(), flags | O_CLOEXEC) != 0) {
        return fail(errno, "create pipe");
    }
    return Pipe{Fd{ends[0]}, Fd{ends[1]}};
}

Result<void> place_at(FdRef from, int to) {
    if (sys::dup2(from.number(), to) < 0) {
        return fail(errno, "duplicate descriptor");
    }
    return {};
}

void occupy_stdio() {
    std::array<pollfd, first_above_stdio> streams{{{0, 0, 0}, {1, 0, 0}, {2, 0, 0}}};
    if (sys::poll(streams.data(), streams.size(), 0) == 0) {
        return; // all are open; what is not, or has hung up, is found below
    }
    int number = -1;
    do {
        number = sys::open("/dev/null", O_RDWR); // inherited, as the caller's own would be
    } while (number >= 0 && number < first_above_stdio);
    if (number >= 0) {
        (void)sys::close(number);
    }
}

Result<void> put_null_at_stdio() {
    for (const int flags : {O_RDONLY, O_WRONLY}) {
        const Fd null = TRY(open_at(working_directory(), "/dev/null", flags, 0, "open /dev/null"));
        if (flags == O_RDONLY) {
            TRY(place_at(null, 0));
        } else {
            TRY(place_at(null, 1));
            TRY(place_at(null, 2));
        }
    }
    return {};
}

Result<void> set_nonblocking(FdRef fd) {
    const int flags = sys::fcntl(fd.number(), F_GETFL);
    if (flags < 0 || sys::fcntl(fd.number(), F_SETFL, flags | O_NONBLOCK) != 0) {
        return fail(errno, "make descriptor non-blocking");
    }
    return {};
}

Result<void> set_only_nonblocking(FdRef fd) {
    if (sys::fcntl(fd.number(), F_SETFL, O_NONBLOCK) != 0) {
        return fail(errno, "make descriptor non-blocking");
    }
    return {};
}

Result<void> set_close_on_exec(FdRef fd) {
    if (sys::fcntl(fd.number(), F_SETFD, FD_CLOEXEC) != 0) {
        return fail(errno, "make descriptor close-on-exec");
    }
    return {};
}

void close_all_except(std::span<const FdRef> keep) {
    std::array<int, keep_max> storage;
    size_t count = 0;
    for (const FdRef fd : keep) {
        // Insertion keeps the few numbers sorted; std::sort needs a C++ library.
        if (fd.number() < first_above_stdio) {
            continue;
        }
        CHECK(count < storage.size());
        size_t at = count++;
        for (; at > 0 && storage[at - 1] > fd.number(); --at) {
            storage[at] = storage[at - 1];
        }
        storage[at] = fd.number();
    }
    const std::span<const int> sorted{storage.data(), count};
    unsigned first = first_above_stdio;
    for (const int number : sorted) {
        const auto last = static_cast<unsigned>(number);
        if (last > first && sys::syscall(SYS_close_range, first, last - 1, 0) != 0) {
            close_by_listing(sorted);
            return;
        }
        first = last + 1;
    }
    if (sys::syscall(SYS_close_range, first, UINT_MAX, 0) != 0) {
        close_by_listing(sorted);
    }
}

} // namespace sys
