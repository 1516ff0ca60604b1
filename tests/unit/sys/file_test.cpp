// Files: whole or not at all, and replaced rather than written through.

#include "shadow/faults.h"
#include "support/files.h"
#include "sys/file.h"
#include "unit/sys/ours.h"

#include <array>
#include <set>
#include <vector>

#include <sys/inotify.h>
#include <sys/stat.h>

using base::Text;
using shadow::Faults;
using shadow::Instead;
using support::TempDir;
using sys::Fd;

namespace {

Fd open_directory(const std::string& path) {
    auto directory = sys::open_at(
        sys::working_directory(), path.c_str(), O_PATH | O_DIRECTORY, 0, "open directory");
    REQUIRE(directory);
    return std::move(*directory);
}

bool is_suffix(std::string_view text) {
    return text.size() == 6 &&
           text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == std::string_view::npos;
}

} // namespace

TEST_CASE("a small file is read whole, a longer one is cut") {
    const TempDir directory;
    const std::string path = directory / "file";
    std::array<std::byte, 8> buffer;
    for (const auto& [content, expected] : {std::pair{"", ""},
                                            std::pair{"short", "short"},
                                            std::pair{"12345678", "12345678"},
                                            std::pair{"123456789", "12345678"}}) {
        support::write_file(path, content);
        const auto read = sys::read_small(path.c_str(), buffer);
        REQUIRE(read);
        CHECK(base::text_of(*read) == expected);
    }
    const auto missing = sys::read_small((directory / "none").c_str(), buffer);
    REQUIRE_FALSE(missing);
    CHECK(missing.error().code == ENOENT);
    CHECK(missing.error().call == "open");
    const auto no_file = sys::read_small(directory.path().c_str(), buffer);
    REQUIRE_FALSE(no_file);
    CHECK(no_file.error().code == EISDIR);
    CHECK(no_file.error().call == "read");
}

TEST_CASE("a small file that comes in pieces is read whole") {
    const TempDir directory;
    const std::string path = directory / "file";
    support::write_file(path, "0123456789");
    std::array<std::byte, 64> buffer;
    const Faults faults([](const shadow::Call& call) {
        return call.name == "read" ? Instead{.at_most = 3} : Instead{};
    });
    const auto read = sys::read_small(path.c_str(), buffer);
    REQUIRE(read);
    CHECK(base::text_of(*read) == "0123456789");
}

TEST_CASE("an atomic write makes the file, or replaces it, and leaves no other") {
    const TempDir directory;
    const std::string path = directory / "exit";
    const mode_t old = ::umask(0022);
    REQUIRE(sys::write_atomically(path.c_str(), "137"));
    CHECK(support::read_file(path) == "137");
    CHECK(support::mode_of(path) == 0644);
    REQUIRE(sys::write_atomically(path.c_str(), "0"));
    CHECK(support::read_file(path) == "0");
    REQUIRE(sys::write_atomically(path.c_str(), ""));
    CHECK(support::read_file(path) == "");
    ::umask(old);
    CHECK(support::names_in(directory.path()) == std::vector<std::string>{"exit"});
}

TEST_CASE("an atomic write shows its file by one rename, from a name with six characters more") {
    const TempDir directory;
    support::DirWatch watch;
    watch.add(directory.path());
    REQUIRE(sys::write_atomically((directory / "cid").c_str(), "42"));
    std::string temporary;
    bool moved = false;
    for (const auto& event : watch.drain()) {
        if ((event.mask & IN_MOVED_TO) != 0) {
            CHECK(event.name == "cid");
            moved = true;
            continue;
        }
        CHECK(event.name.substr(0, 4) == "cid.");
        CHECK(is_suffix(event.name.substr(4)));
        CHECK((temporary.empty() || temporary == event.name));
        temporary = event.name;
    }
    CHECK(moved);
    CHECK_FALSE(temporary.empty());
}

