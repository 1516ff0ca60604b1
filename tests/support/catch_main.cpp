// The main of every flow test: it refuses to run without a program to test, adopts the orphans of
// its tests, and holds the limits that the tests rely on.

#define CATCH_CONFIG_RUNNER
#include "support/monitor.h"
#include "support/process.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

int main(int argc, char** argv) {
    // Comparisons have nothing to compare with on a machine without Debian's conmon.
    if (std::getenv("FLOW_NEEDS_REFERENCE") != nullptr && support::reference_program().empty()) {
        std::fputs("skipped: /usr/bin/conmon is not installed\n", stderr);
        return 77;
    }
    const bool only_lists = argc > 1 && (std::string_view(argv[1]) == "-l" ||
                                         std::string_view(argv[1]) == "--list-tests");
    const std::string program = support::program_under_test();
    if (!only_lists && (program.empty() || ::access(program.c_str(), X_OK) != 0)) {
        std::fprintf(
            stderr, "MOTE_CONMON must name the program to test; it is '%s'\n", program.c_str());
        return 1;
    }
    ::signal(SIGPIPE, SIG_IGN);
    ::umask(0022);
    support::become_subreaper();
    return Catch::Session().run(argc, argv);
}
