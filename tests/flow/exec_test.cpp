// exec sessions: legacy and with --api-version, with attach and start pipes, their failures, their
// statuses, and timeouts.

#include "support/load.h"
#include "support/monitor.h"
#include "support/rounds.h"

#include <csignal>

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

Lines told(Monitor& m) {
    return m.sync.rest();
}

// An exec with attach and start pipes, as Podman's are.
void attached(Monitor& m) {
    m.start_kind = Kind::seqpacket;
    m.attach_kind = Kind::seqpacket;
    m.exec().add({"--exec-attach"});
}

} // namespace

TEST_CASE("exec with --api-version tells the pid, and at the end the status (regression 15)") {
    for (const std::string code : {"0", "1", "2", "126", "127", "137", "255"}) {
        Monitor m;
        m.exec().gate("end").shell(": <end; exit " + code);
        m.start();
        const pid_t pid = m.container();
        CHECK(parent_of(pid) == m.process().pid());
        CHECK(!m.sync.ended_now());
        m.open_gate("end");
        CHECK(m.sync.line() == "{\"data\": " + code + "}");
        CHECK(m.sync.line() == std::nullopt);
        CHECK(m.end() == exited(std::stoi(code)));
        CHECK(read_file(m.exits + "/" + m.id) == code);
    }
}

TEST_CASE("A legacy exec tells only the status, under exit_code (regressions 15 and 23)") {
    for (const std::string code : {"0", "3", "255"}) {
        Monitor m;
        // A lent descriptor is closed before the message is sent; the sync pipe is not.
        Channel lent = Channel::make(Kind::pipe, Channel::Direction::to_us);
        m.fds[9] = lent.theirs.get();
        m.drop("--api-version").exec().shell("exit " + code);
        m.start();
        CHECK(told(m) == Lines{"{\"exit_code\": " + code + "}"});
        CHECK(m.end() == exited(std::stoi(code)));
    }
}

TEST_CASE("An exec killed by signal k has status 128 + k (regression 15)") {
    for (const int signal : {1, 9, 15}) {
        Monitor m;
        m.drop("--api-version").exec().shell("kill -" + std::to_string(signal) + " $$; sleep 60");
        m.start();
        CHECK(told(m) == Lines{"{\"exit_code\": " + std::to_string(128 + signal) + "}"});
        CHECK(m.end() == exited(128 + signal));
    }
}

TEST_CASE("A failing exec is told with the runtime's words, once (regression 16)") {
    for (const bool api : {true, false}) {
        Monitor m;
        if (!api) {
            m.drop("--api-version");
        }
        m.exec().script({"stderr nope\\n", "exit 1"}).exit_script({"mark ran"});
        m.start();
        CHECK(told(m) == Lines{std::string("{\"") + (api ? "data" : "exit_code") +
                               "\": -1, \"message\": \"nope\\n\"}"});
        CHECK(m.end() == exited(1));
        CHECK(names_in(m.exits).empty());
        CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    }
}

TEST_CASE(
    "A failing exec with CRI-O's empty pid file is told with the runtime's words (difference 1)") {
    Monitor m;
    write_file(m.pidfile, "");
    m.drop("--api-version").exec().script({"stderr nope\\n", "exit 1"});
    m.start();
    CHECK(told(m) == Lines{R"({"exit_code": -1, "message": "nope\n"})"});
    CHECK(m.end() == exited(1));
    CHECK(read_file(m.log).empty());
}

TEST_CASE("A failing exec with a pid of an earlier run in the pid file is a failure") {
    Monitor m;
    write_file(m.pidfile, "1");
    m.exec().script({"stderr nope\\n", "exit 1"});
    m.start();
    CHECK(told(m) == Lines{R"({"data": -1, "message": "nope\n"})"});
    CHECK(m.end() == exited(1));
}

TEST_CASE("A silent failing exec is explained (regressions 16 and 31)") {
    for (const bool pid_file : {false, true}) {
        Monitor m;
        if (pid_file) {
            write_file(m.pidfile, "");
        }
        m.exec().script({"exit 1"});
        m.start();
        const auto lines = told(m);
        REQUIRE(lines.size() == 1);
        CHECK(Json::parse(lines[0])["data"].number() == -1);
        CHECK(!Json::parse(lines[0])["message"].text().empty());
    }
}

TEST_CASE("exec without a bundle makes no socket and no fifo, and logs") {
    Monitor m;
    m.cwd = m.dir.path();
    m.drop("--api-version").drop("-b").drop("-u").drop("--persist-dir").drop("--exit-dir");
    m.drop("--conmon-pidfile").drop("--full-attach").add({"--sync"});
    m.exec().shell("echo out; echo err >&2; exit 4");
    m.start();
    CHECK(told(m) == Lines{"{\"exit_code\": 4}"});
    CHECK(m.end() == exited(4));
    CHECK(names_in(m.bundle) == Lines{"ctr.log", "pidfile", "script"});
    CHECK(names_in(m.sockets).empty());
    auto seen = m.log_briefs();
    std::ranges::sort(seen);
    CHECK(seen == Lines{"stderr F err", "stdout F out"});
}

