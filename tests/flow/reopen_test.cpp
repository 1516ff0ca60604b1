// Reopening, size limits and rotation of the k8s-file log, and logs that are fifos or whose
// directory is gone.

#include "support/mailbox.h"
#include "support/monitor.h"
#include "support/mounts.h"

#include <csignal>
#include <sstream>

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

// A line of `seq -f 'line %07.0f'` has 12 bytes, its record 45 + 13.
std::string numbered(int count) {
    return "seq -f 'line %07.0f' 1 " + std::to_string(count);
}

// Numbers of the complete lines in a log, in order; parse_k8s throws at anything that is no record.
std::vector<int> numbers_in(const std::string& path) {
    std::vector<int> numbers;
    const std::string bytes = payload_of(parse_k8s(read_file(path)));
    for (size_t at = 0; (at = bytes.find("line ", at)) != std::string::npos; at += 12) {
        if (at + 12 <= bytes.size()) {
            numbers.push_back(std::stoi(bytes.substr(at + 5, 7)));
        }
    }
    return numbers;
}

void check_consecutive(const std::vector<int>& numbers) {
    for (size_t n = 1; n < numbers.size(); ++n) {
        REQUIRE(numbers[n] == numbers[n - 1] + 1);
    }
}

// A program that runs the monitor under strace, which notes the calls by which a file gets its name
// or comes to the disk, as the last part of a line each. It is called conmon.
class Traced {
  public:
    // `more` are words for strace.
    explicit Traced(const std::string& more = "") {
        write_file(
            program(),
            "#!/bin/sh\nexec strace -D -f -qq " + more + " -o " + dir_ / "trace" +
                " -e trace=fsync,fdatasync,syncfs,sync,sync_file_range,msync,rename,renameat,"
                "renameat2 " +
                program_under_test() + " \"$@\"\n",
            0755);
    }
    std::string program() const { return dir_ / "conmon"; }
    // "sync" or "named PATH" for each call so far, in order.
    Lines calls() const {
        Lines calls;
        std::istringstream lines(try_read_file(dir_ / "trace").value_or(""));
        for (std::string line; std::getline(lines, line);) {
            if (line.find("rename") != std::string::npos) {
                const size_t last = line.rfind('"');
                const size_t first = line.rfind('"', last - 1);
                calls.push_back("named " + line.substr(first + 1, last - first - 1));
            } else if (line.find("sync(") != std::string::npos) {
                calls.push_back("sync");
            }
        }
        return calls;
    }

  private:
    TempDir dir_;
};

bool reopened(const std::string& path, ino_t before) {
    return eventually([&] {
        struct stat info{};
        return ::stat(path.c_str(), &info) == 0 && info.st_ino != before;
    });
}

ino_t inode_of(const std::string& path) {
    struct stat info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    return info.st_ino;
}

} // namespace

TEST_CASE(
    "A renamed log is continued in a new file by ctl and by HUP, nothing lost (regression 49)") {
    for (const bool by_signal : {false, true}) {
        Monitor m;
        m.gate("go").shell("echo one; : <go; echo two");
        m.run();
        m.wait_log("one\n");
        fs::rename(m.log, m.log + ".old");
        if (by_signal) {
            m.process().kill(SIGHUP);
        } else {
            m.control("2 0 0\n");
        }
        wait_file(m.log);
        m.open_gate("go");
        m.end();
        CHECK(briefs(read_file(m.log + ".old")) == Lines{"stdout F one"});
        CHECK(m.log_briefs() == Lines{"stdout F two"});
        CHECK(mode_of(m.log) == 0640);
        CHECK(type_of(m.log + ".tmp") == 0);
    }
}

TEST_CASE("A reopened log arrives by a rename of a new file, as CRI-O waits for") {
    Monitor m;
    m.gate("end").shell("echo one; : <end");
    m.run();
    m.wait_log("one\n");
    DirWatch watch;
    watch.add(m.bundle);
    m.control("2 0 0\n");
    while (true) {
        const auto event = watch.next();
        if ((event.mask & IN_MOVED_TO) != 0 && event.name == "ctr.log") {
            break;
        }
    }
    m.open_gate("end");
    m.end();
}

