// What the caller is told on the sync pipe: the container's pid, or why there is none.

#include "support/monitor.h"

#include <csignal>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

// Exactly one line comes, with `data` -1 and a text; gives the text.
std::string failure_text(Monitor& m) {
    const auto lines = m.sync.rest();
    REQUIRE(lines.size() == 1);
    INFO(lines[0]);
    const Json told = Json::parse(lines[0]);
    CHECK(told["data"].number() == -1);
    CHECK(told.members().size() == 2);
    const std::string text = told["message"].text();
    CHECK(!text.empty());
    return text;
}

// A failed start leaves no exit files behind, and the monitor ends with 1.
void check_failed_start(Monitor& m) {
    CHECK(m.end() == exited(1));
    CHECK(names_in(m.exits).empty());
    CHECK(names_in(m.persist).empty());
}

} // namespace

TEST_CASE("A started container is told as one message of one write: {\"data\": PID}") {
    for (const Kind kind : {Kind::seqpacket, Kind::stream, Kind::pipe}) {
        Monitor m;
        m.sync_kind = kind;
        m.gate("end").shell("echo $$; : <end");
        m.start();
        const auto line = m.sync.line();
        m.wait_log("stdout F ");
        CHECK(line == "{\"data\": " + m.records()[0].content + "}");
        CHECK(m.sync.reads() == Lines{*line + "\n"});
        // Nothing more comes, and the pipe stays open while the container runs.
        CHECK(!m.sync.ended_now());
        m.open_gate("end");
        CHECK(m.sync.rest().empty());
        m.end();
    }
}

TEST_CASE("Without --api-version the key is pid") {
    Monitor m;
    m.drop("--api-version").gate("end").shell("echo $$; : <end");
    m.start();
    const auto line = m.sync.line();
    m.wait_log("stdout F ");
    CHECK(line == "{\"pid\": " + m.records()[0].content + "}");
    m.open_gate("end");
    CHECK(m.sync.rest().empty());
}

TEST_CASE("A pid file with blanks and a newline around the pid is understood") {
    Monitor m;
    m.gate("end").gate("go");
    m.script({"container echo $$; : <end", "mark made", "gate go", "pidfile", "exit 0"});
    m.start();
    wait_file(m.bundle + "/made");
    m.open_gate("go");
    const pid_t pid = m.container();
    m.open_gate("end");
    m.end();
    // The same again with blanks, from a script that copies the pid.
    Monitor n;
    n.gate("end").script(
        {"container : <end", "pidfile-text  \\n\\t" + std::to_string(pid) + "\\n", "exit 0"});
    n.start();
    CHECK(n.message()["data"].number() == pid);
}

TEST_CASE("A failing runtime's stderr is the message, and its status does not matter") {
    for (const std::string status : {"1", "2", "127", "255"}) {
        Monitor m;
        m.script({"stderr container_linux.go: no such thing\\n", "exit " + status});
        m.start();
        CHECK(m.first_exit() == exited(0));
        CHECK(m.sync.line() ==
              "{\"data\": -1, \"message\": \"container_linux.go: no such thing\\n\"}");
        CHECK(m.sync.line() == std::nullopt);
        check_failed_start(m);
    }
}

TEST_CASE("A failing runtime without --api-version is told under pid") {
    Monitor m;
    m.drop("--api-version").script({"stderr nope\\n", "exit 1"});
    m.start();
    CHECK(m.sync.rest() == Lines{R"({"pid": -1, "message": "nope\n"})"});
    check_failed_start(m);
}

TEST_CASE("With --sync a failing runtime gives the message and exit status 1") {
    Monitor m;
    m.add({"--sync"}).script({"stderr nope\\n", "exit 7"});
    m.start();
    CHECK(m.sync.rest() == Lines{R"({"data": -1, "message": "nope\n"})"});
    check_failed_start(m);
}

