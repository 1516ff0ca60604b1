// The same scene played with Debian's conmon (2.1.6) and with the program under test. Everything
// that callers see must be the same, but for what later versions of conmon changed and what the
// program decides otherwise; those few facts are left out by name below.

#include "support/monitor.h"

#include <csignal>
#include <functional>
#include <regex>
#include <sstream>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

// Facts of one run, as text, in the order of observation.
using Facts = Lines;

std::string replaced(std::string text, const std::string& what, const std::string& by) {
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
        text.replace(at, what.size(), by);
    }
    return text;
}

// Paths of this run's directory and numbers of processes are not compared.
std::string neutral(const Monitor& m, const std::string& text) {
    static const std::regex pid("\"(data|pid)\": [1-9][0-9]*");
    static const std::regex socket("conmon-term\\.[A-Za-z0-9]{6}");
    std::string out = replaced(text, m.dir.path(), "DIR");
    // 2.1.6 leaves the colon out in some messages; later versions have it in all of them.
    out = replaced(out, "[conmon:e] ", "[conmon:e]: ");
    out = std::regex_replace(out, pid, "\"$1\": PID");
    return std::regex_replace(out, socket, "conmon-term.XXXXXX");
}

// What a process recorded of itself: all that does not depend on process numbers. Modes of pipes
// are left out: 2.1.6 had 0600 (contract, section 6, 2.1.3 to 2.1.7).
void add_record(Facts& facts, const Monitor& m, const std::string& name, bool with_mask) {
    const Json seen = m.recorded(name);
    for (const std::string list : {"argv", "env"}) {
        for (const auto& word : seen[list].texts()) {
            facts.push_back(name + " " + list + " " + neutral(m, word));
        }
    }
    for (const auto& [fd, what] : seen["fds"].members()) {
        // How /dev/null is opened has a test of its own.
        const std::string access = what["type"].text() == "character"
                                       ? ""
                                       : " access " + std::to_string(what["access"].number());
        facts.push_back(name + " fd " + fd + " " + what["type"].text() + access + " nonblocking " +
                        std::to_string(what["nonblocking"].number()));
    }
    for (const std::string key : {"Umask", "SigIgn", "SigCgt"}) {
        facts.push_back(name + " " + key + " " + seen[key].text());
    }
    if (with_mask) {
        facts.push_back(name + " SigBlk " + seen["SigBlk"].text());
    }
    for (const std::string key : {"pdeathsig", "subreaper", "oom"}) {
        facts.push_back(name + " " + key + " " + std::to_string(seen[key].number()));
    }
    facts.push_back(name + " session is the parent's " +
                    std::to_string(seen["ppid"].number() == seen["sid"].number()));
}

void add_files(Facts& facts, const std::string& label, const std::string& directory) {
    for (const auto& name : names_in(directory)) {
        const std::string path = directory + "/" + name;
        // conmon leaves the attach socket behind after a failed start (contract, section 8).
        if (name == "attach") {
            continue;
        }
        // The log's mode was 0600 until 2.1.12.
        const mode_t mode = name == "ctr.log" ? 0 : mode_of(path);
        facts.push_back(label + " " + name + " type " + std::to_string(type_of(path) >> 12) +
                        " mode " + std::to_string(mode));
    }
}

