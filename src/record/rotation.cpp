#include "record/rotation.h"

#include "base/text.h"
#include "sys/calls.h"

#include <cerrno>

#include <limits.h>

namespace record {

using base::fail;
using base::Result;
using base::Text;
using sys::Fd;
using sys::FdRef;

namespace {

constexpr mode_t log_mode = 0640;

bool is_same(const struct stat& one, const struct stat& other) {
    return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

bool is_one_of(const struct stat& directory, std::span<const char* const> allowed) {
    for (const char* const path : allowed) {
        struct stat status{};
        if (*path != '\0' && sys::stat(path, &status) == 0 && is_same(status, directory)) {
            return true;
        }
    }
    return false;
}

// Walks up to the root. By what directories are, not by their names: links do not matter.
bool is_allowed(FdRef directory, std::span<const char* const> allowed) {
    Fd above;
    struct stat here{};
    if (sys::fstat(directory.number(), &here) != 0) {
        return false;
    }
    while (!is_one_of(here, allowed)) {
        Result<Fd> next =
            sys::open_at(above.valid() ? above : directory, "..", O_PATH | O_DIRECTORY, 0, "open");
        const struct stat below = here;
        if (!next || sys::fstat(next->number(), &here) != 0 || is_same(here, below)) {
            return false;
        }
        above = std::move(*next);
    }
    return true;
}

// A log's files in its directory, by their slots.
class Files {
  public:
    Files(FdRef directory, std::string_view log, std::string_view fresh_suffix)
        : directory_{directory.number()}, log_{log}, fresh_suffix_{fresh_suffix} {}

    [[nodiscard]] bool exists(Slot slot) {
        struct stat status{};
        return sys::fstatat(directory_, name_of(slot), &status, AT_SYMLINK_NOFOLLOW) == 0 ||
               errno != ENOENT;
    }

    void remove(Slot slot) { (void)sys::unlinkat(directory_, name_of(slot), 0); }

    // Append mode, so that a file that somebody truncates does not get a hole.
    [[nodiscard]] Result<Fd> create(Slot slot) {
        return sys::open_at(FdRef{directory_},
                            name_of(slot),
                            O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NONBLOCK,
                            log_mode,
                            "open log file");
    }

    [[nodiscard]] bool move(Slot from, Slot to) {
        Name source;
        return sys::renameat(directory_, put(source, from), directory_, name_of(to)) == 0;
    }

  private:
    // The log's own name has at most NAME_MAX characters, or it could not have been opened; that a
    // longer one is too long is for the system to say.
    using Name = Text<NAME_MAX + 16>;

    const char* name_of(Slot slot) {
        name_.clear();
        return put(name_, slot);
    }

    const char* put(base::TextSink& name, Slot slot) {
        name.put(log_);
        if (slot == fresh_slot) {
            name.put(fresh_suffix_);
        } else if (slot != log_slot) {
            name.put('.').put_dec(slot);
        }
        return name.c_str();
    }

    int directory_;
    std::string_view log_;
    std::string_view fresh_suffix_;
    Name name_;
};

// Locks the file, or unlocks it. False if somebody else has locked it; where there are no locks,
// nobody has.
bool lock(FdRef file, short type) {
    struct flock whole{};
    whole.l_type = type;
    whole.l_whence = SEEK_SET;
    return sys::fcntl(file.number(), F_SETLK, &whole) == 0 || (errno != EAGAIN && errno != EACCES);
}

Result<void> climb(Files& files, Slot top) {
    Ladder ladder{top};
    while (const auto slot = ladder.next()) {
        if (files.move(*slot, *slot + 1) || (errno == ENOENT && *slot != fresh_slot)) {
            continue; // done, or somebody has just removed it
        }
        const int code = errno;
        if (*slot == fresh_slot && top != log_slot) {
            (void)files.move(log_slot + 1, log_slot);
        }
        files.remove(fresh_slot);
        return fail(code, "rename log file");
    }
    return {};
}

} // namespace

Result<Fd> open_directory(const LogName& name) {
    const std::string_view directory{name.path,
                                     static_cast<size_t>(base_name(name.path) - name.path)};
    Text<PATH_MAX> path{directory.empty() ? "." : directory};
    Fd opened = TRY(sys::open_at(
        sys::working_directory(), path.c_str(), O_PATH | O_DIRECTORY, 0, "open log file"));
    if (!name.allowed_directories.empty() && !is_allowed(opened, name.allowed_directories)) {
        return fail(EPERM, "check --log-allowlist-dir");
    }
    return opened;
}

const char* base_name(const char* path) {
    const size_t slash = std::string_view{path}.rfind('/');
    return slash == std::string_view::npos ? path : path + slash + 1;
}

Result<Fd> rotate(const LogName& name, int32_t backups, FdRef old) {
    const Fd directory = TRY(open_directory(name));
    Files files{directory, base_name(name.path), backups > 0 ? ".new" : ".tmp"};
    if (backups > 0 && !lock(old, F_WRLCK)) {
        return fail(EAGAIN, "lock log file");
    }
    files.remove(fresh_slot);
    Result<Fd> file = files.create(fresh_slot);
    if (file) {
        Slot top = log_slot;
        while (top < backups && files.exists(top)) {
            ++top;
        }
        if (const auto climbed = climb(files, top); !climbed) {
            file = base::Failure{climbed.error()};
        }
    }
    if (!file) {
        (void)lock(old, F_UNLCK);
    }
    return file;
}

} // namespace record
