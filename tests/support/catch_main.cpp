// The main of every flow test: it refuses to run without a program to test, and runs the tests in a
// process that adopts their orphans, under a guard that leaves none of them behind.

#define CATCH_CONFIG_RUNNER
#include "support/monitor.h"
#include "support/process.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

namespace {

int run_tests(int argc, char** argv) {
    ::signal(SIGPIPE, SIG_IGN);
    ::umask(0022);
    support::become_subreaper();
    return Catch::Session().run(argc, argv);
}

// Waits for the process that runs the tests. When that, or this, is told to end before its time,
// every process that descends from the tests is killed: nothing outlives a time limit.
int guard(pid_t tests, const sigset_t& wanted) {
    while (true) {
        const int signal = ::sigwaitinfo(&wanted, nullptr);
        int status = 0;
        if (signal != SIGCHLD) {
            support::kill_descendants();
            return 128 + signal;
        }
        for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
            if (pid == tests) {
                support::kill_descendants();
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            }
        }
    }
}

} // namespace

int main(int argc, char** argv) {
    // Comparisons have nothing to compare with on a machine without Debian's conmon.
    if (std::getenv("FLOW_NEEDS_REFERENCE") != nullptr && support::reference_program().empty()) {
        std::fputs("skipped: /usr/bin/conmon is not installed\n", stderr);
        return 77;
    }
    if (const char* launcher = std::getenv("FLOW_OLD_KERNEL")) {
        ::setenv("MOTE_REAL_CONMON", support::program_under_test().c_str(), 1);
        ::setenv("MOTE_CONMON", launcher, 1);
    }
    const bool only_lists = argc > 1 && (std::string_view(argv[1]) == "-l" ||
                                         std::string_view(argv[1]) == "--list-tests");
    const std::string program = support::program_under_test();
    if (!only_lists && (program.empty() || ::access(program.c_str(), X_OK) != 0)) {
        std::fprintf(
            stderr, "MOTE_CONMON must name the program to test; it is '%s'\n", program.c_str());
        return 1;
    }
    support::become_subreaper();
    sigset_t wanted;
    sigset_t before;
    ::sigemptyset(&wanted);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) {
        ::sigaddset(&wanted, signal);
    }
    ::sigprocmask(SIG_BLOCK, &wanted, &before);
    const pid_t tests = ::fork();
    if (tests == 0) {
        ::sigprocmask(SIG_SETMASK, &before, nullptr);
        return run_tests(argc, argv);
    }
    return guard(tests, wanted);
}
