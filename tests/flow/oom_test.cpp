// Containers that are killed for want of memory, those that are not, and machines on which nobody
// can tell. The memory cgroups are the test's own, of the version that the machine has.

#include "support/mailbox.h"
#include "support/memory_cgroup.h"
#include "support/monitor.h"
#include "support/mounts.h"
#include "support/rounds.h"

#include <csignal>
#include <thread>

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

constexpr uint64_t limit = 8 << 20;

// The kernel of cgroup v1 tells of a group's removal up to 40 ms after it.
constexpr useconds_t removal_us = 80'000;

// A container in the group, which waits for the gate `go` and then becomes `command`.
void run_in(Monitor& m, const MemoryCgroup& group, const std::string& command) {
    m.gate("go").script(
        {"join " + group.procs(), "container : <go; " + command, "pidfile", "exit 0"});
    m.run();
}

// Takes all memory that it may have, and more.
constexpr const char* hungry = "exec tail /dev/zero";

bool has_oom_files(const Monitor& m) {
    return type_of(m.persist + "/oom") == S_IFREG && type_of(m.bundle + "/oom") == S_IFREG;
}

bool has_no_oom_file(const Monitor& m) {
    return type_of(m.persist + "/oom") == 0 && type_of(m.bundle + "/oom") == 0;
}

// Waits until the monitor watches, which is soon after it has told the container's pid.
void await_watch(Monitor& m) {
    const pid_t pid = m.process().pid();
    REQUIRE(eventually([&] {
        for (const auto& [fd, what] : fds_of(pid)) {
            if (what == "anon_inode:[eventfd]" || what.ends_with("/memory.events")) {
                return true;
            }
        }
        return false;
    }));
}

// Removes the group in the first moment in which the kernel allows it.
void remove_at_once(MemoryCgroup& group) {
    const Deadline deadline(soon);
    while (!group.try_remove()) {
        if (deadline.passed()) {
            throw TimedOut("the group " + group.path() + " stays in use");
        }
    }
}

} // namespace

TEST_CASE("An oom file is in the persist dir and the bundle when the container's child was killed "
          "(regression 63)") {
    Monitor m;
    MemoryCgroup group("child");
    group.limit(limit);
    run_in(m, group, "sh -c 'exec tail /dev/zero'; echo child $?; : <end; exit 3");
    m.gate("end");
    m.open_gate("go");
    m.wait_log("child 137");
    // While the container goes on.
    CHECK(eventually([&] { return has_oom_files(m); }));
    CHECK(m.process().is_running());
    m.open_gate("end");
    CHECK(m.exit_file() == "3");
}

TEST_CASE("Containers whose cgroup is removed at once after the kill all leave their oom files "
          "(regression 63)",
          "[long]") {
    int missed = 0;
    bool may_miss = false;
    const int runs = rounds(50, 200);
    for (int run = 0; run < runs; ++run) {
        Monitor m;
        MemoryCgroup group("race");
        may_miss = !group.is_v1();
        group.limit(limit);
        run_in(m, group, hungry);
        await_watch(m);
        // Every other time the monitor comes to it only when all is over; version 2 tells nothing
        // then.
        const bool is_late = run % 2 == 1 && group.is_v1();
        if (is_late) {
            m.process().kill(SIGSTOP);
        }
        m.open_gate("go");
        remove_at_once(group);
        if (is_late) {
            ::usleep(removal_us);
            m.process().kill(SIGCONT);
        }
        REQUIRE(m.exit_file() == "137");
        REQUIRE(m.end() == exited(137));
        missed += has_oom_files(m) ? 0 : 1;
    }
    // The kernel of version 2 tells nothing of a group that has gone: see tests/vm/oom.bats.
    CHECK(missed <= (may_miss ? runs / 2 : 0));
}

TEST_CASE("Containers that are stopped, and whose cgroup is removed at once, leave no oom file "
          "(regression 64)",
          "[long]") {
    int wrong = 0;
    for (int run = 0; run < rounds(50, 500); ++run) {
        Monitor m;
        MemoryCgroup group("stop");
        group.limit(limit);
        const bool is_killed = run % 2 == 0;
        const bool is_late = run % 4 >= 2;
        m.gate("go").script(
            {"join " + group.procs(), "container echo ready; : <go; exit 1", "pidfile", "exit 0"});
        Process container(m.run());
        await_watch(m);
        if (is_late) {
            m.process().kill(SIGSTOP);
        }
        if (is_killed) {
            container.kill(SIGKILL);
        } else {
            m.open_gate("go");
        }
        remove_at_once(group);
        if (is_late) {
            ::usleep(removal_us);
            m.process().kill(SIGCONT);
        }
        REQUIRE(m.exit_file() == (is_killed ? "137" : "1"));
        m.end();
        wrong += has_no_oom_file(m) ? 0 : 1;
    }
    CHECK(wrong == 0);
}