// Plays the scene once and collects what callers see.
Facts play(const std::string& program, const std::function<void(Monitor&)>& direct) {
    Facts facts;
    Monitor m(Monitor::Setup{.program = program});
    direct(m);
    m.start();
    if (m.start_kind) {
        m.go();
    }
    const Ended first = m.first_exit();
    facts.push_back("first process: exit " + std::to_string(first.code));
    facts.push_back("stderr: " + neutral(m, m.errors()));
    if (m.attach_kind) {
        for (const auto& line : m.attach_pipe.rest()) {
            facts.push_back("attach pipe: " + line);
        }
    }
    for (const auto& line : m.sync.rest()) {
        facts.push_back("sync: " + neutral(m, line));
    }
    for (const auto& one : m.sync.reads()) {
        facts.push_back("sync write: " + neutral(m, one));
    }
    if (first == exited(0)) {
        const Ended end = m.end();
        facts.push_back("monitor: exit " + std::to_string(end.code) + " signal " +
                        std::to_string(end.signal));
    }
    add_files(facts, "bundle", m.bundle);
    add_files(facts, "exits", m.exits);
    add_files(facts, "persist", m.persist);
    for (const auto& path : {m.exits + "/" + m.id, m.persist + "/exit"}) {
        facts.push_back("status: " + try_read_file(path).value_or("none"));
    }
    if (const auto log = try_read_file(m.log)) {
        for (const auto& brief : briefs(*log)) {
            facts.push_back("log: " + brief);
        }
    }
    if (type_of(m.bundle + "/runtime.json") != 0) {
        add_record(facts, m, "runtime.json", true);
    }
    if (type_of(m.bundle + "/exit.json") != 0) {
        // conmon leaves CHLD and USR1 blocked there (difference 12).
        add_record(facts, m, "exit.json", false);
    }
    return facts;
}

Facts missing_from(const Facts& facts, const Facts& wanted) {
    Facts missing;
    for (const auto& fact : wanted) {
        if (!std::ranges::contains(facts, fact)) {
            missing.push_back(fact);
        }
    }
    return missing;
}

// Plays the scene with both programs; every fact must be the same.
void compare(const std::function<void(Monitor&)>& direct) {
    const Facts expected = play(reference_program(), direct);
    const Facts seen = play(program_under_test(), direct);
    REQUIRE(expected.size() > 5);
    const Facts only_conmon = missing_from(seen, expected);
    const Facts only_ours = missing_from(expected, seen);
    CHECK(only_conmon == Facts{});
    CHECK(only_ours == Facts{});
    // The same facts; now also in the same order and number.
    if (only_conmon.empty() && only_ours.empty()) {
        CHECK(seen == expected);
    }
}

const Lines succeeds = {"record runtime.json", "container echo out; exit 3", "pidfile", "exit 0"};

} // namespace

TEST_CASE("Side by side: a plain create") {
    compare([](Monitor& m) { m.script(succeeds); });
}

TEST_CASE("Side by side: a create with everything Podman passes") {
    compare([](Monitor& m) {
        m.start_kind = Kind::seqpacket;
        m.add({"-s", "--runtime-arg", "--log-format=json", "--runtime-arg", "--log"});
        m.add({"--runtime-arg", "/some/oci-log", "--runtime-arg=--cgroup-manager"});
        m.add({"--runtime-arg=disabled", "--no-pivot", "--no-new-keyring", "--syslog"});
        m.add({"--runtime-opt", "--preserve-fds", "--runtime-opt", "3", "--log-level", "error"});
        m.script(succeeds).exit_script({"record exit.json"});
        m.add(
            {"--exit-command-arg", "--root", "--exit-command-arg", "", "--exit-command-arg", "x"});
    });
}

TEST_CASE("Side by side: a create as CRI-O does it") {
    compare([](Monitor& m) {
        m.sync_kind = Kind::stream;
        m.start_kind = Kind::stream;
        m.drop("--api-version").set("-l", m.log).add({"--leave-stdin-open", "-i"});
        m.add({"--log-size-max", "-1", "--runtime-arg=--root=/run/runc"});
        m.script(succeeds);
    });
}

TEST_CASE("Side by side: stdin, more descriptors and LISTEN_PID") {
    const TempDir lent;
    write_file(lent / "file", "");
    const Handle file(::open((lent / "file").c_str(), O_RDWR | O_CLOEXEC));
    compare([&file](Monitor& m) {
        m.fds[7] = file.get();
        m.fds[12] = file.get();
        m.add({"-i"}).env("LISTEN_PID", "123").env("LISTEN_FDS", "1");
        m.script(succeeds).exit_script({"record exit.json"});
    });
}

TEST_CASE("Side by side: blocked and ignored signals of the caller") {
    compare([](Monitor& m) {
        m.in_child = [] {
            ::signal(SIGHUP, SIG_IGN);
            ::signal(SIGCHLD, SIG_DFL);
            sigset_t blocked;
            ::sigemptyset(&blocked);
            ::sigaddset(&blocked, SIGUSR2);
            ::sigaddset(&blocked, SIGWINCH);
            ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
        };
        m.script(succeeds).exit_script({"record exit.json"});
    });
}

