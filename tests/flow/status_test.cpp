// The container's status: in the exit files, as the monitor's own, and unknown where nobody knows.

#include "support/monitor.h"

#include <csignal>

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

TEST_CASE(
    "Exit codes 0 to 255 arrive in both exit files and as the monitor's status (regression 15)") {
    for (int code = 0; code < 256; code += code < 3 || code > 120 ? 1 : 7) {
        Monitor m;
        m.shell("exit " + std::to_string(code));
        m.run();
        INFO("exit " << code);
        CHECK(m.end() == exited(code));
        CHECK(read_file(m.exits + "/" + m.id) == std::to_string(code));
        CHECK(read_file(m.persist + "/exit") == std::to_string(code));
    }
}

TEST_CASE("A container killed by signal k has status 128 + k (regression 17)") {
    for (const int signal : {1, 2, 3, 4, 6, 9, 13, 14, 15, 31, 34, 64}) {
        Monitor m;
        m.shell("ulimit -c 0; kill -" + std::to_string(signal) + " $$; sleep 60");
        m.run();
        INFO("signal " << signal);
        CHECK(m.exit_file() == std::to_string(128 + signal));
        CHECK(m.end() == exited(128 + signal));
        CHECK(read_file(m.persist + "/exit") == std::to_string(128 + signal));
    }
}

TEST_CASE(
    "Exit files appear by rename, in the order persist dir, exit dir, and nothing else stays") {
    Monitor m;
    DirWatch watch;
    watch.add(m.exits);
    watch.add(m.persist);
    m.shell("exit 12");
    m.run();
    m.end();
    Lines order;
    std::string temporary;
    for (const auto& event : watch.drain()) {
        if ((event.mask & IN_MOVED_TO) != 0) {
            order.push_back(event.directory + "/" + event.name);
        }
        if ((event.mask & IN_CREATE) != 0 && event.directory == m.exits) {
            temporary = event.name;
        }
    }
    CHECK(order == Lines{m.persist + "/exit", m.exits + "/" + m.id});
    CHECK(temporary.starts_with(m.id + "."));
    CHECK(names_in(m.exits) == Lines{m.id});
    CHECK(names_in(m.persist) == Lines{"exit"});
    CHECK(mode_of(m.exits + "/" + m.id) == 0644);
    CHECK(mode_of(m.persist + "/exit") == 0644);
    CHECK(type_of(m.exits + "/" + m.id) == S_IFREG);
}

TEST_CASE("Exit files of an earlier run are replaced") {
    Monitor m;
    write_file(m.exits + "/" + m.id, "old and longer");
    write_file(m.persist + "/exit", "old and longer");
    m.shell("exit 12");
    m.run();
    m.end();
    CHECK(read_file(m.exits + "/" + m.id) == "12");
    CHECK(read_file(m.persist + "/exit") == "12");
}

TEST_CASE("Without an exit dir, or a persist dir, the other file is written") {
    Monitor no_exit;
    no_exit.drop("--exit-dir").shell("exit 3");
    no_exit.run();
    CHECK(no_exit.end() == exited(3));
    CHECK(read_file(no_exit.persist + "/exit") == "3");
    Monitor no_persist;
    no_persist.drop("--persist-dir").shell("exit 4");
    no_persist.run();
    CHECK(no_persist.end() == exited(4));
    CHECK(read_file(no_persist.exits + "/" + no_persist.id) == "4");
    Monitor neither;
    neither.drop("--persist-dir").drop("--exit-dir").shell("exit 5");
    neither.run();
    CHECK(neither.end() == exited(5));
}

TEST_CASE("An unwritable persist dir does not cost the exit dir's file or the exit command "
          "(regression 13)") {
    Monitor m;
    SECTION("missing") {
        m.set("--persist-dir", m.dir / "no-such-dir");
    }
    SECTION("a file") {
        write_file(m.dir / "file", "");
        m.set("--persist-dir", m.dir / "file");
    }
    SECTION("something in the way") {
        fs::create_directories(m.persist + "/exit/full");
    }
    m.shell("exit 9").exit_script({"mark ran"});
    m.run();
    CHECK(m.exit_file() == "9");
    m.end();
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
}

TEST_CASE("An unwritable exit dir does not cost the persist dir's file or the exit command "
          "(regression 13)") {
    Monitor m;
    SECTION("missing") {
        m.set("--exit-dir", m.dir / "no-such-dir");
    }
    SECTION("something in the way") {
        fs::create_directories(m.exits + "/" + m.id + "/full");
    }
    m.shell("exit 9").exit_script({"mark ran"});
    m.run();
    CHECK(wait_file(m.persist + "/exit") == "9");
    m.end();
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    CHECK(names_in(m.persist) == Lines{"exit"});
}

TEST_CASE("A status that nobody can know is -1 and 255, never 0 (regression 14)") {
    Monitor m;
    m.script({"container-reaped exit 0", "pidfile", "exit 0"});
    m.run();
    CHECK(m.exit_file() == "-1");
    CHECK(m.end() == exited(255));
    CHECK(read_file(m.persist + "/exit") == "-1");
}

TEST_CASE("A container that is not the monitor's child is waited for, and its status not invented "
          "(regression 14)") {
    for (const std::string code : {"0", "7"}) {
        Monitor m;
        m.gate("end").script({"container-kept : <end; exit " + code, "pidfile", "exit 0"});
        m.run();
        CHECK(m.process().is_running());
        CHECK(try_read_file(m.exits + "/" + m.id) == std::nullopt);
        m.open_gate("end");
        const std::string told = m.exit_file();
        // A kernel with PIDFD_GET_INFO knows the status after the reaping; others do not.
        CHECK((told == code || told == "-1"));
        m.end();
    }
}

TEST_CASE("A container that is not the monitor's child can end in silence without a hang "
          "(regression 14)") {
    Monitor m;
    m.gate("end").script(
        {"container-kept exec >&- 2>&- <&-; kill -9 $$", "wait-container", "pidfile", "exit 0"});
    m.run();
    const std::string told = m.exit_file();
    CHECK((told == "137" || told == "-1"));
    m.end();
}

TEST_CASE("The status is the container's although other children end meanwhile (regression 18)") {
    Monitor m;
    m.gate("end");
    m.script({"spawn exit 77",
              "spawn kill -9 $$",
              "container (sh -c 'exit 78' &) ; : <end; exit 79",
              "spawn exit 80",
              "pidfile",
              "exit 0"});
    const pid_t container = m.run();
    CHECK(eventually(
        [&] { return children_of(m.process().pid()) == std::vector<pid_t>{container}; }));
    m.open_gate("end");
    CHECK(m.exit_file() == "79");
    CHECK(m.end() == exited(79));
}