TEST_CASE("Lines are neither lost nor doubled by renames and reopenings under load") {
    Monitor m;
    m.shell(numbered(300000));
    m.run();
    std::vector<std::string> parts;
    for (int n = 0; n < 15; ++n) {
        const ino_t before = inode_of(m.log);
        parts.push_back(m.log + "." + std::to_string(n));
        fs::rename(m.log, parts.back());
        if (n % 2 == 0) {
            m.control("2 0 0\n");
        } else {
            m.process().kill(SIGHUP);
        }
        if (!reopened(m.log, before)) {
            break; // the container has ended
        }
    }
    CHECK(m.exit_file() == "0");
    m.end();
    parts.push_back(m.log);
    std::string all;
    for (const auto& part : parts) {
        if (const auto bytes = try_read_file(part)) {
            parse_k8s(*bytes);
            all += *bytes;
        }
    }
    const std::string written = payload_of(parse_k8s(all));
    CHECK(std::ranges::count(written, '\n') == 300000);
    CHECK(written.size() == 300000 * 13);
}

TEST_CASE("HUP reopens the log at once, however much the container writes") {
    Monitor m;
    m.gate("end").shell("yes & yes=$!; : <end; kill $yes");
    m.run();
    m.wait_log("stdout F y");
    auto longest = milliseconds(0);
    for (int n = 0; n < 10; ++n) {
        ::usleep(30'000);
        const ino_t before = inode_of(m.log);
        fs::remove(m.log);
        const auto sent = std::chrono::steady_clock::now();
        m.process().kill(SIGHUP);
        REQUIRE(reopened(m.log, before));
        longest = std::max(
            longest,
            std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - sent));
    }
    CHECK(longest < milliseconds(500)); // it takes some; with other work on the machine more
    m.open_gate("end");
    m.end();
}

TEST_CASE("A reopened log is appended to, so that copytruncate leaves no hole (regression 48)") {
    Monitor m;
    m.gate("one").gate("two").shell(": <one; echo one; : <two; echo two");
    m.run();
    const ino_t before = inode_of(m.log);
    m.control("2 0 0\n");
    REQUIRE(reopened(m.log, before));
    m.open_gate("one");
    m.wait_log("one\n");
    REQUIRE(::truncate(m.log.c_str(), 0) == 0);
    m.open_gate("two");
    m.end();
    CHECK(m.log_briefs() == Lines{"stdout F two"});
}

TEST_CASE(
    "A vanished log directory ends nothing, and logging resumes when it is back (regression 6)") {
    Monitor m;
    const std::string dir = m.dir / "logs";
    fs::create_directory(dir);
    m.set("-l", "k8s-file:" + dir + "/ctr.log").add({"--log-size-max", "9000"});
    m.gate("go").gate("more").exit_script({"mark ran"});
    m.shell(numbered(300) + "; : <go; " + numbered(300) +
            "; echo >written; : <more; echo more; exit 5");
    m.run();
    wait_text(dir + "/ctr.log", "line 0000300");
    fs::remove_all(dir);
    m.open_gate("go");
    wait_file(m.bundle + "/written");
    CHECK(m.process().is_running());
    CHECK(type_of(m.bundle + "/ran") == 0);
    fs::create_directory(dir);
    m.control("2 0 0\n");
    wait_file(dir + "/ctr.log");
    m.open_gate("more");
    CHECK(m.exit_file() == "5");
    CHECK(m.end() == exited(5));
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    CHECK(briefs(read_file(dir + "/ctr.log")).back() == "stdout F more");
}

