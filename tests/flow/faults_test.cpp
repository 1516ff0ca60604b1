// Full disks, vanished files, read-only directories and resource limits: the container, its status
// and the monitor survive them.

#include "support/monitor.h"
#include "support/mounts.h"

#include <csignal>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

// 3000 numbered lines of 100 bytes (435 kB as records: more than the disk, the monitor and the pipe
// can hold), a mark that they are written, a gate, and five more.
constexpr const char* lines_then_five =
    "i=0; while [ $i -lt 3000 ]; do printf 'line %04d %090d\\n' $i 0; i=$((i+1)); done; "
    "echo >written; : <go; "
    "for n in 1 2 3 4 5; do echo after $n; done; exit 3";

} // namespace

TEST_CASE(
    "A full log disk costs whole records only, and logging resumes by itself (regression 43)") {
    Monitor m;
    const Mount disk = Mount::tmpfs(m.dir / "disk", "64k");
    m.set("-l", "k8s-file:" + (m.dir / "disk/ctr.log")).gate("go").shell(lines_then_five);
    m.run();
    // The container is not blocked by the disk.
    wait_file(m.bundle + "/written");
    disk.resize("1m");
    m.open_gate("go");
    CHECK(m.exit_file() == "3");
    CHECK(m.end() == exited(3));
    const auto seen = briefs(read_file(m.dir / "disk/ctr.log"));
    CHECK(seen.size() > 200);
    CHECK(seen.size() < 3005);
    REQUIRE(seen.size() > 5);
    CHECK(Lines(seen.end() - 5, seen.end()) == Lines{"stdout F after 1",
                                                     "stdout F after 2",
                                                     "stdout F after 3",
                                                     "stdout F after 4",
                                                     "stdout F after 5"});
    // What is there of the first 3000 is in order, each line whole.
    int last = -1;
    for (auto line = seen.begin(); line != seen.end() - 5; ++line) {
        REQUIRE(line->size() == std::string("stdout F line 0000 ").size() + 90);
        const int number = std::stoi(line->substr(14, 4));
        CHECK(number > last);
        last = number;
    }
}

TEST_CASE(
    "A log disk that stays full delays neither the container nor its status (regression 43)") {
    Monitor m;
    const Mount disk = Mount::tmpfs(m.dir / "disk", "16k");
    m.set("-l", "k8s-file:" + (m.dir / "disk/ctr.log"));
    m.shell("seq 1 500000; exit 3").exit_script({"mark ran"});
    m.run();
    CHECK(wait_file(m.exits + "/" + m.id, Deadline(seconds(30))) == "3");
    CHECK(m.end() == exited(3));
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    // Whole records, from the first on.
    const auto seen = briefs(read_file(m.dir / "disk/ctr.log"));
    REQUIRE(!seen.empty());
    CHECK(seen.front() == "stdout F 1");
}

