// The end: what happens between the container's exit and the monitor's, in which order, and what
// the exit command finds.

#include "support/monitor.h"

#include <csignal>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

std::set<int> numbers_of(const Json& fds) {
    std::set<int> numbers;
    for (const auto& [number, unused] : fds.members()) {
        numbers.insert(std::stoi(number));
    }
    return numbers;
}

// A listening TCP socket on a free port of the loopback address, and a second bind to that port.
Handle listening(uint16_t& port) {
    Handle socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket.get(), 1) != 0) {
        return Handle();
    }
    socklen_t size = sizeof address;
    ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    return socket;
}

} // namespace

TEST_CASE("The exit command gets its path and every argument, and finds everything written") {
    Monitor m;
    m.exit_script({"record exit.json"});
    for (const std::string word : {"--rm", "", "a b", "--exit-command"}) {
        m.add({"--exit-command-arg", word});
    }
    m.cwd = m.sockets;
    m.env("SOMETHING", "kept").shell("exit 33");
    m.run();
    CHECK(m.exit_file() == "33");
    CHECK(m.end() == exited(33));
    const Json seen = m.recorded("exit.json");
    CHECK(seen["argv"].texts() == Lines{fake_runtime(),
                                        "script",
                                        m.bundle + "/exit-script",
                                        "--rm",
                                        "",
                                        "a b",
                                        "--exit-command"});
    CHECK(seen["env"].texts() == Lines{"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                       "LC_ALL=C.UTF-8",
                                       "SOMETHING=kept",
                                       "_OCI_SYNCPIPE=3"});
}

TEST_CASE("An empty --exit-dir or --persist-dir is the current directory") {
    Monitor m;
    m.cwd = m.sockets;
    m.set("--exit-dir", "").set("--persist-dir", "").shell("exit 7");
    m.run();
    CHECK(m.end() == exited(7));
    CHECK(read_file(m.sockets + "/" + m.id) == "7");
    CHECK(read_file(m.sockets + "/exit") == "7");
}

TEST_CASE("The exit command runs in the monitor's cwd") {
    Monitor m;
    m.cwd = m.exits;
    m.add({"--exit-command", "/bin/sh", "--exit-command-arg", "-c"});
    m.add({"--exit-command-arg", "pwd -P >" + m.bundle + "/cwd"}).shell("exit 0");
    m.run();
    m.end();
    CHECK(read_file(m.bundle + "/cwd") == m.exits + "\n");
}

TEST_CASE("The exit command has /dev/null as stdio and no other descriptor (regression 28)") {
    Monitor m;
    m.start_kind = Kind::pipe;
    Channel lent = Channel::make(Kind::pipe, Channel::Direction::to_us);
    m.fds[9] = lent.theirs.get();
    m.add({"-i"}).shell("exit 0").exit_script({"record exit.json"});
    m.start();
    m.go();
    m.end();
    const Json fds = m.recorded("exit.json")["fds"];
    CHECK(numbers_of(fds) == std::set<int>{0, 1, 2});
    for (const std::string fd : {"0", "1", "2"}) {
        CHECK(fds[fd]["target"].text() == "/dev/null");
    }
}

TEST_CASE(
    "While the exit command runs the monitor holds nothing under the bundle open (regression 28)") {
    Monitor m;
    m.gate("hold").shell("echo out").exit_script({"mark runs", "gate hold"});
    m.run();
    wait_file(m.bundle + "/runs");
    for (const auto& [fd, target] : fds_of(m.process().pid())) {
        INFO(fd << " is " << target);
        // The log may still be synced at that moment (difference 9); nothing else may be open.
        CHECK((!target.starts_with(m.dir.path()) || target == m.log));
    }
    CHECK(eventually([&] {
        for (const auto& [fd, target] : fds_of(m.process().pid())) {
            if (target.starts_with(m.dir.path())) {
                return false;
            }
        }
        return true;
    }));
    m.open_gate("hold");
    m.end();
}

TEST_CASE("The exit command's signals are clean but for SIGPIPE, and it is no subreaper "
          "(difference 12)") {
    Monitor m;
    m.shell("exit 0").exit_script({"record exit.json"});
    m.run();
    m.end();
    const Json seen = m.recorded("exit.json");
    CHECK(std::stoull(seen["SigBlk"].text(), nullptr, 16) == 0);
    CHECK(std::stoull(seen["SigCgt"].text(), nullptr, 16) == 0);
    CHECK(std::stoull(seen["SigIgn"].text(), nullptr, 16) == 1ULL << (SIGPIPE - 1));
    CHECK(seen["subreaper"].number() == 0);
    CHECK(seen["Umask"].text() == "0022");
}

