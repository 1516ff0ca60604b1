// Measures how long each of several monitors takes from its own exec to the exec of its runtime,
// and to its own end.
//
//   starts create|exec ROUNDS DIRECTORY RUNTIME MONITOR...
//
// Every round starts every monitor once, in turn, so that whatever else the machine does hits all
// alike. A monitor is started with --sync and a container that ends at once, with `exec` as for an
// exec session; the time is taken in the vforked child right before its exec, by the stand-in
// runtime as its first act, and when the monitor has been waited for. Prints one line "INDEX
// NANOSECONDS NANOSECONDS" per start. Ends with 1, and says why, when a start went wrong.

#include "place.h"

#include <stdlib.h>
#include <sys/wait.h>

namespace {

struct Times {
    int64_t to_runtime;
    int64_t to_end;
};

/// Starts `monitor` once. `to_runtime` is -1, with a line on stderr, when that went wrong.
Times start_once(const char* monitor, const Place& place) {
    place.clear();
    int stamps[2];
    int sync[2];
    if (pipe(stamps) != 0 || pipe(sync) != 0) {
        perror("starts: pipe");
        return {-1, -1};
    }
    fcntl(stamps[0], F_SETFD, FD_CLOEXEC);
    fcntl(sync[0], F_SETFD, FD_CLOEXEC);
    char stamp_variable[64];
    char sync_variable[64];
    snprintf(stamp_variable, sizeof stamp_variable, "BUDGET_STAMP_FD=%d", stamps[1]);
    snprintf(sync_variable, sizeof sync_variable, "_OCI_SYNCPIPE=%d", sync[1]);
    const char* environment[] = {
        "PATH=/usr/bin:/bin", "BUDGET_DO=exit 0", stamp_variable, sync_variable, nullptr};

    volatile int64_t before = 0;
    const pid_t pid = vfork();
    if (pid == 0) {
        before = now_ns();
        execve(monitor, const_cast<char**>(place.words), const_cast<char**>(environment));
        _exit(127);
    }
    close(stamps[1]);
    close(sync[1]);
    int64_t runtime = 0;
    const ssize_t n = read(stamps[0], &runtime, sizeof runtime);
    int status = -1;
    waitpid(pid, &status, 0);
    const int64_t end = now_ns();
    close(stamps[0]);
    close(sync[0]);
    if (n != sizeof runtime || status != 0) {
        fprintf(stderr,
                "starts: %s: %s, status %#x\n",
                monitor,
                n == sizeof runtime ? "the runtime was started" : "the runtime was not started",
                static_cast<unsigned>(status));
        return {-1, -1};
    }
    return {runtime - before, end - before};
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: starts create|exec ROUNDS DIRECTORY RUNTIME MONITOR...\n");
        return 2;
    }
    static Place place;
    const char** more = place.make(argv[3], argv[4], "start");
    *more++ = "--sync";
    if (strcmp(argv[1], "exec") == 0) {
        *more++ = "--exec";
        *more++ = "--exec-process-spec";
        *more++ = "/dev/null";
    }
    run_ahead();

    // The first three rounds warm the caches and are not counted.
    const int rounds = atoi(argv[2]);
    for (int round = -3; round < rounds; ++round) {
        for (int i = 5; i < argc; ++i) {
            const Times took = start_once(argv[i], place);
            if (took.to_runtime < 0) {
                return 1;
            }
            if (round >= 0) {
                printf("%d %lld %lld\n",
                       i - 5,
                       static_cast<long long>(took.to_runtime),
                       static_cast<long long>(took.to_end));
            }
        }
    }
    return 0;
}
