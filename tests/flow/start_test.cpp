// The way from the caller's exec to a running monitor: the start pipe, the fork, the pidfile, and
// what the surviving process has made of itself.

#include "support/monitor.h"

#include <csignal>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

// A container that waits for the gate `end`.
constexpr const char* waits = ": <end";

std::string no_fd_of(const std::map<int, std::string>& fds, const std::string& target) {
    for (const auto& [fd, what] : fds) {
        if (what == target) {
            return "descriptor " + std::to_string(fd) + " is " + target;
        }
    }
    return "";
}

} // namespace

TEST_CASE("The first process exits 0 and the monitor lives on in the pidfile's process") {
    Monitor m;
    m.gate("end").shell(waits).start();
    CHECK(m.first_exit() == exited(0));
    const std::string text = read_file(m.conmon_pidfile);
    CHECK(text.find_first_not_of("0123456789") == std::string::npos);
    CHECK(mode_of(m.conmon_pidfile) == 0644);
    CHECK(m.container() > 0);
    CHECK(m.process().is_running());
    m.open_gate("end");
    CHECK(m.exit_file() == "0");
    CHECK(m.end() == exited(0));
}

TEST_CASE("The conmon pidfile is there, by rename, before the first process exits") {
    Monitor m;
    DirWatch watch;
    const std::string directory = m.dir / "pid";
    fs::create_directory(directory);
    write_file(directory + "/conmon.pid", "stale text that is longer than a pid\n");
    watch.add(directory);
    m.set("--conmon-pidfile", directory + "/conmon.pid");
    m.gate("end").shell(waits).start();
    m.first_exit();
    const std::string text = read_file(directory + "/conmon.pid");
    CHECK(text.find_first_not_of("0123456789") == std::string::npos);
    CHECK(names_in(directory) == std::vector<std::string>{"conmon.pid"});
    bool renamed = false;
    for (const auto& event : watch.drain()) {
        renamed = renamed || ((event.mask & 0x80) != 0 && event.name == "conmon.pid");
    }
    CHECK(renamed);
    m.open_gate("end");
}

TEST_CASE("Nothing happens before the start pipe is written") {
    for (const Kind kind : {Kind::seqpacket, Kind::stream, Kind::pipe}) {
        Monitor m;
        m.start_kind = kind;
        DirWatch watch;
        watch.add(m.bundle);
        m.shell("exit 3").start();
        CHECK_THROWS_AS(m.sync.line(Deadline(milliseconds(300))), TimedOut);
        const auto family = descendants();
        CHECK(family.size() == 1);
        CHECK(try_read_file(m.conmon_pidfile) == std::nullopt);
        m.go();
        m.container();
        CHECK(m.exit_file() == "3");
    }
}

TEST_CASE("The end of the start pipe releases the monitor as data does") {
    for (const Kind kind : {Kind::seqpacket, Kind::stream, Kind::pipe}) {
        Monitor m;
        m.start_kind = kind;
        m.shell("exit 4").start();
        m.start_pipe.reset();
        m.container();
        CHECK(m.exit_file() == "4");
    }
}

TEST_CASE("More than one byte on the start pipe is taken as one go-ahead") {
    Monitor m;
    m.start_kind = Kind::pipe;
    m.shell("exit 4").start();
    REQUIRE(::write(m.start_pipe.get(), "0123456789", 10) == 10);
    m.container();
    CHECK(m.exit_file() == "4");
}

TEST_CASE("With --sync the started process is the monitor and ends with the container's status") {
    Monitor m;
    m.gate("end").add({"--sync"}).shell(": <end; exit 42").start();
    m.container();
    CHECK(m.process().is_running());
    CHECK(try_read_file(m.conmon_pidfile) == std::nullopt);
    CHECK(descendants().size() == 2);
    m.open_gate("end");
    CHECK(m.end() == exited(42));
    CHECK(m.exit_file() == "42");
}