TEST_CASE("The exit command is the monitor's child in its session") {
    Monitor m;
    m.gate("hold").shell("exit 0").exit_script({"record exit.json", "gate hold"});
    m.run();
    const Json seen = m.recorded("exit.json");
    const pid_t monitor = m.process().pid();
    CHECK(seen["ppid"].number() == monitor);
    CHECK(seen["sid"].number() == monitor);
    CHECK(seen["pgid"].number() == monitor);
    CHECK(m.process().is_running());
    m.open_gate("hold");
    CHECK(m.end() == exited(0));
}

TEST_CASE("The exit files are there and the sync pipe has ended when the exit command runs "
          "(regression 27)") {
    Monitor m;
    m.gate("hold").shell("exit 6").exit_script({"mark runs", "gate hold"});
    m.run();
    wait_file(m.bundle + "/runs");
    CHECK(read_file(m.exits + "/" + m.id) == "6");
    CHECK(read_file(m.persist + "/exit") == "6");
    CHECK(type_of(m.bundle + "/attach") == 0);
    CHECK(m.sync.line(Deadline(seconds(5))) == std::nullopt);
    CHECK(m.process().is_running());
    m.open_gate("hold");
    CHECK(m.end() == exited(6));
}

TEST_CASE("The exit command's own end is never the monitor's status") {
    for (const std::string how : {"exit 42", "kill 9", "stderr words\nexit 1"}) {
        Monitor m;
        m.shell("exit 5").exit_script({how});
        m.run();
        CHECK(m.end() == exited(5));
    }
    Monitor missing;
    missing.add({"--exit-command", missing.dir / "no-such-program"}).shell("exit 5");
    missing.run();
    CHECK(missing.end() == exited(5));
}

TEST_CASE("The end has conmon's order: attach EOF, persist dir, exit dir, attach unlinked") {
    Monitor m;
    m.gate("end").shell("echo out; : <end; exit 3");
    DirWatch watch;
    m.run();
    auto client = m.attach();
    watch.add(m.exits);
    watch.add(m.persist);
    watch.add(m.bundle);
    m.wait_log("out");
    watch.drain();
    m.open_gate("end");
    Lines order;
    while (order.empty() || order.back() != "attach gone") {
        const auto event = watch.next();
        if ((event.mask & IN_MOVED_TO) != 0 && event.directory == m.persist) {
            order.push_back("persist");
            // The client must have been let go before.
            CHECK_NOTHROW(client.receive_all(Deadline(milliseconds(0))));
        }
        if ((event.mask & IN_MOVED_TO) != 0 && event.directory == m.exits) {
            order.push_back("exit dir");
        }
        if ((event.mask & IN_DELETE) != 0 && event.name == "attach") {
            order.push_back("attach gone");
        }
    }
    CHECK(order == Lines{"persist", "exit dir", "attach gone"});
    m.end();
}

TEST_CASE("ctl and winsz stay, attach and the link go, and nothing else is left") {
    Monitor m;
    m.drop("--full-attach").shell("exit 0");
    m.run();
    m.end();
    CHECK(names_in(m.bundle) ==
          Lines{"conmon.pid", "ctl", "ctr.log", "pidfile", "script", "winsz"});
    CHECK(names_in(m.sockets).empty());
    CHECK(descendants().empty());
}

TEST_CASE(
    "A port that the caller lent can be bound again when the exit file shows (regression 22)") {
    for (int run = 0; run < 5; ++run) {
        Monitor m;
        uint16_t port = 0;
        Handle server = listening(port);
        REQUIRE(server.is_open());
        m.fds[8] = server.get();
        DirWatch watch;
        watch.add(m.exits);
        m.gate("end").shell(": <end; exit 2").exit_script({"exit 0"});
        m.run();
        server.reset();
        // The monitor holds it while the container runs.
        CHECK(!listening(port).is_open());
        m.open_gate("end");
        while (watch.next().name != m.id) {
        }
        CHECK(listening(port).is_open());
        m.end();
    }
}

TEST_CASE("Unknown descriptors stay open in the monitor while the container runs") {
    Monitor m;
    Channel lent = Channel::make(Kind::pipe, Channel::Direction::to_us);
    m.fds[8] = lent.theirs.get();
    m.gate("end").shell(": <end");
    m.run();
    lent.theirs.reset();
    Inbox other(std::move(lent.ours));
    CHECK(!other.ended_now());
    CHECK(fds_of(m.process().pid()).contains(8));
    m.open_gate("end");
    CHECK(other.bytes() == "");
    m.end();
}

TEST_CASE("Descendants that hold the container's output delay nothing (regressions 3 and 20)") {
    for (const bool with_command : {false, true}) {
        Monitor m;
        m.shell("sleep 60 & echo main; exit 4");
        if (with_command) {
            m.exit_script({"mark ran"});
        }
        m.run();
        CHECK(m.exit_file() == "4");
        CHECK(m.end() == exited(4));
        CHECK(m.log_briefs() == Lines{"stdout F main"});
        CHECK((type_of(m.bundle + "/ran") == S_IFREG) == with_command);
    }
}