TEST_CASE("The option --log-size-max: the newest records stay, no file is larger, none is torn "
          "(regression 42)") {
    Monitor m;
    m.add({"--log-size-max", "20000"}).shell(numbered(200000));
    m.run();
    CHECK(wait_file(m.exits + "/" + m.id, Deadline(seconds(30))) == "0");
    m.end();
    CHECK(fs::file_size(m.log) <= 20000);
    const auto numbers = numbers_in(m.log);
    check_consecutive(numbers);
    CHECK(numbers.back() == 200000);
    CHECK(names_in(m.bundle).size() == 6);
}

TEST_CASE("The option --log-size-max counts what is there already, and the newest line always fits "
          "(regression 44)") {
    Monitor big;
    std::string old;
    for (int n = 0; n < 100; ++n) {
        old += "2020-01-01T00:00:00.000000000+00:00 stdout F old\n";
    }
    write_file(big.log, old, 0640);
    big.add({"--log-size-max", "1000"}).shell("echo new");
    big.run();
    big.end();
    CHECK(big.log_briefs() == Lines{"stdout F new"});
    Monitor tiny;
    tiny.add({"--log-size-max", "10"}).shell("echo one; echo two; echo three");
    tiny.run();
    tiny.end();
    CHECK(tiny.log_briefs() == Lines{"stdout F three"});
}

TEST_CASE("The option --log-global-size-max ends the log for good, and nothing else") {
    Monitor m;
    m.add({"--log-global-size-max", "10000"})
        .gate("go")
        .shell(": <go; " + numbered(20000) + "; exit 3");
    m.run();
    auto client = m.attach();
    const pid_t pid = m.process().pid();
    REQUIRE(eventually([&] {
        int sockets = 0;
        for (const auto& [fd, what] : fds_of(pid)) {
            sockets += what.starts_with("socket:") ? 1 : 0;
        }
        return sockets >= 3; // sync pipe, listener, client
    }));
    m.open_gate("go");
    CHECK(client.receive_all().out.size() == 20000 * 13);
    CHECK(m.exit_file() == "3");
    const auto size = fs::file_size(m.log);
    CHECK(size >= 10000);
    CHECK(size < 10000 + 58);
    const auto numbers = numbers_in(m.log);
    check_consecutive(numbers);
    CHECK(numbers.front() == 1);
}

TEST_CASE("The option --log-rotate keeps N backups without a gap or a double (regression 45)") {
    for (const int backups : {1, 3}) {
        Monitor m;
        m.add({"--log-rotate",
               "--log-max-files",
               std::to_string(backups),
               "--log-size-max",
               "20000"});
        m.shell(numbered(5000));
        m.run();
        CHECK(m.exit_file() == "0");
        m.end();
        std::vector<int> all;
        for (int n = backups; n > 0; --n) {
            const auto part = numbers_in(m.log + "." + std::to_string(n));
            CHECK(fs::file_size(m.log + "." + std::to_string(n)) <= 20000);
            all.insert(all.end(), part.begin(), part.end());
        }
        const auto newest = numbers_in(m.log);
        all.insert(all.end(), newest.begin(), newest.end());
        check_consecutive(all);
        CHECK(all.back() == 5000);
        CHECK(type_of(m.log + "." + std::to_string(backups + 1)) == 0);
        CHECK(type_of(m.log + ".new") == 0);
    }
}

TEST_CASE("The option --log-rotate goes on although .new exists or the log was renamed or removed "
          "(regressions 46 and 47)") {
    for (const std::string fault : {"new", "renamed", "removed"}) {
        Monitor m;
        m.add({"--log-rotate", "--log-max-files", "2", "--log-size-max", "9000"});
        if (fault == "new") {
            write_file(m.log + ".new", "stale");
        }
        m.gate("go").gate("end").shell("echo one; : <go; " + numbered(3000) +
                                       "; echo >written; : <end");
        m.run();
        m.wait_log("one\n");
        const auto before = fds_of(m.process().pid()).size();
        if (fault == "renamed") {
            fs::rename(m.log, m.log + ".away");
        } else if (fault == "removed") {
            fs::remove(m.log);
        }
        m.open_gate("go");
        wait_file(m.bundle + "/written");
        INFO(fault);
        // A rotation that is under way holds a few more for a moment.
        CHECK(eventually([&] { return fds_of(m.process().pid()).size() == before; }, seconds(3)));
        m.open_gate("end");
        CHECK(m.exit_file() == "0");
        m.end();
        CHECK(fs::file_size(m.log) <= 9000);
        CHECK(numbers_in(m.log).back() == 3000);
    }
}