TEST_CASE("Without any _OCI_ variable the monitor starts at once and tells nobody") {
    Monitor m;
    m.sync_kind = std::nullopt;
    m.shell("echo here; exit 5").start();
    CHECK(m.first_exit() == exited(0));
    CHECK(m.exit_file() == "5");
    CHECK(m.end() == exited(5));
    CHECK(m.log_briefs() == std::vector<std::string>{"stdout F here"});
}

TEST_CASE("The caller's stdio ends when the monitor has started: it keeps /dev/null only") {
    Monitor m;
    Channel in = Channel::make(Kind::pipe, Channel::Direction::to_them);
    Channel out = Channel::make(Kind::pipe, Channel::Direction::to_us);
    m.fds[0] = in.theirs.get();
    m.fds[1] = out.theirs.get();
    m.gate("end").shell(waits).start();
    out.theirs.reset();
    in.theirs.reset();
    CHECK(m.errors() == "");
    CHECK(Inbox(std::move(out.ours)).bytes() == "");
    m.container();
    const auto fds = fds_of(m.process().pid());
    CHECK(fds.at(0) == "/dev/null");
    CHECK(fds.at(1) == "/dev/null");
    CHECK(fds.at(2) == "/dev/null");
    m.open_gate("end");
}

TEST_CASE(
    "The monitor leads a session of its own, has the caller's cwd, and is not a reaper's child") {
    Monitor m;
    m.cwd = m.dir.path();
    m.gate("end").shell(waits);
    m.run();
    const pid_t pid = m.process().pid();
    CHECK(session_of(pid) == pid);
    CHECK(group_of(pid) == pid);
    CHECK(fs::read_symlink("/proc/" + std::to_string(pid) + "/cwd") == m.dir.path());
    CHECK(parent_of(pid) == ::getpid());
    m.open_gate("end");
}

TEST_CASE("The monitor's command line and environment stay readable and unchanged in /proc") {
    Monitor m;
    m.env("SOMETHING", "kept as it is").gate("end").shell(waits);
    m.run();
    const pid_t pid = m.process().pid();
    CHECK(words_of(pid, "cmdline") == m.command_line());
    CHECK(words_of(pid, "environ") == std::vector<std::string>{"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                                               "LC_ALL=C.UTF-8",
                                                               "SOMETHING=kept as it is",
                                                               "_OCI_SYNCPIPE=3"});
    CHECK(read_file("/proc/" + std::to_string(pid) + "/comm") == "conmon\n");
    m.open_gate("end");
}

TEST_CASE("Orphans of the container come to the monitor, which reaps them (regression 18)") {
    Monitor m;
    m.gate("orphan").gate("end");
    m.shell("(sh -c ': <orphan' & ) ; : <end");
    const pid_t container = m.run();
    const pid_t monitor = m.process().pid();
    // The runtime is gone; what is left is the container and the orphan, both the monitor's.
    REQUIRE(eventually([&] { return children_of(monitor).size() == 2; }));
    CHECK(parent_of(container) == monitor);
    m.open_gate("orphan");
    CHECK(eventually([&] { return children_of(monitor) == std::vector<pid_t>{container}; }));
    m.open_gate("end");
    CHECK(m.exit_file() == "0");
    CHECK(m.end() == exited(0));
}