TEST_CASE("Side by side: restore") {
    compare([](Monitor& m) {
        m.add({"--restore", "/check/point", "--runtime-opt", "--tcp-established", "-s"});
        m.script(succeeds);
    });
}

TEST_CASE("Side by side: legacy exec") {
    compare([](Monitor& m) { m.drop("--api-version").exec().script(succeeds); });
}

TEST_CASE("Side by side: exec with --api-version") {
    compare([](Monitor& m) { m.exec().script(succeeds); });
}

TEST_CASE("Side by side: exec without a bundle, as CRI-O does it") {
    compare([](Monitor& m) {
        m.drop("--api-version").drop("-b").drop("-u").drop("--persist-dir").drop("--exit-dir");
        m.drop("--conmon-pidfile").add({"--sync"});
        m.exec().script(succeeds);
    });
}

TEST_CASE("Side by side: --sync") {
    compare([](Monitor& m) {
        m.add({"--sync"}).script({"container echo out; exit 0", "pidfile", "exit 0"});
    });
}

TEST_CASE("Side by side: failing runtimes that say why") {
    for (const std::string text :
         {R"(nope\n)", R"(a\x01b\x1e\x7f \"quoted\" back\\slash\ttab\n)"}) {
        for (const std::string& key : {"api", "legacy", "exec"}) {
            compare([&](Monitor& m) {
                if (key == "legacy") {
                    m.drop("--api-version");
                }
                if (key == "exec") {
                    m.drop("--api-version").exec();
                }
                m.script({"stderr " + text, "exit 1"}).exit_script({"record exit.json"});
            });
        }
    }
}

TEST_CASE("Side by side: containers killed by signals") {
    for (const std::string signal : {"1", "9", "15"}) {
        compare([&](Monitor& m) { m.shell("kill -" + signal + " $$; sleep 60"); });
    }
}

TEST_CASE("Side by side: output on both streams in pieces that come apart") {
    compare([](Monitor& m) {
        // Each piece is written when the one before is in the log, so that no read joins two.
        m.shell("put() { printf \"$1\"; until [ \"$(wc -l <ctr.log)\" = $2 ]; do :; done; }; "
                "put 'a' 1; put 'b\\nc' 3; put '\\n' 4; put '\\n\\n' 6; put 'x\\0y\\r\\n' 7; put "
                "'end' 8");
    });
}

TEST_CASE("Side by side: drivers and ways to write the log path") {
    for (const std::string path :
         {"none", "off:", "null", "k8s-file:DIR/b/ctr.log", "DIR/b/ctr.log", ":DIR/b/ctr.log"}) {
        compare(
            [&](Monitor& m) { m.set("-l", replaced(path, "DIR", m.dir.path())).script(succeeds); });
    }
}

TEST_CASE("Side by side: command lines that are refused") {
    const std::vector<std::function<void(Monitor&)>> wrong = {
        [](Monitor& m) { m.drop("-c"); },
        [](Monitor& m) { m.drop("-u"); },
        [](Monitor& m) { m.drop("-r"); },
        [](Monitor& m) { m.drop("-l"); },
        [](Monitor& m) { m.set("-r", "/nonexistent/runtime"); },
        [](Monitor& m) { m.set("-r", "/etc/passwd"); },
        [](Monitor& m) { m.set("-l", ""); },
        [](Monitor& m) { m.set("-l", ":"); },
        [](Monitor& m) { m.set("-l", "k8s-file:"); },
        [](Monitor& m) { m.set("-l", "bogus:/some/path"); },
        [](Monitor& m) { m.set("-l", "k8s-file:/nonexistent/dir/log"); },
        [](Monitor& m) { m.add({"--log-tag", "tag"}); },
        [](Monitor& m) { m.add({"--log-level", "loud"}); },
        [](Monitor& m) { m.add({"--exec"}); },
        [](Monitor& m) { m.add({"--exec", "--restore", "/x"}); },
        [](Monitor& m) { m.add({"--exec-attach"}); },
        [](Monitor& m) {
            m.drop("--api-version").add({"--exec", "--exec-process-spec", "/x", "--exec-attach"});
        },
        [](Monitor& m) { m.add({"--exit-delay", "-1"}); },
        [](Monitor& m) { m.set("-l", "journald:").set("-c", "short"); },
    };
    for (const auto& direct : wrong) {
        compare([&direct](Monitor& m) {
            m.exit_script({"record exit.json"}).script(succeeds);
            direct(m);
        });
    }
}

