// What the monitor hands to the runtime: its arguments to the letter, descriptors, environment,
// signals, and the tie of its life to the monitor's.

#include "support/monitor.h"

#include <csignal>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

// A runtime that records what it was given and starts a container that ends at once.
const Lines recording = {"record runtime.json", "container exit 0", "pidfile", "exit 0"};

// Runs to the end and gives what the runtime recorded.
Json record_of(Monitor& m) {
    m.script(recording);
    m.start();
    m.end();
    return m.recorded("runtime.json");
}

std::set<int> numbers_of(const Json& fds) {
    std::set<int> numbers;
    for (const auto& [number, unused] : fds.members()) {
        numbers.insert(std::stoi(number));
    }
    return numbers;
}

} // namespace

TEST_CASE("create: the runtime's arguments are exactly conmon's") {
    Monitor m;
    CHECK(record_of(m)["argv"].texts() ==
          Lines{fake_runtime(), "create", "--bundle", m.bundle, "--pid-file", m.pidfile, m.id});
}

TEST_CASE("create: every option that reaches the runtime has its place") {
    Monitor m;
    m.add({"--runtime-opt", "--preserve-fds", "--runtime-opt", "2", "--no-new-keyring"});
    m.add({"--runtime-arg", "--root", "--runtime-arg=/some/root", "--no-pivot"});
    m.add(
        {"--runtime-arg", "", "--restore-arg", "--late", "-s", "--runtime-arg=--log-format=json"});
    CHECK(record_of(m)["argv"].texts() == Lines{fake_runtime(),
                                                "--systemd-cgroup",
                                                "--root",
                                                "/some/root",
                                                "",
                                                "--log-format=json",
                                                "create",
                                                "--bundle",
                                                m.bundle,
                                                "--pid-file",
                                                m.pidfile,
                                                "--no-pivot",
                                                "--no-new-keyring",
                                                "--preserve-fds",
                                                "2",
                                                "--late",
                                                m.id});
}

TEST_CASE("restore: the runtime's arguments are exactly conmon's") {
    Monitor m;
    m.add({"--restore", "/check/point", "--runtime-opt", "--tcp-established", "--no-pivot"});
    m.add({"--runtime-arg", "--debug", "--systemd-cgroup", "--no-new-keyring"});
    CHECK(record_of(m)["argv"].texts() == Lines{fake_runtime(),
                                                "--systemd-cgroup",
                                                "--debug",
                                                "restore",
                                                "--bundle",
                                                m.bundle,
                                                "--pid-file",
                                                m.pidfile,
                                                "--no-pivot",
                                                "--no-new-keyring",
                                                "--detach",
                                                "--image-path",
                                                "/check/point",
                                                "--work-path",
                                                m.bundle,
                                                "--tcp-established",
                                                m.id});
}

TEST_CASE("exec: the runtime's arguments are exactly conmon's, without create's options") {
    Monitor m;
    m.exec().add({"--systemd-cgroup", "--no-pivot", "--no-new-keyring", "--runtime-arg=--debug"});
    m.add({"--runtime-opt", "--preserve-fds", "--runtime-opt", "1"});
    CHECK(record_of(m)["argv"].texts() == Lines{fake_runtime(),
                                                "--debug",
                                                "exec",
                                                "--pid-file",
                                                m.pidfile,
                                                "--process",
                                                m.bundle + "/script",
                                                "--detach",
                                                "--preserve-fds",
                                                "1",
                                                m.id});
}

TEST_CASE("Without --container-pidfile the pid file is <cwd>/pidfile-<cid>") {
    Monitor m;
    m.cwd = m.dir.path();
    m.drop("-p");
    CHECK(record_of(m)["argv"].texts().at(5) == m.dir / ("pidfile-" + m.id));
}

TEST_CASE("The runtime has the environment of the caller, the _OCI_ variables included") {
    Monitor m;
    m.start_kind = Kind::pipe;
    m.env("EMPTY", "").env("LISTEN_FDS", "2").env("WORDS", "a b=c \"d\" \xc3\xa4");
    m.script(recording);
    m.start();
    m.go();
    m.end();
    CHECK(m.recorded("runtime.json")["env"].texts() == Lines{"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                                             "LC_ALL=C.UTF-8",
                                                             "EMPTY=",
                                                             "LISTEN_FDS=2",
                                                             "WORDS=a b=c \"d\" \xc3\x83\xc2\xa4",
                                                             "_OCI_SYNCPIPE=3",
                                                             "_OCI_STARTPIPE=4"});
}

TEST_CASE(
    "The runtime inherits the caller's descriptors, but none of the monitor's (regression 73)") {
    Monitor m;
    m.start_kind = Kind::pipe;
    Channel lent = Channel::make(Kind::pipe, Channel::Direction::to_us);
    m.fds[7] = lent.theirs.get();
    m.fds[40] = lent.theirs.get();
    m.script(recording);
    m.start();
    m.go();
    m.end();
    const Json fds = m.recorded("runtime.json")["fds"];
    CHECK(numbers_of(fds) == std::set<int>{0, 1, 2, 7, 40});
    CHECK(fds["7"]["target"].text() == fds["40"]["target"].text());
}

TEST_CASE("The runtime's stdio is /dev/null and two pipes that anybody may open (regression 37)") {
    Monitor m;
    const mode_t null_mode = mode_of("/dev/null");
    const Json fds = record_of(m)["fds"];
    CHECK(fds["0"]["target"].text() == "/dev/null");
    for (const std::string fd : {"1", "2"}) {
        CHECK(fds[fd]["type"].text() == "fifo");
        CHECK(fds[fd]["mode"].text() == "0777");
        CHECK(fds[fd]["nonblocking"].number() == 0);
    }
    CHECK(fds["1"]["target"].text() != fds["2"]["target"].text());
    CHECK(mode_of("/dev/null") == null_mode);
}