TEST_CASE(
    "The monitor's oom_score_adj is -1000, or the caller's where that is refused (regression 29)") {
    const int before = oom_score_adj_of(::getpid());
    Monitor m;
    m.in_child = [] { write_file("/proc/self/oom_score_adj", "300"); };
    m.gate("end").script({"record runtime.json", "container : <end", "pidfile", "exit 0"});
    m.exit_script({"record exit.json"});
    m.run();
    // Whether this test may lower a score tells whether the monitor may.
    Process probe = launch(
        {.argv = {"/bin/sh",
                  "-c",
                  "echo 300 >/proc/self/oom_score_adj; echo -1000 >/proc/self/oom_score_adj"},
         .env = {},
         .fds = {},
         .cwd = "",
         .in_child = {}});
    const bool may_lower = probe.wait() == exited(0);
    CHECK(oom_score_adj_of(m.process().pid()) == (may_lower ? -1000 : 300));
    CHECK(m.recorded("runtime.json")["oom"].number() == 300);
    m.open_gate("end");
    m.end();
    CHECK(m.recorded("exit.json")["oom"].number() == 300);
    CHECK(oom_score_adj_of(::getpid()) == before);
}

TEST_CASE("A caller's umask does not reach the files, the runtime or the monitor (regression 38)") {
    for (const mode_t mask : {mode_t{0}, mode_t{0077}}) {
        Monitor m;
        m.in_child = [mask] { ::umask(mask); };
        m.gate("end").script(
            {"record runtime.json", "container umask; : <end", "pidfile", "exit 0"});
        m.run();
        m.wait_log("stdout F 0022");
        CHECK(status_line(m.process().pid(), "Umask") == "0022");
        CHECK(m.recorded("runtime.json")["Umask"].text() == "0022");
        CHECK(mode_of(m.log) == 0640);
        CHECK(mode_of(m.bundle + "/ctl") == 0640);
        CHECK(mode_of(m.bundle + "/winsz") == 0640);
        CHECK(mode_of(m.bundle + "/attach") == 0700);
        CHECK(mode_of(m.conmon_pidfile) == 0644);
        m.open_gate("end");
        m.end();
        CHECK(mode_of(m.exits + "/" + m.id) == 0644);
        CHECK(mode_of(m.persist + "/exit") == 0644);
    }
}

TEST_CASE("attach, ctl and winsz are there, as what they must be, before the runtime runs") {
    Monitor m;
    m.gate("go").script({"mark runs", "gate go", "container exit 0", "pidfile", "exit 0"});
    m.start();
    wait_file(m.bundle + "/runs");
    CHECK(type_of(m.bundle + "/attach") == S_IFSOCK);
    CHECK(type_of(m.bundle + "/ctl") == S_IFIFO);
    CHECK(type_of(m.bundle + "/winsz") == S_IFIFO);
    // A caller connects that early, and a writer of ctl finds a reader.
    auto client = m.attach();
    m.control("1 24 80\n");
    m.open_gate("go");
    m.container();
    CHECK(m.exit_file() == "0");
    CHECK(client.receive() == std::nullopt);
}

TEST_CASE("Stale sockets, fifos and files of an earlier run are replaced (regression 36)") {
    for (const std::string kind : {"file", "fifo", "socket", "link"}) {
        Monitor m;
        for (const std::string name : {"/attach", "/ctl", "/winsz"}) {
            const std::string path = m.bundle + name;
            if (kind == "file") {
                write_file(path, "stale");
            } else if (kind == "fifo") {
                REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
            } else if (kind == "socket") {
                REQUIRE(::mknod(path.c_str(), S_IFSOCK | 0700, 0) == 0);
            } else {
                fs::create_symlink("/nonexistent/target", path);
            }
        }
        fs::create_symlink("/nonexistent/target", m.sockets + "/" + m.id);
        m.gate("end").shell(waits);
        m.run();
        CHECK(type_of(m.bundle + "/attach") == S_IFSOCK);
        CHECK(type_of(m.bundle + "/ctl") == S_IFIFO);
        CHECK(type_of(m.bundle + "/winsz") == S_IFIFO);
        auto client = m.attach();
        m.open_gate("end");
        CHECK(m.end() == exited(0));
    }
}

