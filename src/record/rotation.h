// Rotation: a new, empty file takes the name of the log. The old one becomes the newest of the
// backups NAME.1, NAME.2, ..., or loses its name if none are kept. It is a list of renames, from
// the oldest backup to the new file, so that nothing is ever written over but the backup that is
// one too many, and so that whatever stops it leaves every line in some file:
//
//     NAME.2 -> NAME.3    NAME.1 -> NAME.2    NAME -> NAME.1    NAME.new -> NAME
//
// Everything is done in the log's directory as it was when the rotation began, which is the one
// that was found to be allowed.
#pragma once

#include "sys/fd.h"

#include <optional>
#include <span>

namespace record {

// The files of a log: 0 is the log itself, 1 and more its backups, -1 the file that will replace
// it.
using Slot = int32_t;
constexpr Slot fresh_slot = -1;
constexpr Slot log_slot = 0;

// The renames of one rotation, each from a slot to the one above it.
class Ladder {
  public:
    // `top` is where the oldest file ends up: the first slot that is free, or the last one allowed.
    // 0: the log is replaced.
    explicit constexpr Ladder(Slot top) : next_{top - 1} {}

    // The slot whose file moves up next; nothing when all are done.
    constexpr std::optional<Slot> next() {
        if (next_ < fresh_slot) {
            return std::nullopt;
        }
        return next_--;
    }

  private:
    Slot next_;
};

struct LogName {
    const char* path = nullptr;
    // Only these directories, and what is below them, may hold the log; none given: any may.
    std::span<const char* const> allowed_directories = {};
};

// Opens (O_PATH) the directory that holds the log, by which the file is then to be named. EPERM: it
// is not allowed.
base::Result<sys::Fd> open_directory(const LogName& name);

// The last part of `path`.
[[nodiscard]] const char* base_name(const char* path);

// Puts a new file, mode 0640, in the place of `old`, which is open, and keeps up to `backups` old
// ones; 0: none. What a dead monitor has left under the temporary name is removed. Returns the new
// file, open for appending. On an error the log keeps its name, unless even undoing the last step
// is refused; then it is NAME.1, and a later rotation goes on from there. EAGAIN or EACCES by the
// step "lock log file": somebody has locked the file to keep it from being rotated.
base::Result<sys::Fd> rotate(const LogName& name, int32_t backups, sys::FdRef old);

} // namespace record
