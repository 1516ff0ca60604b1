// Only the right process is ever signalled: pids that somebody else has by now, groups that are not
// the container's own.
//
// Pids are used again in a pid namespace of the test's own, in which the next pid can be chosen. A
// test there is a function that throws, since it runs in a process of its own.

#include "support/monitor.h"

#include <csignal>
#include <functional>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace support;

namespace {

void ensure(bool holds, const std::string& what) {
    if (!holds) {
        throw std::runtime_error(what);
    }
}

// Runs `test` as the first process of a pid namespace; what it threw, or nothing.
std::string in_pid_namespace(const std::function<void()>& test) {
    Channel channel = Channel::make(Kind::pipe, Channel::Direction::to_us);
    const pid_t outside = ::fork();
    if (outside == 0) {
        const auto tell = [&channel](std::string_view text) {
            (void)!::write(channel.theirs.get(), text.data(), text.size());
        };
        if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
            tell("unshare: no privileges");
            ::_exit(1);
        }
        const pid_t first = ::fork();
        if (first == 0) {
            std::string what;
            try {
                ensure(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                           ::mount("proc", "/proc", "proc", 0, nullptr) == 0,
                       "mount /proc");
                test();
            } catch (const std::exception& error) {
                what = error.what();
            }
            tell(what);
            ::_exit(0);
        }
        ::waitpid(first, nullptr, 0);
        ::_exit(0);
    }
    channel.theirs.reset();
    std::string said = Inbox(std::move(channel.ours)).bytes(Deadline(seconds(60)));
    ::waitpid(outside, nullptr, 0);
    return said;
}

// A process that waits for ever, with the pid that is asked for, which nobody may have any more.
Process take_pid(pid_t pid) {
    const Deadline deadline(soon);
    while (!deadline.passed()) {
        write_file("/proc/sys/kernel/ns_last_pid", std::to_string(pid - 1));
        const pid_t got = ::fork();
        if (got == 0) {
            for (const int signal : {SIGTERM, SIGINT, SIGQUIT}) {
                ::signal(signal, SIG_DFL);
            }
            while (true) {
                ::pause();
            }
        }
        if (got == pid) {
            return Process(pid);
        }
        ::kill(got, SIGKILL);
        ::waitpid(got, nullptr, 0);
        ::usleep(1000);
    }
    throw TimedOut("pid " + std::to_string(pid) + " stays taken");
}

void send_all(Monitor& m) {
    for (const int signal : {SIGTERM, SIGINT, SIGQUIT}) {
        m.process().kill(signal);
    }
}

} // namespace

TEST_CASE("A process that has the runtime's pid by now gets none of the monitor's signals "
          "(regression 26)") {
    CHECK(in_pid_namespace([] {
              Monitor m;
              m.gate("end").script({"record runtime.json",
                                    "container trap 'echo TERM' TERM; trap '' INT QUIT; "
                                    "echo ready; while [ ! -e end-now ]; do sleep 0.02; done",
                                    "pidfile",
                                    "exit 0"});
              m.run();
              m.wait_log("ready");
              const auto runtime = static_cast<pid_t>(m.recorded("runtime.json")["pid"].number());
              const Process other = take_pid(runtime);
              send_all(m);
              m.wait_log("TERM");
              ensure(other.is_running(), "the other process was signalled");
          }) == "");
}

TEST_CASE("Processes that have the container's and the runtime's pids by now get no signal while "
          "the monitor waits for its exit delay (regression 26)") {
    CHECK(in_pid_namespace([] {
              Monitor m;
              m.add({"--exit-delay", "60"}).exit_script({"exit 0"});
              m.script({"record runtime.json", "container exit 3", "pidfile", "exit 0"});
              const pid_t container = m.run();
              ensure(m.exit_file() == "3", "the exit code");
              const auto runtime = static_cast<pid_t>(m.recorded("runtime.json")["pid"].number());
              const Process second = take_pid(container);
              const Process first = take_pid(runtime);
              send_all(m);
              ::usleep(200'000);
              ensure(m.process().is_running(), "the monitor has ended");
              ensure(first.is_running(), "the process with the runtime's pid was signalled");
              ensure(second.is_running(), "the process with the container's pid was signalled");
          }) == "");
}

TEST_CASE("A process that has a failed runtime's pid by now gets no signal (regression 26)") {
    CHECK(in_pid_namespace([] {
              Monitor m;
              m.add({"--exit-delay", "60"}).exit_script({"exit 0"});
              m.script({"record runtime.json", "stderr nope\\n", "exit 1"});
              m.start();
              ensure(m.message()["data"].number() == -1, "the failure");
              const auto runtime = static_cast<pid_t>(m.recorded("runtime.json")["pid"].number());
              const Process other = take_pid(runtime);
              send_all(m);
              ::usleep(200'000);
              ensure(other.is_running(), "the other process was signalled");
          }) == "");
}

TEST_CASE("A timeout kills nothing but the container when that shares the monitor's process group "
          "(regression 25)") {
    Monitor m;
    // A runtime that starts its container without a session or a group for it.
    const std::string runtime = m.dir / "runtime";
    write_file(runtime,
               "#!/bin/sh\n"
               "while [ $# -gt 0 ]; do\n"
               "    if [ \"$1\" = --pid-file ]; then pidfile=$2; fi\n"
               "    shift\n"
               "done\n"
               "sleep 60 &\n"
               "printf %s $! >\"$pidfile\"\n",
               0755);
    m.set("-r", runtime).add({"-T", "1"}).exit_script({"mark ran"});
    const Process container(m.run());
    REQUIRE(group_of(container.pid()) == group_of(m.process().pid()));
    CHECK(m.exit_file() == "-1");
    CHECK(m.end() == exited(255));
    CHECK(container.wait_gone());
    CHECK(type_of(m.bundle + "/ran") == S_IFREG);
}