TEST_CASE("an atomic write replaces a link and a read-only file instead of writing through them") {
    const TempDir directory;
    support::write_file(directory / "target", "kept", 0444);
    REQUIRE(::symlink((directory / "target").c_str(), (directory / "exit").c_str()) == 0);
    REQUIRE(sys::write_atomically((directory / "exit").c_str(), "1"));
    CHECK(support::type_of(directory / "exit") == S_IFREG);
    CHECK(support::read_file(directory / "target") == "kept");
    REQUIRE(sys::write_atomically((directory / "target").c_str(), "2"));
    CHECK(support::read_file(directory / "target") == "2");
}

TEST_CASE("an atomic write takes short writes and interruptions in its stride") {
    const TempDir directory;
    const Faults faults([](const shadow::Call& call) {
        if (call.name != "write") {
            return Instead{};
        }
        return call.nth % 2 == 0 ? Instead{.error = EINTR} : Instead{.at_most = 1};
    });
    REQUIRE(sys::write_atomically((directory / "exit").c_str(), "12345"));
    CHECK(support::read_file(directory / "exit") == "12345");
}

TEST_CASE("an atomic write tries another name when one is taken, and not for ever") {
    const TempDir directory;
    {
        const Faults faults([](const shadow::Call& call) {
            return Instead{.error = call.name == "openat" && call.nth < 10 ? EEXIST : 0};
        });
        REQUIRE(sys::write_atomically((directory / "exit").c_str(), "5"));
        CHECK(support::read_file(directory / "exit") == "5");
        CHECK(faults.count("getrandom") == 10);
    }
    const Faults faults([](const shadow::Call& call) {
        return Instead{.error = call.name == "openat" ? EEXIST : 0};
    });
    const auto written = sys::write_atomically((directory / "exit").c_str(), "6");
    REQUIRE_FALSE(written);
    CHECK(written.error().code == EEXIST);
    CHECK(faults.count("openat") <= 200);
    CHECK(support::read_file(directory / "exit") == "5");
}

TEST_CASE("an atomic write never leaves half a file, whichever step fails") {
    const TempDir directory;
    const std::string path = directory / "exit";
    support::write_file(path, "old");
    for (const auto& [name, step] : {std::pair{"openat", "create"},
                                     std::pair{"write", "write"},
                                     std::pair{"renameat", "rename"}}) {
        for (const int code : {ENOSPC, EDQUOT, EIO, EROFS, EACCES}) {
            const Faults faults(name, 1, code);
            const auto written = sys::write_atomically(path.c_str(), "new");
            REQUIRE_FALSE(written);
            CHECK(written.error().code == code);
            CHECK(written.error().call == step);
            CHECK(support::read_file(path) == "old");
            CHECK(support::names_in(directory.path()) == std::vector<std::string>{"exit"});
        }
    }
}

TEST_CASE("paths that are too long for an atomic write are refused") {
    for (const size_t length : {4089, 4090, 4095, 4096, 5000}) {
        const auto written = sys::write_atomically(std::string(length, '/').c_str(), "x");
        REQUIRE_FALSE(written);
        // 4089 and one dot and six characters are 4096: the kernel takes 4095 and a NUL.
        CHECK(written.error().code == ENAMETOOLONG);
        CHECK(written.error().call == "create");
    }
}

TEST_CASE(
    "random suffixes differ and are of capitals and digits, also without the kernel's random") {
    for (const bool has_random : {true, false}) {
        const Faults faults([=](const shadow::Call& call) {
            return Instead{.error = call.name == "getrandom" && !has_random ? EAGAIN : 0};
        });
        std::set<std::string> seen;
        std::set<char> characters;
        for (int i = 0; i < 500; ++i) {
            Text<64> path{"/tmp/x."};
            sys::put_random_suffix(path);
            CHECK(path.view().substr(0, 7) == "/tmp/x.");
            const std::string suffix(path.view().substr(7));
            CHECK(is_suffix(suffix));
            seen.insert(suffix);
            characters.insert(suffix.begin(), suffix.end());
        }
        INFO(has_random);
        CHECK(seen.size() > 490);
        CHECK(characters.size() == 36);
    }
}

