// Signals to the monitor: forwarded, ignored or waited out, never its death (regression 7).

#include "support/monitor.h"

#include <csignal>
#include <random>

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

TEST_CASE("TERM, INT and QUIT to the monitor reach the container, and only it") {
    for (const int signal : {SIGTERM, SIGINT, SIGQUIT}) {
        Monitor m;
        m.shell("trap 'echo TERM; exit 1' TERM; trap 'echo INT; exit 2' INT; "
                "trap 'echo QUIT; exit 3' QUIT; echo ready; while :; do sleep 0.05; done");
        m.run();
        m.wait_log("ready");
        m.process().kill(signal);
        const std::string code = signal == SIGTERM ? "1" : signal == SIGINT ? "2" : "3";
        CHECK(m.exit_file() == code);
        const std::string name = signal == SIGTERM ? "TERM" : signal == SIGINT ? "INT" : "QUIT";
        CHECK(m.log_briefs() == Lines{"stdout F ready", "stdout F " + name});
        m.end();
    }
}

TEST_CASE("TERM, INT and QUIT reach the runtime while it runs") {
    for (const int signal : {SIGTERM, SIGINT, SIGQUIT}) {
        Monitor m;
        m.gate("never").script({"record runtime.json", "gate never"});
        m.start();
        m.first_exit();
        m.recorded("runtime.json");
        m.process().kill(signal);
        const auto lines = m.sync.rest();
        REQUIRE(lines.size() == 1);
        CHECK(Json::parse(lines[0])["data"].number() == -1);
        CHECK(m.end() == exited(1));
    }
}

TEST_CASE("A container that ignores TERM lives on, and so does its monitor") {
    Monitor m;
    m.gate("end").shell("trap '' TERM; echo ready; : <end; exit 6");
    m.run();
    m.wait_log("ready");
    m.process().kill(SIGTERM);
    m.process().kill(SIGTERM);
    m.open_gate("end");
    CHECK(m.exit_file() == "6");
    CHECK(m.end() == exited(6));
}

TEST_CASE("No signal that can be caught kills the monitor (regression 7)") {
    Monitor m;
    m.gate("end").shell("trap '' TERM INT QUIT; echo ready; : <end; exit 6");
    m.run();
    m.wait_log("ready");
    for (int signal = 1; signal <= 64; ++signal) {
        // These are sent by faults, stop the process, or belong to the C library.
        const bool left_out = signal == SIGKILL || signal == SIGSTOP || signal == SIGSEGV ||
                              signal == SIGBUS || signal == SIGFPE || signal == SIGILL ||
                              signal == SIGABRT || signal == SIGTRAP || signal == SIGSYS ||
                              signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU ||
                              (signal >= 32 && signal < 35);
        if (!left_out) {
            m.process().kill(signal);
        }
        INFO("signal " << signal);
        REQUIRE(m.process().is_running());
    }
    m.open_gate("end");
    CHECK(m.exit_file() == "6");
    CHECK(m.end() == exited(6));
}

TEST_CASE("Bursts of every usual signal leave the monitor and the status right (regression 7)") {
    for (const bool with_hup : {true, false}) {
        std::vector<int> signals = {
            SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD, SIGPIPE, SIGALRM};
        if (with_hup) {
            signals.push_back(SIGHUP);
        }
        std::mt19937 random(with_hup ? 1 : 2);
        Monitor m;
        m.gate("end").exit_script({"mark ran"});
        m.shell("trap '' TERM INT QUIT; echo ready; seq 1 2000; : <end; exit 6");
        m.run();
        m.wait_log("ready");
        for (int n = 0; n < 1000; ++n) {
            m.process().kill(signals[random() % signals.size()]);
        }
        m.open_gate("end");
        // On, while it ends.
        for (int n = 0; n < 1000 && m.process().is_running(); ++n) {
            m.process().kill(signals[random() % signals.size()]);
        }
        CHECK(m.exit_file() == "6");
        CHECK(m.end() == exited(6));
        CHECK(m.sync.rest().empty());
        CHECK(type_of(m.bundle + "/ran") == S_IFREG);
        const std::string written = payload_of(m.records());
        // HUP reopens the log, and a reopening of a log that nobody has renamed empties it.
        if (!with_hup) {
            CHECK(std::ranges::count(written, '\n') == 2001);
            CHECK(written.ends_with("\n2000\n"));
        }
    }
}

TEST_CASE("Signals during a slow creation do not disturb it") {
    Monitor m;
    m.gate("go");
    m.script({"record runtime.json", "gate go", "container exit 5", "pidfile", "exit 0"});
    m.start();
    m.first_exit();
    m.recorded("runtime.json");
    for (int n = 0; n < 200; ++n) {
        for (const int signal : {SIGUSR1, SIGUSR2, SIGCHLD, SIGPIPE, SIGHUP, SIGALRM, SIGWINCH}) {
            m.process().kill(signal);
        }
    }
    m.open_gate("go");
    m.container();
    CHECK(m.exit_file() == "5");
    CHECK(m.end() == exited(5));
}

TEST_CASE("A stopped and continued monitor catches up and costs no CPU afterwards (regression 8)") {
    Monitor m;
    m.gate("go").gate("end").shell(": <go; seq 1 5000; echo >written; : <end; exit 2");
    m.run();
    m.process().kill(SIGSTOP);
    m.open_gate("go");
    wait_file(m.bundle + "/written");
    m.process().kill(SIGCONT);
    m.wait_log("5000\n");
    const pid_t pid = m.process().pid();
    const long before = cpu_ticks(pid);
    ::usleep(300'000);
    CHECK(cpu_ticks(pid) - before <= 1);
    m.open_gate("end");
    CHECK(m.exit_file() == "2");
}

TEST_CASE("A container that ends while the monitor is stopped is seen when it continues") {
    Monitor m;
    m.gate("go").shell(": <go; echo last; exit 2");
    Process container(m.run());
    m.process().kill(SIGSTOP);
    m.open_gate("go");
    CHECK(container.wait_gone());
    m.process().kill(SIGCONT);
    CHECK(m.exit_file() == "2");
    CHECK(m.log_briefs() == Lines{"stdout F last"});
}

TEST_CASE("An idle monitor uses no CPU and makes no context switch") {
    Monitor m;
    m.gate("end").shell("echo ready; : <end");
    m.run();
    m.wait_log("ready");
    const pid_t pid = m.process().pid();
    // After output the monitor may tidy up once; that is over after little more than a second.
    ::usleep(1'500'000);
    const long ticks = cpu_ticks(pid);
    const std::string switches = status_line(pid, "voluntary_ctxt_switches");
    ::usleep(1'000'000);
    CHECK(cpu_ticks(pid) == ticks);
    CHECK(status_line(pid, "voluntary_ctxt_switches") == switches);
    m.open_gate("end");
}
