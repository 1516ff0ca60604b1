// Starts COUNT monitors with a container each, as fast as the machine allows, and keeps them.
//
//   many COUNT DIRECTORY RUNTIME MONITOR
//
// As many starts are under way at once as there are CPUs, and one more. A monitor is started as
// Podman starts it, without --sync: it is up when it has named the container's pid. Prints
// "MILLISECONDS PID..." with the pids of the monitors, and waits for the end of its standard input;
// then it kills the containers, waits for all monitors, and prints "ended".

#include "place.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

namespace {

constexpr int count_max = 4096;
pid_t monitors[count_max];
pid_t containers[count_max];

struct Start {
    int number = -1;
    int sync = -1;
    pid_t first = 0;
};

int number_in(const char* path) {
    char text[16] = {};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? atoi(text) : -1;
}

Start begin(int number, const char* directory, const char* runtime, const char* monitor) {
    char id[32];
    snprintf(id, sizeof id, "many-%d", number);
    static Place place;
    const char** more = place.make(directory, runtime, id);
    char conmon_pid[1200];
    snprintf(conmon_pid, sizeof conmon_pid, "%s/conmon.pid", place.bundle);
    *more++ = "-P";
    *more++ = conmon_pid;
    *more++ = "--exit-command";
    *more++ = "/bin/true";
    int sync[2];
    if (pipe2(sync, O_CLOEXEC) != 0) {
        return {};
    }
    char sync_variable[64];
    snprintf(sync_variable, sizeof sync_variable, "_OCI_SYNCPIPE=%d", sync[1]);
    const char* places = getenv("BUDGET_CGROUP");
    char place_variable[1200];
    snprintf(place_variable, sizeof place_variable, "BUDGET_CGROUP=%s", places);
    const char* environment[] = {"PATH=/usr/bin:/bin",
                                 "BUDGET_DO=pause",
                                 sync_variable,
                                 places != nullptr ? place_variable : nullptr,
                                 nullptr};
    const pid_t pid = vfork();
    if (pid == 0) {
        fcntl(sync[1], F_SETFD, 0);
        execve(monitor, const_cast<char**>(place.words), const_cast<char**>(environment));
        _exit(127);
    }
    close(sync[1]);
    return {number, sync[0], pid};
}

/// Waits for the message of `start`; false when there is none.
bool finish(Start& start, const char* directory) {
    char text[256] = {};
    const ssize_t n = read(start.sync, text, sizeof text - 1);
    close(start.sync);
    int status = 0;
    waitpid(start.first, &status, 0);
    char path[1200];
    snprintf(path, sizeof path, "%s/many-%d/conmon.pid", directory, start.number);
    int container = -1;
    if (n <= 0 || sscanf(text, "{\"data\": %d", &container) != 1 || container <= 0) {
        fprintf(stderr, "many: monitor %d said \"%s\"\n", start.number, text);
        return false;
    }
    containers[start.number] = container;
    monitors[start.number] = number_in(path);
    const bool good = monitors[start.number] > 0;
    start = {};
    return good;
}

} // namespace

int main(int argc, char** argv) {
    const int count = argc == 5 ? atoi(argv[1]) : 0;
    if (count < 1 || count > count_max) {
        fprintf(stderr, "usage: many COUNT DIRECTORY RUNTIME MONITOR\n");
        return 2;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    constexpr int slots_max = 64;
    static Start slots[slots_max];
    int slot_count = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) + 1;
    if (slot_count > slots_max) {
        slot_count = slots_max;
    }

    bool good = true;
    const int64_t before = now_ns();
    int begun = 0;
    int done = 0;
    while (done < count && good) {
        struct pollfd waiting[slots_max];
        for (int i = 0; i < slot_count; ++i) {
            if (slots[i].number < 0 && begun < count) {
                slots[i] = begin(begun++, argv[2], argv[3], argv[4]);
            }
            waiting[i] = {slots[i].sync, POLLIN, 0};
        }
        if (poll(waiting, static_cast<nfds_t>(slot_count), 20000) <= 0) {
            fprintf(stderr, "many: no word for 20 s\n");
            good = false;
        }
        for (int i = 0; i < slot_count; ++i) {
            if (waiting[i].fd >= 0 && waiting[i].revents != 0) {
                good = finish(slots[i], argv[2]) && good;
                ++done;
            }
        }
    }
    const int64_t took = now_ns() - before;
    if (good) {
        printf("%lld", static_cast<long long>(took / 1'000'000));
        for (int i = 0; i < count; ++i) {
            printf(" %d", monitors[i]);
        }
        printf("\n");
        fflush(stdout);
        char byte;
        (void)!read(0, &byte, 1);
    }
    for (int i = 0; i < count; ++i) {
        if (containers[i] > 0) {
            kill(containers[i], SIGKILL);
        }
    }
    while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
    printf("ended\n");
    return good ? 0 : 1;
}