TEST_CASE("a random suffix is whole or overflows, also when the kernel gives too little") {
    Text<10> path{"12345678"};
    sys::put_random_suffix(path);
    CHECK(path.overflowed());
    const Faults faults([](const shadow::Call&) { return Instead{.at_most = 2}; });
    Text<10> other{""};
    sys::put_random_suffix(other);
    CHECK(is_suffix(other.view()));
}

TEST_CASE("a fifo replaces what was there and never reports an end") {
    const TempDir directory;
    const Fd at = open_directory(directory.path());
    SECTION("nothing") {}
    SECTION("a stale fifo with another mode") {
        REQUIRE(::mkfifo((directory / "ctl").c_str(), 0600) == 0);
    }
    SECTION("a regular file") {
        support::write_file(directory / "ctl", "x");
    }
    SECTION("a link, whose target stays") {
        support::write_file(directory / "target", "kept");
        REQUIRE(::symlink((directory / "target").c_str(), (directory / "ctl").c_str()) == 0);
    }
    SECTION("a dangling link") {
        REQUIRE(::symlink("nowhere", (directory / "ctl").c_str()) == 0);
    }
    const mode_t old = ::umask(0022);
    const auto fifo = sys::make_fifo(at, "ctl", 0660);
    ::umask(old);
    REQUIRE(fifo);
    CHECK(support::type_of(directory / "ctl") == S_IFIFO);
    CHECK(support::mode_of(directory / "ctl") == 0640);
    CHECK(unit::closes_on_exec(*fifo));
    CHECK(unit::is_nonblocking(*fifo));
    CHECK(support::try_read_file(directory / "target").value_or("kept") == "kept");

    char buffer[10];
    CHECK(::read(fifo->number(), buffer, sizeof buffer) == -1);
    CHECK(errno == EAGAIN);
    {
        const Fd writer{::open((directory / "ctl").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
        REQUIRE(writer.valid());
        REQUIRE(::write(writer.number(), "abc", 3) == 3);
    }
    CHECK(::read(fifo->number(), buffer, sizeof buffer) == 3);
    CHECK(::read(fifo->number(), buffer, sizeof buffer) == -1); // EAGAIN, no end
    CHECK(errno == EAGAIN);
}

TEST_CASE("a fifo in the place of a directory is refused") {
    const TempDir directory;
    const Fd at = open_directory(directory.path());
    REQUIRE(::mkdir((directory / "ctl").c_str(), 0700) == 0);
    const auto fifo = sys::make_fifo(at, "ctl", 0660);
    REQUIRE_FALSE(fifo);
    CHECK(fifo.error().code == EISDIR);
    CHECK(fifo.error().call == "remove");
}

TEST_CASE("removing what is not there is no error, removing what may not go is") {
    const TempDir directory;
    const Fd at = open_directory(directory.path());
    CHECK(sys::remove(at, "none"));
    support::write_file(directory / "file", "");
    CHECK(sys::remove(at, "file"));
    CHECK(support::names_in(directory.path()).empty());
    const Faults faults("unlinkat", 1, EROFS);
    const auto removed = sys::remove(at, "file");
    REQUIRE_FALSE(removed);
    CHECK(removed.error().code == EROFS);
}

TEST_CASE("touch makes an empty file, and leaves one that exists as it is") {
    const TempDir directory;
    const Fd at = open_directory(directory.path());
    const mode_t old = ::umask(0022);
    REQUIRE(sys::touch(at, "oom"));
    ::umask(old);
    CHECK(support::read_file(directory / "oom") == "");
    CHECK(support::mode_of(directory / "oom") == 0644);
    support::write_file(directory / "oom", "content");
    REQUIRE(sys::touch(at, "oom"));
    CHECK(support::read_file(directory / "oom") == "content");
    CHECK_FALSE(sys::touch(at, "sub/oom"));
    REQUIRE(::symlink((directory / "elsewhere").c_str(), (directory / "link").c_str()) == 0);
    CHECK(sys::touch(at, "link").error().code == ELOOP);
    CHECK_FALSE(support::fs::exists(directory / "elsewhere"));
    REQUIRE(::mkfifo((directory / "fifo").c_str(), 0600) == 0);
    CHECK(sys::touch(at, "fifo").error().code == ENXIO);
}