TEST_CASE("The log comes to the disk once, after the exit files, or with --no-sync-log never "
          "(regression 50)") {
    for (const bool sync_log : {true, false}) {
        const Traced traced;
        Monitor m(Monitor::Setup{.program = traced.program()});
        m.add({"--log-rotate", "--log-max-files", "2", "--log-size-max", "9000"});
        if (!sync_log) {
            m.add({"--no-sync-log"});
        }
        m.gate("end").shell(numbered(3000) + "; : <end; exit 3");
        m.run();
        m.wait_log("line 0003000");
        const ino_t before = inode_of(m.log);
        m.control("2 0 0\n");
        CHECK(reopened(m.log, before));
        m.open_gate("end");
        CHECK(m.exit_file() == "3");
        m.end();
        const auto last_named = "named " + m.exits + "/" + m.id;
        Lines calls;
        CHECK(eventually([&] {
            calls = traced.calls();
            return std::ranges::contains(calls, last_named);
        }));
        // It has rotated, and that was seen.
        CHECK(std::ranges::count(calls, "named " + fs::path(m.log).filename().string()) > 10);
        const auto named_at = std::ranges::find(calls, last_named);
        CHECK(std::count(calls.begin(), named_at, "sync") == 0);
        CHECK(std::count(named_at, calls.end(), "sync") == (sync_log ? 1 : 0));
    }
}

TEST_CASE("A disk that takes its time delays neither the container nor the exit files "
          "(regression 50)") {
    const Traced traced("-e inject=fsync,fdatasync,syncfs,sync,sync_file_range,msync:"
                        "delay_enter=4000000");
    Monitor m(Monitor::Setup{.program = traced.program()});
    m.add({"--log-rotate", "--log-max-files", "2", "--log-size-max", "9000"});
    m.gate("go").shell(": <go; " + numbered(3000) + "; exit 3");
    m.run();
    const auto start = std::chrono::steady_clock::now();
    m.open_gate("go");
    CHECK(m.exit_file() == "3");
    CHECK(std::chrono::steady_clock::now() - start < seconds(3));
    CHECK(m.end(Deadline(seconds(20))) == exited(3));
    // The disk has been waited for.
    CHECK(std::chrono::steady_clock::now() - start >= seconds(4));
}

TEST_CASE("A container killed in a flood behind a fifo that nobody reads has its status told") {
    for (const int length : {100, 8000, 60000}) {
        INFO(length);
        Monitor m;
        const std::string fifo = m.dir / "fifo";
        REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
        m.set("-l", "k8s-file:" + fifo);
        m.shell("echo >started; exec yes $(head -c " + std::to_string(length) +
                " /dev/zero | tr '\\0' x)");
        const pid_t pid = m.run();
        wait_file(m.bundle + "/started");
        // Until everything that can hold something is full.
        ::usleep(400'000);
        REQUIRE(::kill(pid, SIGKILL) == 0);
        CHECK(m.exit_file() == "137");
        CHECK(m.end() == exited(137));
    }
}

TEST_CASE("The slow reader of a fifo log gets all that a container leaves at its end") {
    Monitor m;
    const std::string fifo = m.dir / "fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    m.set("-l", "k8s-file:" + fifo);
    // Less than a pipe holds, so that the container ends at once, and more than the monitor does as
    // records.
    m.shell(numbered(5000) + "; echo >ended; exit 3");
    Inbox reader(Handle(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)));
    m.run();
    wait_file(m.bundle + "/ended");
    ::usleep(1'000'000);
    CHECK(m.process().is_running());
    write_file(m.log, reader.bytes());
    CHECK(m.end() == exited(3));
    const auto numbers = numbers_in(m.log);
    CHECK(numbers.size() == 5000);
    check_consecutive(numbers);
}