TEST_CASE("Without --full-attach the socket directory links to the bundle until the end "
          "(regression 35)") {
    Monitor m;
    m.drop("--full-attach").gate("end").shell(": <end");
    fs::create_symlink("/nonexistent/target", m.sockets + "/" + m.id);
    m.run();
    CHECK(fs::read_symlink(m.sockets + "/" + m.id) == m.bundle);
    auto client = AttachClient::connect(m.sockets + "/" + m.id);
    m.open_gate("end");
    m.end();
    CHECK(names_in(m.sockets).empty());
    CHECK(type_of(m.bundle + "/attach") == 0);
}

TEST_CASE("Paths of 300 bytes work for every file and socket (regression 35)") {
    for (const bool full : {true, false}) {
        Monitor m(Monitor::Setup{.program = program_under_test(), .path_length = 300});
        if (!full) {
            m.drop("--full-attach");
        }
        m.gate("end").shell("echo out; : <end; exit 6");
        m.run();
        auto client = AttachClient::connect(full ? m.bundle : m.sockets + "/" + m.id);
        m.control("1 24 80\n");
        m.open_gate("end");
        CHECK(m.exit_file() == "6");
        CHECK(m.end() == exited(6));
        CHECK(read_file(m.persist + "/exit") == "6");
        CHECK(m.log_briefs() == std::vector<std::string>{"stdout F out"});
    }
}

TEST_CASE("The sockets work where the socket path has 105 to 110 bytes (regression 35)") {
    for (size_t length = 105; length <= 110; ++length) {
        Monitor m;
        // <socket-dir>/<cuuid> of exactly `length` bytes.
        const std::string uuid = "uu";
        std::string sockets = m.dir.path() + "/";
        sockets += std::string(length - uuid.size() - 1 - sockets.size(), 's');
        fs::create_directory(sockets);
        m.drop("--full-attach").set("--socket-dir-path", sockets).set("-u", uuid);
        m.gate("end").shell(waits);
        m.run();
        // 107 is the odd one: the last character of the link's name is dropped.
        const std::string link = sockets + (length == 107 ? "/u" : "/uu");
        CHECK(names_in(sockets).size() == 1);
        CHECK(fs::read_symlink(link) == m.bundle);
        auto client = AttachClient::connect(link);
        m.open_gate("end");
        CHECK(m.end() == exited(0));
        CHECK(names_in(sockets).empty());
    }
}

TEST_CASE("The monitor takes a bundle's default from the current directory (regression 71)") {
    Monitor m(Monitor::Setup{.program = program_under_test(), .path_length = 200});
    m.cwd = m.bundle;
    m.drop("-b").gate("end").script(
        {"record runtime.json", "container : <end; exit 8", "pidfile", "exit 0"});
    m.run();
    const auto argv = m.recorded("runtime.json")["argv"].texts();
    CHECK(argv[2] == "--bundle");
    CHECK(argv[3] == m.bundle);
    auto client = m.attach();
    m.control("1 24 80\n");
    m.open_gate("end");
    CHECK(m.exit_file() == "8");
}

TEST_CASE("A terminated first process leaves nothing behind while it waits for the start pipe") {
    Monitor m;
    m.start_kind = Kind::pipe;
    m.shell("exit 0").start();
    // It has got that far when TERM no longer kills it by signal.
    const pid_t pid = descendants().at(0);
    REQUIRE(eventually([&] { return status_line(pid, "SigIgn").find('1') != std::string::npos; }));
    ::kill(pid, SIGTERM);
    CHECK(m.first_exit() == exited(1));
    CHECK(descendants().empty());
    CHECK(m.sync.line() == std::nullopt);
}

TEST_CASE("The monitor keeps no descriptor of the start pipe's writer, log directory or pidfile") {
    Monitor m;
    m.gate("end").shell(waits);
    m.run();
    const auto fds = fds_of(m.process().pid());
    CHECK(no_fd_of(fds, m.conmon_pidfile) == "");
    CHECK(no_fd_of(fds, m.pidfile) == "");
    CHECK(fds.size() <= 16);
    m.open_gate("end");
}
