// Measures how long each of several monitors takes from its own exec to the exec of its runtime.
//
//   starts ROUNDS DIRECTORY RUNTIME MONITOR...
//
// Every round starts every monitor once, in turn, so that whatever else the machine does hits all
// alike. A monitor is started with --sync and a container that ends at once; the time is taken in
// the vforked child right before its exec, and again by the stand-in runtime as its first act.
// Prints one line "INDEX NANOSECONDS" per start. Ends with 1, and says why, when a start went
// wrong.

#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

struct Place {
    char bundle[1024];
    char pid_file[1100];
    char exit_dir[1100];
    char exit_file[1200];
    char record[1100];
    char record_option[1200];
};

int64_t now_ns() {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

/// Starts `monitor` once. Returns the time in ns, or -1 with a line on stderr.
int64_t start_once(const char* monitor, const char* runtime, const Place& place) {
    unlink(place.pid_file);
    unlink(place.exit_file);
    unlink(place.record);

    int stamps[2];
    int sync[2];
    if (pipe(stamps) != 0 || pipe(sync) != 0) {
        perror("starts: pipe");
        return -1;
    }
    fcntl(stamps[0], F_SETFD, FD_CLOEXEC);
    fcntl(sync[0], F_SETFD, FD_CLOEXEC);
    char stamp_variable[64];
    char sync_variable[64];
    snprintf(stamp_variable, sizeof stamp_variable, "BUDGET_STAMP_FD=%d", stamps[1]);
    snprintf(sync_variable, sizeof sync_variable, "_OCI_SYNCPIPE=%d", sync[1]);

    const char* argv[] = {monitor,
                          "--api-version",
                          "1",
                          "-c",
                          "start",
                          "-u",
                          "start",
                          "-n",
                          "start",
                          "-r",
                          runtime,
                          "-b",
                          place.bundle,
                          "-p",
                          place.pid_file,
                          "--exit-dir",
                          place.exit_dir,
                          "--full-attach",
                          "-l",
                          place.record_option,
                          "--log-level",
                          "error",
                          "--sync",
                          nullptr};
    const char* environment[] = {
        "PATH=/usr/bin:/bin", "BUDGET_DO=exit 0", stamp_variable, sync_variable, nullptr};

    volatile int64_t before = 0;
    const pid_t pid = vfork();
    if (pid == 0) {
        before = now_ns();
        execve(monitor, const_cast<char**>(argv), const_cast<char**>(environment));
        _exit(127);
    }
    close(stamps[1]);
    close(sync[1]);
    int64_t after = 0;
    const ssize_t n = read(stamps[0], &after, sizeof after);
    int status = -1;
    waitpid(pid, &status, 0);
    close(stamps[0]);
    close(sync[0]);
    if (n != sizeof after || status != 0) {
        fprintf(stderr,
                "starts: %s: %s, status %#x\n",
                monitor,
                n == sizeof after ? "the runtime was started" : "the runtime was not started",
                static_cast<unsigned>(status));
        return -1;
    }
    return after - before;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: starts ROUNDS DIRECTORY RUNTIME MONITOR...\n");
        return 2;
    }
    static Place place;
    snprintf(place.bundle, sizeof place.bundle, "%s", argv[2]);
    snprintf(place.pid_file, sizeof place.pid_file, "%s/pidfile", place.bundle);
    snprintf(place.exit_dir, sizeof place.exit_dir, "%s/exits", place.bundle);
    snprintf(place.exit_file, sizeof place.exit_file, "%s/start", place.exit_dir);
    snprintf(place.record, sizeof place.record, "%s/ctr.log", place.bundle);
    snprintf(place.record_option, sizeof place.record_option, "k8s-file:%s", place.record);
    mkdir(place.exit_dir, 0755);

    // By the system call: musl's function of this name always fails.
    const int lowest = 1;
    (void)syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &lowest);

    // The first three rounds warm the caches and are not counted.
    const int rounds = atoi(argv[1]);
    for (int round = -3; round < rounds; ++round) {
        for (int i = 4; i < argc; ++i) {
            const int64_t took = start_once(argv[i], argv[3], place);
            if (took < 0) {
                return 1;
            }
            if (round >= 0) {
                printf("%d %lld\n", i - 4, static_cast<long long>(took));
            }
        }
    }
    return 0;
}
