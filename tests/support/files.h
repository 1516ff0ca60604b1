// Files and directories of a test: a directory that goes away with the test, whole-file reads and
// writes, and waiting for files through inotify.

#pragma once

#include "support/handle.h"

#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace support {

namespace fs = std::filesystem;

// A new directory under $TMPDIR or /tmp, removed with all that it holds. `length` asks for a path
// of at least that many bytes (made of nested directories), for tests of long paths.
class TempDir {
  public:
    explicit TempDir(size_t length = 0);
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    ~TempDir();

    const std::string& path() const { return path_; }
    std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

  private:
    std::string root_;
    std::string path_;
};

// The whole file; throws Broken when it cannot be read.
std::string read_file(const std::string& path);
// The whole file, or nothing when it does not exist.
std::optional<std::string> try_read_file(const std::string& path);
// Creates or replaces the file.
void write_file(const std::string& path, std::string_view bytes, mode_t mode = 0644);
// Permission bits of what the path names (a link is not followed).
mode_t mode_of(const std::string& path);
// File type bits (S_IFREG and so on) of what the path names; 0 when there is nothing.
mode_t type_of(const std::string& path);
// Names in the directory, sorted.
std::vector<std::string> names_in(const std::string& directory);

// What happens in directories, in order.
class DirWatch {
  public:
    struct Event {
        std::string directory;
        std::string name;
        uint32_t mask = 0;
    };

    DirWatch();
    // Watches for creations, renames, removals, modifications and closes after writing.
    void add(const std::string& directory);
    // The next event; throws TimedOut.
    Event next(const Deadline& deadline = Deadline(soon));
    // Everything that has been reported up to now.
    std::vector<Event> drain();
    int fd() const { return inotify_.get(); }

  private:
    void read_some();

    Handle inotify_;
    std::map<int, std::string> directories_;
    std::deque<Event> events_;
};

// Waits until `path` exists and `ready` accepts its contents; gives the contents, throws TimedOut.
// The file's directory must exist.
template <typename Ready>
std::string
wait_file(const std::string& path, Ready ready, const Deadline& deadline = Deadline(soon)) {
    DirWatch watch;
    watch.add(fs::path(path).parent_path().string());
    while (true) {
        if (auto bytes = try_read_file(path); bytes && ready(*bytes)) {
            return *bytes;
        }
        try {
            watch.next(deadline);
            watch.drain();
        } catch (const TimedOut&) {
            const auto bytes = try_read_file(path);
            throw TimedOut(path +
                           (bytes ? " holds only: " + bytes->substr(0, 400) : " did not appear"));
        }
    }
}
std::string wait_file(const std::string& path, const Deadline& deadline = Deadline(soon));
// Waits until the file contains `text`.
std::string wait_text(const std::string& path,
                      std::string_view text,
                      const Deadline& deadline = Deadline(soon));

} // namespace support