TEST_CASE("With -i the runtime's stdin is a pipe that anybody may open, and blocks") {
    Monitor m;
    m.add({"-i"});
    const Json fds = record_of(m)["fds"];
    CHECK(fds["0"]["type"].text() == "fifo");
    CHECK(fds["0"]["mode"].text() == "0777");
    CHECK(fds["0"]["nonblocking"].number() == 0);
    CHECK(fds["0"]["access"].number() == O_RDONLY);
}

TEST_CASE("A container of another user can open /dev/stdout and /dev/stderr (regression 37)") {
    Monitor m;
    m.shell("setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'echo o >/dev/stdout; echo e "
            ">/dev/stderr'");
    m.run();
    CHECK(m.exit_file() == "0");
    auto seen = m.log_briefs();
    std::ranges::sort(seen);
    CHECK(seen == Lines{"stderr F e", "stdout F o"});
}

TEST_CASE("The runtime is the monitor's child in its session, and dies with it") {
    Monitor m;
    m.gate("go").script({"record runtime.json", "gate go", "exit 1"});
    m.start();
    m.first_exit();
    const Json seen = m.recorded("runtime.json");
    const pid_t monitor = m.process().pid();
    CHECK(seen["ppid"].number() == monitor);
    CHECK(seen["sid"].number() == monitor);
    CHECK(seen["pgid"].number() == monitor);
    CHECK(seen["subreaper"].number() == 0);
    CHECK(seen["pdeathsig"].number() == SIGKILL);
    Process runtime(static_cast<pid_t>(seen["pid"].number()));
    m.process().kill(SIGKILL);
    CHECK(m.end() == killed_by(SIGKILL));
    CHECK(runtime.wait() == killed_by(SIGKILL));
}

TEST_CASE("The runtime's signals are as the monitor got them, and SIGPIPE is ignored") {
    Monitor m;
    const Json seen = record_of(m);
    CHECK(std::stoull(seen["SigBlk"].text(), nullptr, 16) == 0);
    CHECK(std::stoull(seen["SigCgt"].text(), nullptr, 16) == 0);
    CHECK(std::stoull(seen["SigIgn"].text(), nullptr, 16) == 1ULL << (SIGPIPE - 1));
}

TEST_CASE("A signal that the caller blocked or ignored stays so for the runtime") {
    Monitor m;
    m.in_child = [] {
        ::signal(SIGWINCH, SIG_IGN);
        sigset_t blocked;
        ::sigemptyset(&blocked);
        ::sigaddset(&blocked, SIGUSR2);
        ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
    };
    const Json seen = record_of(m);
    CHECK(std::stoull(seen["SigBlk"].text(), nullptr, 16) == 1ULL << (SIGUSR2 - 1));
    CHECK(std::stoull(seen["SigIgn"].text(), nullptr, 16) ==
          (1ULL << (SIGPIPE - 1) | 1ULL << (SIGWINCH - 1)));
}

TEST_CASE("LISTEN_PID passes through, and --replace-listen-pid makes it the runtime's pid") {
    const auto listen_pid = [](const Json& seen) {
        std::string found;
        for (const auto& word : seen["env"].texts()) {
            if (word.starts_with("LISTEN_PID=")) {
                found += word.substr(11) + " ";
            }
        }
        return found;
    };
    Monitor as_is;
    as_is.env("LISTEN_PID", "4321");
    CHECK(listen_pid(record_of(as_is)) == "4321 ");
    Monitor replaced;
    replaced.env("LISTEN_PID", "4321").env("LISTEN_FDS", "3").add({"--replace-listen-pid"});
    const Json seen = record_of(replaced);
    CHECK(listen_pid(seen) == std::to_string(seen["pid"].number()) + " ");
}

TEST_CASE("A LISTEN_PID that names the monitor itself becomes the runtime's pid") {
    Monitor m;
    m.add({"--sync"});
    const auto words = m.command_line();
    m.in_child = [words] {
        std::vector<char*> argv;
        for (const auto& word : words) {
            argv.push_back(const_cast<char*>(word.c_str()));
        }
        argv.push_back(nullptr);
        const std::string pid = "LISTEN_PID=" + std::to_string(::getpid());
        const char* env[] = {"_OCI_SYNCPIPE=3", "LC_ALL=C.UTF-8", pid.c_str(), nullptr};
        ::execve(argv[0], argv.data(), const_cast<char**>(env));
    };
    const Json seen = record_of(m);
    CHECK(std::ranges::contains(seen["env"].texts(),
                                "LISTEN_PID=" + std::to_string(seen["pid"].number())));
}

TEST_CASE("A LISTEN_PID that is no pid fails the start with conmon's words") {
    for (const std::string value : {"x", "0", "-1", "99999999999999999999"}) {
        Monitor m;
        m.env("LISTEN_PID", value).script(recording);
        m.start();
        const Json told = m.message();
        CHECK(told["data"].number() == -1);
        CHECK(told["message"].text().starts_with("[conmon:e]: Invalid LISTEN_PID " +
                                                 value.substr(0, 10)));
        CHECK(m.end() == exited(1));
    }
}

TEST_CASE("The current directory of the runtime is the caller's") {
    Monitor m;
    m.cwd = m.exits;
    CHECK(record_of(m)["cwd"].text() == m.bundle); // the stand-in goes to its script's directory
    Monitor n;
    n.cwd = n.exits;
    // A relative runtime path is taken from there.
    fs::create_symlink(fake_runtime(), n.exits + "/runtime");
    n.set("-r", "./runtime");
    CHECK(record_of(n)["argv"].texts().at(0) == "./runtime");
}