TEST_CASE(
    "Without --persist-dir the oom file is in the bundle alone, in the current directory only "
    "if that is the bundle (regressions 65 and 71)") {
    for (const bool named : {true, false}) {
        Monitor m(Monitor::Setup{.program = program_under_test(), .path_length = 200});
        MemoryCgroup group("place");
        group.limit(limit);
        m.drop("--persist-dir");
        if (named) {
            m.cwd = m.sockets;
        } else {
            m.cwd = m.bundle;
            m.drop("-b");
        }
        run_in(m, group, hungry);
        m.open_gate("go");
        CHECK(m.exit_file() == "137");
        m.end();
        CHECK(type_of(m.bundle + "/oom") == S_IFREG);
        CHECK(fs::file_size(m.bundle + "/oom") == 0);
        CHECK(names_in(m.sockets).empty());
        CHECK(names_in(m.persist).empty());
        CHECK(names_in(m.dir.path()) == Lines{"b", "p", "s", "x"});
    }
}

TEST_CASE("A monitor whose container lost a child for want of memory sleeps again (regression 8)") {
    Monitor m;
    MemoryCgroup group("idle");
    group.limit(limit);
    run_in(m, group, "sh -c 'exec tail /dev/zero'; echo again; : <end");
    m.gate("end");
    m.open_gate("go");
    m.wait_log("again");
    REQUIRE(eventually([&] { return has_oom_files(m); }));
    const pid_t pid = m.process().pid();
    ::usleep(100'000);
    const long before = cpu_ticks(pid);
    ::usleep(1'000'000);
    CHECK(cpu_ticks(pid) - before <= 1);
    m.open_gate("end");
    CHECK(m.exit_file() == "0");
}

TEST_CASE("A container runs, with nothing said, wherever nobody can tell of lack of memory "
          "(regressions 34 and 40)") {
    Monitor m;
    SystemLog syslog(m.dir / "dev");
    const std::string fake = m.dir / "cgroup";
    fs::create_directories(fake);
    // The group that the container is in, as /proc tells.
    const std::string text = read_file("/proc/self/cgroup");
    const size_t at = text.find("memory:");
    const std::string own =
        at == std::string::npos ? "/" : text.substr(at + 7, text.find('\n', at) - at - 7);
    const std::string mine = fake + "/memory" + own;
    std::optional<Mount> place;
    SECTION("no controllers at all") {
        place.emplace(Mount::bind(fake, "/sys/fs/cgroup"));
    }
    SECTION("a group without files") {
        fs::create_directories(mine);
        place.emplace(Mount::bind(fake, "/sys/fs/cgroup"));
    }
    SECTION("version 1 without cgroup.event_control, as kernels with PREEMPT_RT are") {
        fs::create_directories(mine);
        write_file(mine + "/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
        place.emplace(Mount::bind(fake, "/sys/fs/cgroup"));
    }
    SECTION("version 1 whose cgroup.event_control takes nothing") {
        fs::create_directories(mine);
        write_file(mine + "/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
        fs::create_symlink("/dev/full", mine + "/cgroup.event_control");
        place.emplace(Mount::bind(fake, "/sys/fs/cgroup"));
    }
    SECTION("version 2 without a memory controller") {
        const std::string v2 = cgroup2_root();
        REQUIRE(!v2.empty());
        // A group below one that hands no controller on.
        const std::string group = v2 + "/mote-test-" + std::to_string(::getpid());
        fs::create_directories(group + "/inner");
        if (v2 != "/sys/fs/cgroup") {
            place.emplace(Mount::bind(v2, "/sys/fs/cgroup"));
        }
        m.gate("end").add({"--syslog", "--log-level", "warning"});
        m.script({"join /sys/fs/cgroup" + group.substr(v2.size()) + "/inner/cgroup.procs",
                  "container echo here; : <end; exit 4",
                  "pidfile",
                  "exit 0"});
        m.run();
        m.wait_log("here");
        m.open_gate("end");
        CHECK(m.exit_file() == "4");
        m.end();
        CHECK(syslog.drain() == "");
        CHECK(has_no_oom_file(m));
        place.reset();
        CHECK(eventually([&] { return ::rmdir((group + "/inner").c_str()) == 0; }));
        CHECK(::rmdir(group.c_str()) == 0);
        return;
    }
    m.gate("end").add({"--syslog", "--log-level", "warning"});
    m.shell("echo here; : <end; exit 4");
    m.run();
    m.wait_log("here");
    const pid_t pid = m.process().pid();
    const long before = cpu_ticks(pid);
    ::usleep(200'000);
    CHECK(cpu_ticks(pid) - before <= 1);
    m.open_gate("end");
    CHECK(m.exit_file() == "4");
    CHECK(m.end() == exited(4));
    CHECK(syslog.drain() == "");
    CHECK(has_no_oom_file(m));
}