TEST_CASE("A descendant that goes on writing does not delay the end (regression 3)") {
    Monitor m;
    m.shell("yes & : ; echo main; exit 4");
    m.run();
    CHECK(m.exit_file() == "4");
    CHECK(m.end() == exited(4));
    // Whole records only; parse_k8s throws otherwise.
    CHECK(!m.records().empty());
}

TEST_CASE(
    "What the exit command leaves behind belongs to init, and the monitor ends (regression 19)") {
    Monitor m;
    m.shell("exit 0").exit_script({"daemon echo $$ >daemon; sleep 60"});
    m.run();
    CHECK(m.end() == exited(0));
    const auto daemon = std::stoi(wait_file(
        m.bundle + "/daemon", [](const std::string& text) { return text.ends_with("\n"); }));
    CHECK(parent_of(daemon) == ::getpid());
}

TEST_CASE("While the exit command runs the monitor is no subreaper (regression 19)") {
    Monitor m;
    m.gate("hold").shell("exit 0");
    m.exit_script({"daemon echo $$ >daemon; sleep 60", "gate hold"});
    m.run();
    const auto daemon = std::stoi(wait_file(
        m.bundle + "/daemon", [](const std::string& text) { return text.ends_with("\n"); }));
    CHECK(eventually([&] { return parent_of(daemon) == ::getpid(); }));
    m.open_gate("hold");
    m.end();
}

TEST_CASE(
    "The option --exit-delay keeps the exit command back, not the exit files (regression 18)") {
    Monitor m;
    m.add({"--exit-delay", "1"}).exit_script({"mark ran"});
    m.gate("end").shell("(sleep 60 &) ; (: <end &) ; exit 7");
    const auto start = std::chrono::steady_clock::now();
    m.run();
    CHECK(m.exit_file() == "7");
    CHECK(type_of(m.bundle + "/ran") == 0);
    CHECK(m.sync.line() == std::nullopt);
    const pid_t monitor = m.process().pid();
    // Signals that end other programs do not cut it short, and orphans do not become zombies.
    m.process().kill(SIGTERM);
    m.process().kill(SIGINT);
    m.process().kill(SIGQUIT);
    m.open_gate("end");
    ::usleep(200'000);
    CHECK(m.process().is_running());
    CHECK(type_of(m.bundle + "/ran") == 0);
    CHECK(zombies_of(monitor).empty());
    CHECK(m.end() == exited(7));
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    CHECK(std::chrono::steady_clock::now() - start >= seconds(1));
}

TEST_CASE("What a failed runtime has left is no zombie during the exit delay (regression 18)") {
    Monitor m;
    m.add({"--exit-delay", "60"}).exit_script({"exit 0"});
    m.gate("end").script({"spawn exit 1",
                          "spawn : <end; exit 2",
                          "spawn exec >&- 2>&-; sleep 0.2; exit 3",
                          "stderr nope\\n",
                          "exit 1"});
    m.start();
    CHECK(m.message()["data"].number() == -1);
    CHECK(m.sync.line() == std::nullopt);
    const pid_t monitor = m.process().pid();
    m.open_gate("end");
    CHECK(eventually([&] { return children_of(monitor).empty(); }));
    CHECK(m.process().is_running());
}

TEST_CASE("A monitor that waits for its exit delay costs no CPU (regression 8)") {
    Monitor m;
    m.add({"--exit-delay", "60"}).exit_script({"exit 0"}).shell("exit 7");
    m.run();
    m.exit_file();
    const pid_t pid = m.process().pid();
    m.sync.line();
    const long before = cpu_ticks(pid);
    ::usleep(300'000);
    CHECK(cpu_ticks(pid) == before);
}

TEST_CASE("The exit command does not run when nothing was started") {
    Monitor m;
    m.set("--log-level", "nonsense").shell("exit 0").exit_script({"mark ran"});
    m.start();
    CHECK(m.first_exit() == exited(1));
    CHECK(type_of(m.bundle + "/ran") == 0);
}

TEST_CASE("The log is complete when the exit file shows, with and without --no-sync-log") {
    for (const bool sync_log : {true, false}) {
        Monitor m;
        if (!sync_log) {
            m.add({"--no-sync-log"});
        }
        m.shell("seq 1 20000; exit 1");
        m.run();
        m.exit_file();
        const auto records = m.records();
        const std::string written = payload_of(records);
        CHECK(std::ranges::count(written, '\n') == 20000);
        CHECK(written.ends_with("\n20000\n"));
    }
}
