#include "sys/file.h"

#include "sys/calls.h"
#include "sys/clock.h"

#include <array>
#include <cerrno>
#include <climits>

namespace sys {

using base::Bytes;
using base::fail;
using base::MutableBytes;
using base::Result;
using base::Text;

namespace {

constexpr mode_t plain_file_mode = 0666;
constexpr int suffix_attempts = 100; // as many names as tempnam-like functions usually try

Result<void> write_all(FdRef to, std::string_view content) {
    while (!content.empty()) {
        const ssize_t count = sys::write(to.number(), content.data(), content.size());
        if (count < 0) {
            if (errno == EINTR) {
                continue;
            }
            return fail(errno, "write");
        }
        content.remove_prefix(static_cast<size_t>(count));
    }
    return {};
}

} // namespace

Result<Bytes> read_small(const char* path, MutableBytes into) {
    const Fd file = TRY(open_at(working_directory(), path, O_RDONLY, 0, "open"));
    size_t size = 0;
    while (size < into.size()) {
        const ssize_t count = sys::read(file.number(), into.data() + size, into.size() - size);
        if (count < 0) {
            return fail(errno, "read");
        }
        if (count == 0) {
            break;
        }
        size += static_cast<size_t>(count);
    }
    return into.first(size);
}

void put_random_suffix(base::TextSink& path) {
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    std::array<uint8_t, 6> random;
    if (sys::getrandom(random.data(), random.size(), GRND_NONBLOCK) !=
        static_cast<ssize_t>(random.size())) {
        // Early in the boot of a small machine. The name need not be secret, only new.
        auto seed = static_cast<uint32_t>(wall_time().nanoseconds ^ (sys::getpid() << 12));
        for (uint8_t& byte : random) {
            seed = seed * 1'664'525 + 1'013'904'223;
            byte = static_cast<uint8_t>(seed >> 24);
        }
    }
    for (const uint8_t byte : random) {
        path.put(alphabet[byte % alphabet.size()]);
    }
}

Result<void> write_atomically(const char* path, std::string_view content) {
    Text<PATH_MAX> temporary;
    temporary.put(path).put('.');
    const size_t stem = temporary.size();
    if (temporary.room() < 6) {
        return fail(ENAMETOOLONG, "create");
    }
    for (int attempt = 0;; ++attempt) {
        temporary.shrink(stem);
        put_random_suffix(temporary);
        Result<Fd> file = open_at(working_directory(),
                                  temporary.c_str(),
                                  O_WRONLY | O_CREAT | O_EXCL,
                                  plain_file_mode,
                                  "create");
        if (!file) {
            if (file.error().code == EEXIST && attempt < suffix_attempts) {
                continue;
            }
            return base::Failure{file.error()};
        }
        Result<void> done = write_all(*file, content);
        file->reset();
        if (done && sys::renameat(AT_FDCWD, temporary.c_str(), AT_FDCWD, path) != 0) {
            done = fail(errno, "rename");
        }
        if (!done) {
            (void)sys::unlink(temporary.c_str());
        }
        return done;
    }
}

Result<Fd> make_fifo(FdRef directory, const char* name, mode_t mode) {
    int made = sys::mkfifoat(directory.number(), name, mode);
    if (made != 0 && errno == EEXIST) {
        TRY(remove(directory, name));
        made = sys::mkfifoat(directory.number(), name, mode);
    }
    if (made != 0) {
        return fail(errno, "create fifo");
    }
    return open_at(directory, name, O_RDWR | O_NONBLOCK | O_NOFOLLOW, 0, "open fifo");
}

Result<void> remove(FdRef directory, const char* path) {
    if (sys::unlinkat(directory.number(), path, 0) != 0 && errno != ENOENT) {
        return fail(errno, "remove");
    }
    return {};
}

Result<void> touch(FdRef directory, const char* path) {
    const Fd file = TRY(open_at(
        directory, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, plain_file_mode, "create"));
    return {};
}

} // namespace sys