TEST_CASE("A full log disk costs no CPU while nothing is written (regression 43)") {
    Monitor m;
    const Mount disk = Mount::tmpfs(m.dir / "disk", "16k");
    m.set("-l", "k8s-file:" + (m.dir / "disk/ctr.log"));
    m.gate("end").shell("seq 1 10000; echo >written; : <end");
    m.run();
    wait_file(m.bundle + "/written");
    const pid_t pid = m.process().pid();
    ::usleep(50'000);
    const long before = cpu_ticks(pid);
    ::usleep(1'000'000);
    CHECK(cpu_ticks(pid) - before <= 1);
    m.open_gate("end");
    CHECK(m.exit_file() == "0");
}

TEST_CASE("Other clients of the output lose nothing when the log disk is full (regression 43)") {
    Monitor m;
    const Mount disk = Mount::tmpfs(m.dir / "disk", "16k");
    m.set("-l", "k8s-file:" + (m.dir / "disk/ctr.log"));
    m.gate("go").shell(": <go; seq 1 20000");
    m.run();
    auto client = m.attach();
    m.open_gate("go");
    const std::string out = client.receive_all().out;
    CHECK(std::ranges::count(out, '\n') == 20000);
    CHECK(m.exit_file() == "0");
}

TEST_CASE("A log that can never be written costs only the log") {
    Monitor m;
    m.set("-l", "k8s-file:/dev/full").shell("seq 1 100000; exit 3");
    m.run();
    CHECK(m.exit_file() == "3");
    CHECK(m.end() == exited(3));
}

TEST_CASE(
    "A log that is removed while it is written costs no descriptor and no status (regression 47)") {
    Monitor m;
    m.gate("go").gate("end");
    m.shell(
        "echo one; : <go; i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done; echo >written; "
        ": <end; exit 4");
    m.run();
    m.wait_log("one");
    const auto before = fds_of(m.process().pid()).size();
    fs::remove(m.log);
    m.open_gate("go");
    wait_file(m.bundle + "/written");
    CHECK(fds_of(m.process().pid()).size() == before);
    m.open_gate("end");
    CHECK(m.exit_file() == "4");
    CHECK(m.end() == exited(4));
}

TEST_CASE("A file size limit neither kills the monitor nor tears a record (difference 11)") {
    Monitor m;
    m.in_child = [] {
        const rlimit small{.rlim_cur = 5000, .rlim_max = 5000};
        ::setrlimit(RLIMIT_FSIZE, &small);
    };
    m.shell("seq 1 2000; exit 3").exit_script({"mark ran"});
    m.run();
    CHECK(m.exit_file() == "3");
    CHECK(m.end() == exited(3));
    CHECK(m.log_briefs().front() == "stdout F 1");
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
}

TEST_CASE(
    "A full persist dir does not cost the exit dir's file or the exit command (regression 13)") {
    Monitor m;
    const Mount disk = Mount::tmpfs(m.dir / "disk", "16k");
    disk.fill("ballast");
    SECTION("persist") {
        m.set("--persist-dir", m.dir / "disk").shell("exit 9").exit_script({"mark ran"});
        m.run();
        CHECK(m.exit_file() == "9");
        m.end();
        CHECK(names_in(m.dir / "disk") == Lines{"ballast"});
    }
    SECTION("exit dir") {
        m.set("--exit-dir", m.dir / "disk").shell("exit 9").exit_script({"mark ran"});
        m.run();
        CHECK(wait_file(m.persist + "/exit") == "9");
        m.end();
        CHECK(names_in(m.dir / "disk") == Lines{"ballast"});
    }
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
}

TEST_CASE("A read-only bundle or socket directory is explained by its name (regression 31)") {
    Monitor m;
    std::string named;
    m.set("--conmon-pidfile", m.dir / "conmon.pid").set("-p", m.dir / "pidfile");
    m.set("-l", "k8s-file:" + (m.dir / "ctr.log")).script({"exit 0"});
    SECTION("bundle") {
        named = m.bundle;
    }
    SECTION("socket directory") {
        named = m.sockets;
        m.drop("--full-attach");
    }
    const Mount view = Mount::read_only(named);
    m.start();
    CHECK(m.first_exit() == exited(0));
    const auto lines = m.sync.rest();
    REQUIRE(lines.size() == 1);
    const Json told = Json::parse(lines[0]);
    CHECK(told["data"].number() == -1);
    CHECK(told["message"].text().find(named) != std::string::npos);
    m.end();
}

TEST_CASE("With --sync an unreadable start-up failure is still told, and the status is 1 "
          "(regression 31)") {
    Monitor m;
    m.add({"--sync"}).set("-p", m.dir / "pidfile").set("-l", "k8s-file:" + (m.dir / "ctr.log"));
    m.script({"exit 0"});
    const Mount view = Mount::read_only(m.bundle);
    m.start();
    const auto lines = m.sync.rest();
    REQUIRE(lines.size() == 1);
    CHECK(Json::parse(lines[0])["message"].text().find(m.bundle) != std::string::npos);
    CHECK(m.end() == exited(1));
}

TEST_CASE("Exit dir and persist dir that vanish while the container runs cost only their file") {
    Monitor m;
    m.gate("end").shell(": <end; exit 5").exit_script({"mark ran"});
    m.run();
    fs::remove_all(m.persist);
    m.open_gate("end");
    CHECK(m.exit_file() == "5");
    m.end();
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
}

TEST_CASE("A bundle that vanishes while the container runs does not cost the status") {
    Monitor m;
    m.set("-l", "k8s-file:" + (m.dir / "ctr.log"));
    m.shell("mkfifo ../end; echo ready; : <../end; exit 5");
    m.run();
    wait_text(m.dir / "ctr.log", "ready");
    fs::remove_all(m.bundle);
    fs::create_directory(m.bundle);
    m.open_gate("../end");
    CHECK(m.exit_file() == "5");
    CHECK(m.end() == exited(5));
}