TEST_CASE("Quotes, backslashes, slashes and control characters are escaped as conmon does") {
    Monitor m;
    m.script({R"(stderr a"b\\c/d\n\x0d\t\x08\x0c\x01\x1b\x7f)", "exit 1"});
    m.start();
    CHECK(m.sync.rest() ==
          Lines{R"({"data": -1, "message": "a\"b\\c\/d\n\r\t\b\f\u0001\u001b\u007f"})"});
}

TEST_CASE("A runtime's text with every byte from 1 to 255 gives strict JSON (regression 32)") {
    Monitor m;
    std::string all;
    for (int byte = 1; byte < 256; ++byte) {
        all += static_cast<char>(byte);
    }
    write_file(m.bundle + "/text", all);
    m.script({"stderr-file text", "exit 1"});
    m.start();
    const std::string text = failure_text(m);
    CHECK(text.starts_with(all.substr(0, 127)));
    check_failed_start(m);
}

TEST_CASE(
    "UTF-8 in a runtime's text arrives unchanged, also where the text is cut (regression 32)") {
    for (size_t shift = 0; shift < 3; ++shift) {
        Monitor m;
        std::string words(shift, '.');
        while (words.size() < 9000) {
            words += "\xe2\x82\xac\xf0\x9f\x90\xb3"; // a euro sign and a whale
        }
        write_file(m.bundle + "/text", words);
        m.script({"stderr-file text", "exit 1"});
        m.start();
        const std::string text = failure_text(m);
        CHECK(text.size() > 4000);
        // Nothing but whole characters of the original, but for a mark where it was cut.
        CHECK(words.find(text.substr(8, text.size() - 16)) != std::string::npos);
    }
}

TEST_CASE("A text of 20,000 bytes is told in at most 8 KiB of its end (regression 32)") {
    Monitor m;
    std::string words;
    for (int n = 0; words.size() < 20000; ++n) {
        words += "word " + std::to_string(n) + "\n";
    }
    words += "the reason";
    write_file(m.bundle + "/text", words);
    m.script({"stderr-file text", "exit 1"});
    m.start();
    const std::string text = failure_text(m);
    CHECK(text.size() >= 4000);
    CHECK(text.size() <= 8192);
    CHECK(words.ends_with(text));
    check_failed_start(m);
}

TEST_CASE("A runtime that floods 1 MB before it fails does not block the monitor") {
    for (const std::string stream : {"stderr", "stdout"}) {
        Monitor m;
        m.script({stream + "-flood 1000000", "stderr the reason\\n", "exit 1"});
        m.start();
        CHECK(failure_text(m).ends_with("the reason\n"));
        check_failed_start(m);
    }
}

TEST_CASE(
    "A runtime that floods 1 MB before it succeeds has its words logged, and the container runs") {
    for (const std::string stream : {"stderr", "stdout"}) {
        Monitor m;
        m.script({stream + "-flood 1000000", "container echo; echo last", "pidfile", "exit 0"});
        m.run();
        CHECK(m.exit_file() == "0");
        const auto records = m.records();
        CHECK(payload_of(records).ends_with("\nlast\n"));
        CHECK(payload_of(records, stream).starts_with(std::string(1000000, 'x')));
    }
}

TEST_CASE("What a runtime prints before it succeeds comes before the container's output") {
    Monitor m;
    m.script(
        {"stdout from the runtime\\n", "container echo from the container", "pidfile", "exit 0"});
    m.run();
    m.end();
    CHECK(m.log_briefs() == Lines{"stdout F from the runtime", "stdout F from the container"});
}

TEST_CASE("A silent failing runtime is explained (regression 31)") {
    Monitor m;
    m.script({"exit 3"});
    m.start();
    failure_text(m);
    check_failed_start(m);
}

TEST_CASE("A killed runtime is explained (regression 31)") {
    for (const std::string signal : {"9", "15", "6"}) {
        Monitor m;
        m.script({"kill " + signal});
        m.start();
        failure_text(m);
        check_failed_start(m);
    }
}

TEST_CASE("A killed runtime's last words are told") {
    Monitor m;
    m.script({"stderr I saw it coming", "kill 9"});
    m.start();
    CHECK(failure_text(m).find("I saw it coming") != std::string::npos);
}

TEST_CASE(
    "A runtime that succeeds without a pid file is explained by the file's name (regression 31)") {
    Monitor m;
    m.script({"exit 0"});
    m.start();
    CHECK(failure_text(m).find(m.pidfile) != std::string::npos);
    check_failed_start(m);
}

TEST_CASE("A runtime that succeeds without a pid file is quoted when it said something") {
    Monitor m;
    m.script({"stderr what I said\\n", "exit 0"});
    m.start();
    CHECK(failure_text(m) == "what I said\n");
    check_failed_start(m);
}

TEST_CASE("A pid file with nothing, garbage or no pid fails the start and is never pid 0") {
    for (const std::string text : {"", "garbage", "0", "-1", "-5", "99999999999999999999", "\\n"}) {
        Monitor m;
        m.script({"container exit 0", "pidfile-text " + text, "exit 0"});
        m.start();
        INFO(text);
        failure_text(m);
        CHECK(m.end() == exited(1));
        CHECK(names_in(m.exits).empty());
    }
}

TEST_CASE("A failing runtime's descendants that hold its pipes delay nothing (regression 11)") {
    Monitor m;
    m.script({"spawn sleep 60", "stderr said before\\n", "exit 1"});
    m.start();
    CHECK(failure_text(m) == "said before\n");
    check_failed_start(m);
}

TEST_CASE("A runtime that cannot be executed is explained (regression 31)") {
    Monitor m;
    const std::string runtime = m.dir / "runtime";
    SECTION("a directory") {
        fs::create_directory(runtime);
    }
    SECTION("not a program") {
        write_file(runtime,
                   "\x7f"
                   "ELF but not really",
                   0755);
    }
    SECTION("a script whose interpreter is missing") {
        write_file(runtime, "#!/nonexistent/interpreter\n", 0755);
    }
    m.set("-r", runtime);
    m.start();
    CHECK(m.first_exit() == exited(0));
    CHECK(failure_text(m).find(runtime) != std::string::npos);
    check_failed_start(m);
}

TEST_CASE("A runtime that is missing or not executable fails in the foreground (regression 31)") {
    Monitor m;
    const std::string runtime = m.dir / "runtime";
    SECTION("missing") {}
    SECTION("not executable") {
        write_file(runtime, "#!/bin/sh\n", 0644);
    }
    m.set("-r", runtime);
    m.start();
    CHECK(m.first_exit() == exited(1));
    CHECK(m.errors().starts_with("[conmon:e]: Runtime path " + runtime + " is not valid "));
    CHECK(m.sync.rest().empty());
}

TEST_CASE("A missing bundle is explained by its name (regression 31)") {
    for (const bool sync : {false, true}) {
        Monitor m;
        m.set("-b", m.dir / "no-such-bundle").set("--conmon-pidfile", m.dir / "conmon.pid");
        m.script({"exit 0"});
        if (sync) {
            m.add({"--sync"});
        }
        m.start();
        CHECK(m.first_exit() == exited(sync ? 1 : 0));
        CHECK(failure_text(m).find(m.dir / "no-such-bundle") != std::string::npos);
    }
}

TEST_CASE("A missing or unusable socket directory is explained by its name (regression 31)") {
    Monitor m;
    const std::string sockets = m.dir / "no-such-sockets";
    SECTION("missing") {}
    SECTION("a file") {
        write_file(sockets, "");
    }
    m.drop("--full-attach").set("--socket-dir-path", sockets).script({"exit 0"});
    m.start();
    CHECK(m.first_exit() == exited(0));
    CHECK(failure_text(m).find(sockets) != std::string::npos);
}

TEST_CASE("Something in the way of a socket or fifo is explained by its name (regression 31)") {
    for (const std::string name : {"attach", "ctl", "winsz"}) {
        Monitor m;
        // A directory that is not empty can be neither unlinked nor replaced.
        fs::create_directories(m.bundle + "/" + name + "/full");
        m.script({"exit 0"});
        m.start();
        CHECK(failure_text(m).find(name) != std::string::npos);
    }
}

TEST_CASE("A log that cannot be opened fails in the foreground (regression 31)") {
    Monitor m;
    m.set("-l", "k8s-file:" + (m.dir / "no-such-dir/ctr.log")).script({"exit 0"});
    m.start();
    CHECK(m.first_exit() == exited(1));
    CHECK(m.errors() == "[conmon:e]: Failed to open log file No such file or directory\n");
    CHECK(m.sync.rest().empty());
}

TEST_CASE("A conmon pidfile that cannot be written fails in the foreground (regression 31)") {
    Monitor m;
    m.set("--conmon-pidfile", m.dir / "no-such-dir/conmon.pid").shell("exit 0");
    m.start();
    CHECK(m.first_exit() == exited(1));
    CHECK(m.errors().find("Failed to write conmon pidfile") != std::string::npos);
}

TEST_CASE("_OCI_ variables that are no descriptors fail with conmon's words") {
    for (const std::string name : {"_OCI_SYNCPIPE", "_OCI_STARTPIPE"}) {
        for (const std::string value : {"x", "3x", "99999999999999999999999", "77"}) {
            Monitor m;
            m.sync_kind = std::nullopt;
            m.add({"--sync"}).env(name, value).script({"exit 0"});
            m.start();
            INFO(name << "=" << value);
            CHECK(m.first_exit() == exited(1));
            CHECK(m.errors().find((value == "77" ? "unable to make " : "unable to parse ") +
                                  name) != std::string::npos);
        }
    }
}

TEST_CASE(
    "The option --exec-attach without _OCI_ATTACHPIPE is told on stderr and on the sync pipe") {
    Monitor m;
    m.exec().add({"--exec-attach"}).script({"exit 0"});
    m.start();
    CHECK(m.first_exit() == exited(0));
    CHECK(m.errors().find("--attach specified but _OCI_ATTACHPIPE was not") != std::string::npos);
    CHECK(failure_text(m).find("_OCI_ATTACHPIPE") != std::string::npos);
}

TEST_CASE("With too few descriptors the start fails with a reason, or works (regression 31)") {
    int failed = 0;
    int worked = 0;
    for (rlim_t limit = 5; limit <= 40; ++limit) {
        Monitor m;
        m.in_child = [limit] {
            const rlimit few{.rlim_cur = limit, .rlim_max = limit};
            ::setrlimit(RLIMIT_NOFILE, &few);
        };
        m.shell("exit 9");
        m.start();
        INFO("limit " << limit);
        if (m.first_exit() == exited(1)) {
            CHECK(!m.errors().empty());
            ++failed;
            continue;
        }
        const auto lines = m.sync.rest();
        REQUIRE(lines.size() == 1);
        const Json told = Json::parse(lines[0]);
        if (told["data"].number() == -1) {
            CHECK(!told["message"].text().empty());
            ++failed;
        } else {
            CHECK(told["data"].number() > 0);
            CHECK(m.exit_file() == "9");
            ++worked;
        }
        m.end();
    }
    CHECK(failed > 0);
    CHECK(worked > 15);
}

TEST_CASE("A caller that has closed the sync pipe loses nothing but the message (regression 72)") {
    for (const Kind kind : {Kind::seqpacket, Kind::stream, Kind::pipe}) {
        Monitor m;
        m.sync_kind = kind;
        m.shell("echo out; exit 11").exit_script({"mark ran"});
        m.start();
        m.sync.close();
        CHECK(m.exit_file() == "11");
        CHECK(m.end() == exited(11));
        CHECK(m.log_briefs() == Lines{"stdout F out"});
        CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    }
}

TEST_CASE("After a failed start the exit command runs and the symlink is gone") {
    Monitor m;
    m.drop("--full-attach").script({"stderr nope\\n", "exit 1"});
    m.exit_script({"mark ran"});
    m.start();
    failure_text(m);
    check_failed_start(m);
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
    CHECK(names_in(m.sockets).empty());
}

TEST_CASE("The sync pipe ends before the exit command runs (regression 27)") {
    Monitor m;
    m.gate("hold").script({"stderr nope\\n", "exit 1"});
    m.exit_script({"gate hold"});
    m.start();
    failure_text(m);
    CHECK(m.process().is_running());
    m.open_gate("hold");
    CHECK(m.end() == exited(1));
}

TEST_CASE("A container that has ended before its runtime is reported and its status kept") {
    Monitor m;
    m.script({"container echo quick; exit 21", "wait-container", "pidfile", "exit 0"});
    m.run();
    CHECK(m.exit_file() == "21");
    CHECK(m.end() == exited(21));
    CHECK(m.log_briefs() == Lines{"stdout F quick"});
}

TEST_CASE("A slow runtime is waited for, and the container's output kept meanwhile") {
    Monitor m;
    m.gate("go").script({"container seq 1 30000; exit 3",
                         "wait-container",
                         "mark ended",
                         "gate go",
                         "pidfile",
                         "exit 0"});
    m.start();
    // 170 kB do not fit a pipe: the container can only end if somebody reads while the runtime
    // runs.
    wait_file(m.bundle + "/ended");
    m.open_gate("go");
    m.container();
    CHECK(m.exit_file() == "3");
    const std::string written = payload_of(m.records());
    CHECK(std::ranges::count(written, '\n') == 30000);
    CHECK(written.ends_with("\n30000\n"));
}
