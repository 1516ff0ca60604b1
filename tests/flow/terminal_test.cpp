// Containers with a terminal: the console socket and what may come over it, sizes, input and
// output through the pty, hang-ups.

#include "support/monitor.h"

#include <csignal>
#include <thread>

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

// A runtime that sends a console and starts the command on it.
void on_terminal(Monitor& m, const std::string& command) {
    m.env("TMPDIR", m.sockets).add({"-t"});
    m.script({"console", "container-tty " + command, "pidfile", "exit 0"});
}

long ticks_while_idle(pid_t pid) {
    ::usleep(50'000);
    const long before = cpu_ticks(pid);
    ::usleep(500'000);
    return cpu_ticks(pid) - before;
}

} // namespace

TEST_CASE("A terminal's output goes to the log and to clients as stdout, with CR LF") {
    Monitor m;
    m.gate("go");
    on_terminal(m, ": <go; echo out; echo err >&2; exit 5");
    m.run();
    auto client = m.attach();
    m.open_gate("go");
    const auto output = client.receive_all();
    CHECK(output.out == "out\r\nerr\r\n");
    CHECK(output.err == "");
    CHECK(m.exit_file() == "5");
    CHECK(m.end() == exited(5));
    CHECK(m.log_briefs() == Lines{"stdout F out\r", "stdout F err\r"});
    CHECK(names_in(m.sockets).empty());
}

TEST_CASE("The runtime gets a console socket in TMPDIR, and the stdio of its own is kept apart") {
    Monitor m;
    m.env("TMPDIR", m.sockets + "/").add({"-t"});
    m.script({"record runtime.json", "console", "container-tty exit 0", "pidfile", "exit 0"});
    m.run();
    m.end();
    const auto argv = m.recorded("runtime.json")["argv"].texts();
    REQUIRE(argv.size() == 9);
    CHECK(argv[6] == "--console-socket");
    CHECK(argv[7].starts_with(m.sockets + "/conmon-term."));
    CHECK(argv[7].size() == m.sockets.size() + std::string("/conmon-term.XXXXXX").size());
    CHECK(argv[8] == m.id);
    CHECK(names_in(m.sockets).empty());
}

TEST_CASE("A size that is set before the console exists is the first size (regression 69)") {
    Monitor m;
    m.env("TMPDIR", m.sockets).add({"-t"}).gate("runtime").gate("start");
    m.script({"mark runs",
              "gate runtime",
              "console",
              "container-tty : <start; stty size",
              "pidfile",
              "exit 0"});
    m.start();
    wait_file(m.bundle + "/runs");
    m.control("1 10 20\n1 30 50\n1 40 120\n");
    m.open_gate("runtime");
    m.container();
    m.open_gate("start"); // as an engine does, once it has been told the pid
    CHECK(m.exit_file() == "0");
    CHECK(m.log_briefs() == Lines{"stdout F 40 120\r"});
}

TEST_CASE(
    "A resize reaches the running container as SIGWINCH, by ctl and by winsz (regression 69)") {
    Monitor m;
    on_terminal(
        m, "trap 'stty size' WINCH; trap 'exit 6' USR1; echo ready; while :; do sleep 0.05; done");
    Process container(m.run());
    m.wait_log("ready");
    m.control("1 33 77\n");
    m.wait_log("33 77");
    m.control("1 34 7");
    m.control("8\n");
    m.wait_log("34 78");
    m.control("1 1001 5\n1 5 -1\n1 0x10 5\n9 1 1\n1 35 79 trailing\n");
    m.wait_log("35 79");
    write_fifo(m.bundle + "/winsz", "36 80\n");
    m.wait_log("36 80");
    m.control("1 1000 1000\n");
    m.wait_log("1000 1000");
    container.kill(SIGUSR1);
    CHECK(m.exit_file() == "6");
}

TEST_CASE("100,000 resizes end with the last one and cost no CPU afterwards (regression 5)") {
    Monitor m;
    m.gate("end");
    on_terminal(m, ": <end; stty size");
    m.run();
    std::string lines;
    for (int n = 0; n < 100'000; ++n) {
        lines += "1 24 " + std::to_string(n % 500) + "\n";
    }
    m.control(lines + "1 41 121\n");
    // The fifo is in order: once the log is reopened, all before is done.
    struct stat before{};
    REQUIRE(::stat(m.log.c_str(), &before) == 0);
    m.control("2 0 0\n");
    CHECK(eventually([&] {
        struct stat now{};
        return ::stat(m.log.c_str(), &now) == 0 && now.st_ino != before.st_ino;
    }));
    CHECK(ticks_while_idle(m.process().pid()) <= 1);
    m.open_gate("end");
    CHECK(m.exit_file() == "0");
    CHECK(m.log_briefs() == Lines{"stdout F 41 121\r"});
}

TEST_CASE("Input reaches the terminal, and an EOF of a client does not close it") {
    Monitor m;
    on_terminal(
        m, "stty -echo; echo ready; read line; echo got $line; read line; echo got $line; exit 3");
    m.run();
    m.wait_log("ready");
    {
        auto client = m.attach();
        client.send("first\n");
        client.receive_until("got first\r\n");
        client.end_input();
    }
    auto client = m.attach();
    client.send("second\n");
    client.receive_until("got second\r\n");
    CHECK(m.exit_file() == "3");
}

TEST_CASE("Input that is sent before the console arrives is delivered (regression 70)") {
    Monitor m;
    m.env("TMPDIR", m.sockets).add({"-t", "-i"}).gate("runtime");
    m.script({"mark runs",
              "gate runtime",
              "console",
              "container-tty read line; echo got $line",
              "pidfile",
              "exit 0"});
    m.start();
    wait_file(m.bundle + "/runs");
    auto client = m.attach();
    client.send("early\n");
    m.open_gate("runtime");
    m.container();
    client.receive_until("got early\r\n");
    CHECK(m.exit_file() == "0");
}

TEST_CASE(
    "1 MB typed at a program that does not read yet is not lost, and output flows (regression 9)") {
    Monitor m;
    m.gate("read").gate("say");
    on_terminal(m,
                "stty raw -echo; echo ready; : <say; echo still; : <read; head -c 1000000 | tr -d "
                "'\\n' | wc -c");
    m.add({"-i"});
    m.run();
    m.wait_log("ready");
    auto client = m.attach();
    std::thread typist([&] {
        for (int n = 0; n < 100; ++n) {
            client.send(std::string(10'000, 'x'), Deadline(seconds(30)));
        }
    });
    m.open_gate("say");
    m.wait_log("still");
    CHECK(ticks_while_idle(m.process().pid()) <= 1);
    m.open_gate("read");
    CHECK(wait_file(m.exits + "/" + m.id, Deadline(seconds(30))) == "0");
    typist.join();
    m.wait_log("1000000");
}

TEST_CASE("5 MB of terminal output arrive complete in the log and at a client (regression 41)") {
    Monitor m;
    m.gate("go");
    on_terminal(m, ": <go; stty -opost; seq 1 700000");
    m.run();
    auto client = m.attach();
    m.open_gate("go");
    const auto output = client.receive_all(Deadline(seconds(30)));
    std::string expected;
    for (int n = 1; n <= 700'000; ++n) {
        expected += std::to_string(n) + "\n";
    }
    CHECK((output.out == expected));
    CHECK(m.exit_file() == "0");
    CHECK((payload_of(m.records()) == expected));
}

TEST_CASE(
    "A terminal that nobody has open costs no CPU and is served again when it is (regression 8)") {
    Monitor m;
    m.gate("end");
    on_terminal(m,
                "tty=$(tty); trap '' HUP; exec <&- >&- 2>&-; echo >closed; : <end; echo again "
                ">$tty; exit 4");
    m.run();
    wait_file(m.bundle + "/closed");
    CHECK(ticks_while_idle(m.process().pid()) <= 1);
    m.open_gate("end");
    CHECK(m.exit_file() == "4");
    CHECK(m.log_briefs() == Lines{"stdout F again\r"});
}

TEST_CASE("A console message with anything but one descriptor is refused with a reason") {
    for (const std::string verb : {"console-no-fd", "console-two-fds", "console-connect"}) {
        Monitor m;
        m.env("TMPDIR", m.sockets).add({"-t"});
        m.script({verb, "container exit 0", "pidfile", "exit 0"});
        m.start();
        INFO(verb);
        const auto lines = m.sync.rest();
        REQUIRE(lines.size() == 1);
        const Json told = Json::parse(lines[0]);
        CHECK(told["data"].number() == -1);
        CHECK(!told["message"].text().empty());
        CHECK(m.end() == exited(1));
        CHECK(names_in(m.sockets).empty());
    }
}

TEST_CASE("A console that is no terminal is tolerated, as by conmon, and hangs nothing") {
    Monitor m;
    m.env("TMPDIR", m.sockets).add({"-t"});
    m.script({"console-not-tty", "container exit 7", "pidfile", "exit 0"});
    m.run();
    CHECK(m.exit_file() == "7");
    CHECK(m.end() == exited(7));
    CHECK(names_in(m.sockets).empty());
}

TEST_CASE("A runtime that succeeds without a console is refused with conmon's words") {
    Monitor m;
    m.env("TMPDIR", m.sockets).add({"-t"}).shell("exit 0");
    m.start();
    CHECK(m.sync.rest() == Lines{R"({"data": -1, "message": "Runtime did not set up terminal"})"});
    CHECK(m.end() == exited(1));
    CHECK(names_in(m.sockets).empty());
}

TEST_CASE(
    "A failing runtime with a terminal is told with its words, in create and exec (difference 1)") {
    for (const bool exec : {false, true}) {
        Monitor m;
        m.env("TMPDIR", m.sockets).add({"-t"});
        if (exec) {
            m.exec();
        }
        m.script({"stderr nope\\n", "exit 1"});
        m.start();
        CHECK(m.sync.rest() == Lines{R"({"data": -1, "message": "nope\n"})"});
        CHECK(m.end() == exited(1));
        CHECK(names_in(m.sockets).empty());
    }
}

TEST_CASE("A TMPDIR that cannot hold the console socket is explained by its name (regression 31)") {
    Monitor m;
    m.env("TMPDIR", m.dir / "no-such-dir").add({"-t"}).shell("exit 0");
    m.start();
    const auto lines = m.sync.rest();
    REQUIRE(lines.size() == 1);
    CHECK(Json::parse(lines[0])["message"].text().find(m.dir / "no-such-dir") != std::string::npos);
}

TEST_CASE("An attached exec with a terminal gets the size that was set before (regression 69)") {
    Monitor m;
    m.start_kind = Kind::seqpacket;
    m.attach_kind = Kind::seqpacket;
    m.exec().add({"--exec-attach"}).set("-l", "none");
    on_terminal(m, "stty size; exit 2");
    m.start();
    m.go();
    CHECK(m.attach_pipe.line() == "{\"data\": 0}");
    m.control("1 40 120\n");
    auto client = m.attach();
    m.go();
    m.container();
    CHECK(client.receive_all().out == "40 120\r\n");
    CHECK(m.sync.line() == "{\"data\": 2}");
}

TEST_CASE("A terminal's session that is hung up by the container's end leaves no process of ours") {
    Monitor m;
    on_terminal(m, "sleep 60 & echo main; exit 4");
    m.run();
    CHECK(m.exit_file() == "4");
    CHECK(m.end() == exited(4));
    CHECK(m.log_briefs() == Lines{"stdout F main\r"});
}
