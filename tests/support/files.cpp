// Whole-file input and output, temporary directories, and inotify.

#include "support/files.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

namespace support {

TempDir::TempDir(size_t length) {
    const char* base = std::getenv("TMPDIR");
    std::string pattern = std::string(base != nullptr && *base != '\0' ? base : "/tmp");
    pattern += "/flow.XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
        throw Broken("mkdtemp " + pattern);
    }
    root_ = pattern;
    path_ = root_;
    while (path_.size() < length) {
        path_ += "/" + std::string(std::min<size_t>(60, length - path_.size()), 'd');
    }
    fs::create_directories(path_);
}

TempDir::~TempDir() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
}

std::optional<std::string> try_read_file(const std::string& path) {
    const Handle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.is_open()) {
        if (errno == ENOENT) {
            return std::nullopt;
        }
        throw Broken("open " + path);
    }
    std::string bytes;
    char block[65536];
    while (true) {
        const ssize_t n = ::read(file.get(), block, sizeof block);
        if (n < 0) {
            throw Broken("read " + path);
        }
        if (n == 0) {
            return bytes;
        }
        bytes.append(block, static_cast<size_t>(n));
    }
}

std::string read_file(const std::string& path) {
    auto bytes = try_read_file(path);
    if (!bytes) {
        throw Broken("read " + path);
    }
    return *bytes;
}

void write_file(const std::string& path, std::string_view bytes, mode_t mode) {
    const Handle file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!file.is_open()) {
        throw Broken("create " + path);
    }
    while (!bytes.empty()) {
        const ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
        if (n < 0) {
            throw Broken("write " + path);
        }
        bytes.remove_prefix(static_cast<size_t>(n));
    }
}

mode_t mode_of(const std::string& path) {
    struct stat info;
    if (::lstat(path.c_str(), &info) != 0) {
        throw Broken("stat " + path);
    }
    return info.st_mode & 07777;
}

mode_t type_of(const std::string& path) {
    struct stat info;
    return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & S_IFMT : 0;
}

std::vector<std::string> names_in(const std::string& directory) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) {
        names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
}

DirWatch::DirWatch() : inotify_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    if (!inotify_.is_open()) {
        throw Broken("inotify_init1");
    }
}

void DirWatch::add(const std::string& directory) {
    const int id = ::inotify_add_watch(inotify_.get(),
                                       directory.c_str(),
                                       IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
                                           IN_MODIFY | IN_CLOSE_WRITE);
    if (id < 0) {
        throw Broken("inotify_add_watch " + directory);
    }
    directories_[id] = directory;
}

void DirWatch::read_some() {
    alignas(inotify_event) char block[65536];
    const ssize_t n = ::read(inotify_.get(), block, sizeof block);
    for (ssize_t at = 0; at < n;) {
        const auto* event = reinterpret_cast<const inotify_event*>(block + at);
        events_.push_back({.directory = directories_[event->wd],
                           .name = event->len > 0 ? std::string(event->name) : std::string(),
                           .mask = event->mask});
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
}

DirWatch::Event DirWatch::next(const Deadline& deadline) {
    while (events_.empty()) {
        if (!wait_readable(inotify_.get(), deadline)) {
            throw TimedOut("nothing happened in the watched directories");
        }
        read_some();
    }
    Event event = events_.front();
    events_.pop_front();
    return event;
}

std::vector<DirWatch::Event> DirWatch::drain() {
    while (wait_readable(inotify_.get(), Deadline(milliseconds(0)))) {
        read_some();
    }
    std::vector<Event> all(events_.begin(), events_.end());
    events_.clear();
    return all;
}

std::string wait_file(const std::string& path, const Deadline& deadline) {
    return wait_file(path, [](const std::string&) { return true; }, deadline);
}

std::string wait_text(const std::string& path, std::string_view text, const Deadline& deadline) {
    return wait_file(
        path,
        [text](const std::string& bytes) { return bytes.find(text) != std::string::npos; },
        deadline);
}

} // namespace support