TEST_CASE(
    "A fifo log whose reader has gone holds the container up for five seconds, and goes on with "
    "the next reader") {
    Monitor m;
    SystemLog syslog(m.dir / "dev");
    const std::string fifo = m.dir / "fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    m.set("-l", "k8s-file:" + fifo).add({"--syslog", "--log-level", "warning"});
    m.gate("go").gate("end");
    m.shell("echo begun; : <go; " + numbered(30'000) + "; echo >ended; : <end; echo after; exit 3");
    {
        Inbox reader(Handle(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)));
        m.run();
        CHECK(reader.line().value_or("").ends_with("stdout F begun"));
    }
    const auto start = std::chrono::steady_clock::now();
    m.open_gate("go");
    wait_file(m.bundle + "/ended", Deadline(seconds(15)));
    CHECK(std::chrono::steady_clock::now() - start >= seconds(4));
    Inbox reader(Handle(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)));
    CHECK(reader.line().value_or("").ends_with("line 0000001"));
    // What waits is offered once a second; who comes then finds room.
    for (std::string line; !line.ends_with("stdout F after");) {
        if (line.ends_with("line 0001500")) {
            m.open_gate("end");
        }
        line = reader.line().value_or("stdout F after (missing)");
        REQUIRE_FALSE(line.ends_with("(missing)"));
    }
    CHECK(m.exit_file() == "3");
    CHECK(m.end() == exited(3));
    const std::string said = syslog.drain();
    CHECK(said.find("Failed to write the log, keeping what fits in memory") != std::string::npos);
    CHECK(said.find("The log is written again, records lost: ") != std::string::npos);
}

TEST_CASE("A log that is a terminal is written as fast as it is read") {
    Monitor m;
    const Handle reader(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(::grantpt(reader.get()) == 0);
    REQUIRE(::unlockpt(reader.get()) == 0);
    char name[64];
    REQUIRE(::ptsname_r(reader.get(), name, sizeof name) == 0);
    const Handle terminal(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)); // so that it stays
    m.set("-l", std::string("k8s-file:") + name).gate("end");
    m.shell(numbered(4000) + "; echo after; : <end; exit 3");
    m.run();
    ::usleep(300'000);
    std::string text;
    while (text.find("stdout F after") == std::string::npos) {
        REQUIRE(wait_readable(reader.get(), Deadline(soon)));
        char bytes[4096];
        const ssize_t count = ::read(reader.get(), bytes, sizeof bytes);
        REQUIRE(count > 0);
        text.append(bytes, static_cast<size_t>(count));
    }
    CHECK(std::count(text.begin(), text.end(), '\n') == 4001);
    m.open_gate("end");
    CHECK(m.exit_file() == "3");
}

TEST_CASE("A fifo without a reader as log delays neither the start nor the end (regression 12)") {
    Monitor m;
    const std::string fifo = m.dir / "fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    m.set("-l", "k8s-file:" + fifo);
    SECTION("never a reader") {
        m.shell("echo lost; exit 3");
        m.run();
        CHECK(m.exit_file() == "3");
        CHECK(m.end() == exited(3));
    }
    SECTION("a reader that comes later") {
        m.gate("go").shell(": <go; echo out; exit 3");
        m.run();
        Inbox reader(Handle(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)));
        m.open_gate("go");
        CHECK(reader.line().value_or("").ends_with("stdout F out"));
        CHECK(m.exit_file() == "3");
    }
    SECTION("a reader that stops reading") {
        m.shell("yes; exit 3");
        const Handle reader(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        Process container(m.run());
        ::usleep(300'000);
        container.kill(SIGKILL);
        CHECK(m.exit_file() == "137");
        CHECK(m.end() == exited(137));
    }
}
