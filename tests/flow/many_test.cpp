// Many containers, one after the other and at once: nothing is left behind, nothing is mixed up.

#include "support/monitor.h"

#include <memory>

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

std::set<std::string> console_sockets() {
    std::set<std::string> found;
    for (const auto& name : names_in("/tmp")) {
        if (name.starts_with("conmon-term.")) {
            found.insert(name);
        }
    }
    return found;
}

} // namespace

TEST_CASE(
    "200 starts and ends in a row leave no process, zombie, descriptor, file or link behind") {
    const TempDir shared;
    const auto sockets_before = console_sockets();
    const size_t fds_before = fds_of(::getpid()).size();
    for (int run = 0; run < 200; ++run) {
        Monitor m;
        m.drop("--full-attach").set("--socket-dir-path", shared.path());
        if (run % 2 == 1) {
            m.exit_script({"exit 0"});
        }
        const int code = run % 256;
        m.shell("echo run " + std::to_string(run) + "; exit " + std::to_string(code));
        m.run();
        REQUIRE(m.end() == exited(code));
        REQUIRE(m.sync.rest().empty());
        REQUIRE(read_file(m.exits + "/" + m.id) == std::to_string(code));
        REQUIRE(m.log_briefs() == Lines{"stdout F run " + std::to_string(run)});
        REQUIRE(descendants().empty());
        REQUIRE(names_in(shared.path()).empty());
        REQUIRE(names_in(m.exits).size() == 1);
        REQUIRE(names_in(m.persist).size() == 1);
        Lines expected = {"conmon.pid", "ctl", "ctr.log", "pidfile", "script", "winsz"};
        if (run % 2 == 1) {
            expected.insert(expected.begin() + 3, "exit-script");
        }
        REQUIRE(names_in(m.bundle) == expected);
    }
    CHECK(console_sockets() == sockets_before);
    CHECK(fds_of(::getpid()).size() == fds_before);
}

TEST_CASE("100 failing starts in a row leave no process and no link behind") {
    const TempDir shared;
    for (int run = 0; run < 100; ++run) {
        Monitor m;
        m.drop("--full-attach").set("--socket-dir-path", shared.path());
        m.script({"spawn exit 1", "spawn exit 2", "spawn exit 3", "stderr no\\n", "exit 1"});
        m.start();
        REQUIRE(m.message()["data"].number() == -1);
        REQUIRE(m.end() == exited(1));
        REQUIRE(names_in(shared.path()).empty());
        REQUIRE(names_in(m.exits).empty());
    }
    CHECK(eventually([] {
        kill_descendants();
        return descendants().empty();
    }));
}

TEST_CASE("60 containers at once each get their own log, status and monitor") {
    const TempDir exits;
    std::vector<std::unique_ptr<Monitor>> all;
    std::set<pid_t> monitors;
    for (int n = 0; n < 60; ++n) {
        auto& m = *all.emplace_back(std::make_unique<Monitor>());
        m.gate("end").shell("echo container " + std::to_string(n) + "; : <end; exit " +
                            std::to_string(n));
        m.start();
    }
    for (const auto& m : all) {
        m->container();
        monitors.insert(m->process().pid());
    }
    CHECK(monitors.size() == 60);
    for (const auto& m : all) {
        m->open_gate("end");
    }
    for (int n = 0; n < 60; ++n) {
        auto& m = *all[static_cast<size_t>(n)];
        CHECK(m.exit_file() == std::to_string(n));
        CHECK(m.end() == exited(n));
        CHECK(m.log_briefs() == Lines{"stdout F container " + std::to_string(n)});
    }
    CHECK(descendants().empty());
}

TEST_CASE("A container with 300 orphans has all of them reaped (regression 18)") {
    Monitor m;
    m.gate("end");
    m.shell("i=0; while [ $i -lt 300 ]; do (sh -c : &); i=$((i+1)); done; echo done; : <end");
    const pid_t container = m.run();
    m.wait_log("done");
    CHECK(eventually(
        [&] { return children_of(m.process().pid()) == std::vector<pid_t>{container}; }));
    m.open_gate("end");
    CHECK(m.exit_file() == "0");
}