TEST_CASE(
    "Side by side: /dev/null is open for reading as stdin, and for writing as stdout and stderr") {
    const auto access = [](const std::string& program) {
        Monitor m(Monitor::Setup{.program = program});
        m.script(succeeds).exit_script({"record exit.json"});
        m.run();
        m.end();
        Lines seen;
        for (const std::string name : {"runtime.json", "exit.json"}) {
            const Json record = m.recorded(name);
            for (const auto& [fd, what] : record["fds"].members()) {
                seen.push_back(name + " " + fd + " " + std::to_string(what["access"].number()));
            }
        }
        return seen;
    };
    CHECK(access(program_under_test()) == access(reference_program()));
}

TEST_CASE("Side by side: one attached client sees the same packets") {
    const auto packets = [](const std::string& program) {
        Monitor m(Monitor::Setup{.program = program});
        m.gate("one").gate("two").gate("three");
        m.shell(": <one; printf out; : <two; printf err >&2; : <three; exit 3");
        m.run();
        auto client = m.attach();
        Lines seen;
        const auto next = [&] {
            const auto packet = client.receive();
            seen.push_back(packet ? std::to_string(packet->stream) + packet->bytes : "end");
        };
        m.open_gate("one");
        next();
        m.open_gate("two");
        next();
        m.open_gate("three");
        next();
        m.end();
        return seen;
    };
    CHECK(packets(program_under_test()) == packets(reference_program()));
    CHECK(packets(program_under_test()) == Lines{"2out", "3err", "end"});
}

TEST_CASE("Side by side: a flood of short lines costs less CPU than with conmon, and few system "
          "calls (regression 62)") {
    struct Cost {
        double seconds = 0;
        double calls_per_mb = 0;
    };
    const auto cost_of = [](const std::string& program) {
        Monitor m(Monitor::Setup{.program = program});
        m.gate("go").gate("end").shell(": <go; yes y | head -c 8000000; echo >done; : <end");
        m.run();
        const std::string proc = "/proc/" + std::to_string(m.process().pid());
        const auto seconds_used = [&] { return std::stod(read_file(proc + "/schedstat")) / 1e9; };
        // Calls that read and calls that write, attach clients' not counted.
        const auto calls = [&] {
            std::istringstream lines(read_file(proc + "/io"));
            double sum = 0;
            for (std::string line; std::getline(lines, line);) {
                if (line.starts_with("syscr: ") || line.starts_with("syscw: ")) {
                    sum += std::stod(line.substr(7));
                }
            }
            return sum;
        };
        const Cost before{.seconds = seconds_used(), .calls_per_mb = calls()};
        m.open_gate("go");
        wait_file(m.bundle + "/done", Deadline(seconds(30)));
        // Each line is a record of 47 bytes.
        REQUIRE(eventually([&] { return fs::file_size(m.log) == 4'000'000 * 47; }));
        const Cost cost{.seconds = seconds_used() - before.seconds,
                        .calls_per_mb = (calls() - before.calls_per_mb) / 8};
        m.open_gate("end");
        CHECK(m.exit_file() == "0");
        return cost;
    };
    const Cost ours = cost_of(program_under_test());
    const Cost conmons = cost_of(reference_program());
    INFO("CPU seconds " << ours.seconds << " and " << conmons.seconds << ", system calls per MB "
                        << ours.calls_per_mb << " and " << conmons.calls_per_mb);
    CHECK(ours.seconds < conmons.seconds);
    CHECK(ours.calls_per_mb < 400);
}