TEST_CASE("The exit files precede the final message of an exec") {
    Monitor m;
    m.exec().gate("end").shell(": <end; exit 4");
    m.start();
    m.container();
    m.open_gate("end");
    CHECK(m.sync.line() == "{\"data\": 4}");
    CHECK(read_file(m.exits + "/" + m.id) == "4");
    CHECK(read_file(m.persist + "/exit") == "4");
}

TEST_CASE(
    "The final message of an exec comes although an exit file cannot be written (regression 13)") {
    Monitor m;
    m.exec().set("--persist-dir", m.dir / "no-such-dir").shell("exit 4");
    m.start();
    m.container();
    CHECK(m.sync.line() == "{\"data\": 4}");
    CHECK(m.exit_file() == "4");
}

TEST_CASE(
    "An attached exec: sockets, then the attach message, then the start pipe, then the runtime") {
    Monitor m;
    attached(m);
    m.script({"mark runs", "container cat; exit 7", "pidfile", "exit 0"}).add({"-i"});
    m.start();
    CHECK_THROWS_AS(m.attach_pipe.line(Deadline(milliseconds(200))), TimedOut);
    m.go();
    CHECK(m.first_exit() == exited(0));
    CHECK(m.attach_pipe.line() == "{\"data\": 0}");
    auto client = m.attach();
    m.control("1 24 80\n");
    client.send("words\n");
    client.end_input();
    ::usleep(100'000);
    CHECK(type_of(m.bundle + "/runs") == 0);
    CHECK(!m.attach_pipe.ended_now());
    m.go();
    m.container();
    CHECK(client.receive_all().out == "words\n");
    CHECK(m.sync.line() == "{\"data\": 7}");
    CHECK(m.attach_pipe.line() == std::nullopt);
    CHECK(m.end() == exited(7));
}

TEST_CASE("The end of the start pipe releases an attached exec at both places") {
    Monitor m;
    attached(m);
    m.shell("echo out; exit 7");
    m.start();
    m.go();
    CHECK(m.attach_pipe.line() == "{\"data\": 0}");
    auto client = m.attach();
    m.start_pipe.reset();
    m.container();
    CHECK(client.receive_all().out == "out\n");
    CHECK(m.sync.line() == "{\"data\": 7}");
}

TEST_CASE("An attached exec that is stopped while it waits to start runs its exit command") {
    Monitor m;
    attached(m);
    m.exit_script({"mark ran"}).script({"mark runtime"});
    m.start();
    m.go();
    CHECK(m.attach_pipe.line() == "{\"data\": 0}");
    m.process().kill(SIGTERM);
    CHECK(told(m) == Lines{"{\"data\": -1, \"message\": \"The monitor was told to stop before the "
                           "runtime was started\"}"});
    CHECK(m.end() == exited(1));
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    CHECK(type_of(m.bundle + "/runtime") == 0);
}

TEST_CASE("Without a start pipe an attached exec starts at once") {
    Monitor m;
    attached(m);
    m.start_kind = std::nullopt;
    m.shell("exit 7");
    m.start();
    CHECK(m.attach_pipe.line() == "{\"data\": 0}");
    m.container();
    CHECK(m.sync.line() == "{\"data\": 7}");
}

TEST_CASE("A failing attached exec: attach message, then -1 with the words, then EOF for clients") {
    Monitor m;
    attached(m);
    m.script({"stderr nope\\n", "exit 1"});
    m.start();
    m.go();
    CHECK(m.attach_pipe.line() == "{\"data\": 0}");
    auto client = m.attach();
    m.go();
    CHECK(told(m) == Lines{R"({"data": -1, "message": "nope\n"})"});
    CHECK(client.receive_all().out == "");
    CHECK(m.end() == exited(1));
}

TEST_CASE("A quick attached exec loses nothing, however early it ends (regression 10)", "[long]") {
    // As much as a pipe holds.
    const std::string data(65'536, 'x');
    const Load load;
    const Monitor spare; // the last Monitor to go would end the load
    for (int run = 0; run < rounds(200, 2000); ++run) {
        Monitor m;
        attached(m);
        write_file(m.bundle + "/data", data);
        // In half of the runs the command has ended before its pid is known.
        m.script({"container cat data; exit 5",
                  run % 2 == 0 ? "wait-container" : "",
                  "pidfile",
                  "exit 0"});
        m.start();
        m.go();
        REQUIRE(m.attach_pipe.line() == "{\"data\": 0}");
        auto client = m.attach();
        // wait-container needs somebody to read 65,536 bytes: pipe and monitor do.
        m.go();
        REQUIRE(m.container() > 0);
        REQUIRE(m.sync.line() == "{\"data\": 5}");
        REQUIRE(client.receive_all().out == data);
        REQUIRE(m.end() == exited(5));
    }
    // No monitor, no zombie, nothing but the load.
    CHECK(descendants().size() == load.size());
}

TEST_CASE("Quick execs without attach all tell their status (regressions 10 and 18)") {
    for (int run = 0; run < 300; ++run) {
        Monitor m;
        m.drop("--api-version").drop("-b").drop("-u").drop("--persist-dir").drop("--exit-dir");
        m.drop("--conmon-pidfile").drop("--full-attach").add({"--sync"});
        m.exec().shell("echo " + std::to_string(run) + "; exit " + std::to_string(run % 256));
        m.start();
        REQUIRE(told(m) == Lines{"{\"exit_code\": " + std::to_string(run % 256) + "}"});
        REQUIRE(m.end() == exited(run % 256));
        REQUIRE(m.log_briefs() == Lines{"stdout F " + std::to_string(run)});
    }
    CHECK(descendants().empty());
}

TEST_CASE("A timed out exec is killed with all its group, and told as timed out (regression 25)") {
    Monitor m;
    m.drop("--api-version").exec().add({"-T", "1"}).shell("echo $$; sleep 60 & sleep 60");
    const auto start = std::chrono::steady_clock::now();
    m.start();
    CHECK(told(m) == Lines{R"({"exit_code": -1, "message": "command timed out"})"});
    const auto took = std::chrono::steady_clock::now() - start;
    CHECK(took >= milliseconds(900));
    CHECK(took < seconds(5));
    CHECK(m.end() == exited(255));
    CHECK(read_file(m.exits + "/" + m.id) == "-1");
    CHECK(read_file(m.persist + "/exit") == "-1");
    CHECK(eventually([] {
        for (const pid_t pid : descendants()) {
            if (stat_field(pid, 3) != "Z") {
                return false;
            }
        }
        return true;
    }));
}

TEST_CASE("A timed out create ends with -1 and the exit command (regression 25)") {
    Monitor m;
    m.add({"--timeout", "1"}).shell("echo out; sleep 60").exit_script({"mark ran"});
    m.run();
    CHECK(m.exit_file() == "-1");
    CHECK(m.sync.rest().empty());
    CHECK(m.end() == exited(255));
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    CHECK(m.log_briefs() == Lines{"stdout F out"});
}

TEST_CASE("A process that ends before the timeout keeps its status (regression 25)") {
    Monitor m;
    m.drop("--api-version").exec().add({"-T", "2"}).shell("sleep 0.95; exit 3");
    m.start();
    CHECK(told(m) == Lines{"{\"exit_code\": 3}"});
    CHECK(m.end() == exited(3));
}

TEST_CASE("A timeout of 0 or less is none") {
    for (const std::string timeout : {"0", "-1"}) {
        Monitor m;
        m.add({"--timeout", timeout}).shell("exit 3");
        m.run();
        CHECK(m.exit_file() == "3");
        CHECK(m.end() == exited(3));
    }
}

TEST_CASE("A timeout is kept although a client is silent (regressions 1 and 25)") {
    Monitor m;
    m.add({"-T", "1"}).gate("go").shell(": <go; yes");
    m.run();
    auto silent = m.attach();
    m.open_gate("go");
    CHECK(m.exit_file() == "-1");
    CHECK(m.end() == exited(255));
}

TEST_CASE("Exec monitors that wait for their exit delay cost no CPU (regression 8)") {
    std::vector<std::unique_ptr<Monitor>> all;
    for (int n = 0; n < 20; ++n) {
        auto& m = *all.emplace_back(std::make_unique<Monitor>());
        m.exec().add({"--exit-delay", "60"}).shell("exit 0").exit_script({"exit 0"});
        m.start();
    }
    for (const auto& m : all) {
        m->container();
        CHECK(m->sync.line() == "{\"data\": 0}");
        CHECK(m->sync.line() == std::nullopt);
    }
    std::map<pid_t, long> ticks;
    for (const auto& m : all) {
        ticks[m->process().pid()] = cpu_ticks(m->process().pid());
    }
    ::usleep(500'000);
    for (const auto& [pid, before] : ticks) {
        CHECK(cpu_ticks(pid) == before);
        CHECK(zombies_of(pid).empty());
    }
}

TEST_CASE("INT to a --sync exec reaches the command, as CRI-O stops it") {
    Monitor m;
    m.drop("--api-version").exec().add({"--sync"});
    m.shell("trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done");
    m.start();
    m.wait_log("ready");
    m.process().kill(SIGINT);
    CHECK(told(m) == Lines{"{\"exit_code\": 9}"});
    CHECK(m.end() == exited(9));
}
