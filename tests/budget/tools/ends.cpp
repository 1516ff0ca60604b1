// Measures how soon after the end of a container each of several monitors shows it.
//
//   ends ROUNDS DIRECTORY RUNTIME MONITOR...
//
// Every round runs one container under every monitor in turn. The container waits 20 ms, so that
// the monitor has come to rest, and takes the time right before it ends; we take it when inotify
// tells of the exit file; the exit command takes it as its first act. Prints one line "INDEX
// NANOSECONDS NANOSECONDS" each: to the exit file, to the exit command. Ends with 1, and says why,
// when something went wrong.

#include "place.h"

#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/wait.h>

namespace {

int64_t read_stamp(int fd) {
    int64_t stamp = -1;
    return read(fd, &stamp, sizeof stamp) == sizeof stamp ? stamp : -1;
}

/// False, with a line on stderr, when something went wrong.
bool end_once(const char* monitor, const Place& place, int exits, int commands, int index) {
    place.clear();
    int stamps[2];
    int sync[2];
    if (pipe(stamps) != 0 || pipe(sync) != 0) {
        perror("ends: pipe");
        return false;
    }
    fcntl(stamps[0], F_SETFD, FD_CLOEXEC);
    fcntl(sync[0], F_SETFD, FD_CLOEXEC);
    char stamp_variable[64];
    char sync_variable[64];
    snprintf(stamp_variable, sizeof stamp_variable, "BUDGET_STAMP_FD=%d", stamps[1]);
    snprintf(sync_variable, sizeof sync_variable, "_OCI_SYNCPIPE=%d", sync[1]);
    const char* environment[] = {
        "PATH=/usr/bin:/bin", "BUDGET_DO=end 20", stamp_variable, sync_variable, nullptr};
    const pid_t pid = vfork();
    if (pid == 0) {
        execve(monitor, const_cast<char**>(place.words), const_cast<char**>(environment));
        _exit(127);
    }
    close(stamps[1]);
    close(sync[1]);
    (void)read_stamp(stamps[0]); // the runtime's
    const int64_t ended = read_stamp(stamps[0]);

    // The exit file is made under another name and renamed.
    int64_t seen = -1;
    while (seen < 0) {
        alignas(8) char events[4096];
        const ssize_t n = read(exits, events, sizeof events);
        const int64_t now = now_ns();
        for (ssize_t at = 0; at < n;) {
            const auto* const event = reinterpret_cast<const struct inotify_event*>(events + at);
            if ((event->mask & IN_MOVED_TO) != 0 && strcmp(event->name, place.name) == 0) {
                seen = now;
            }
            at += static_cast<ssize_t>(sizeof *event + event->len);
        }
        if (n <= 0) {
            break;
        }
    }
    const int64_t command = read_stamp(commands);
    int status = -1;
    waitpid(pid, &status, 0);
    close(stamps[0]);
    close(sync[0]);
    if (ended < 0 || seen < ended || command < ended || status != 0) {
        fprintf(stderr, "ends: %s: status %#x\n", monitor, static_cast<unsigned>(status));
        return false;
    }
    if (index >= 0) {
        printf("%d %lld %lld\n",
               index,
               static_cast<long long>(seen - ended),
               static_cast<long long>(command - ended));
    }
    return true;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: ends ROUNDS DIRECTORY RUNTIME MONITOR...\n");
        return 2;
    }
    static Place place;
    const char** more = place.make(argv[2], argv[3], "end");
    char fifo[1100];
    snprintf(fifo, sizeof fifo, "%s/command-started", place.bundle);
    unlink(fifo);
    mkfifo(fifo, 0600);
    const int commands = open(fifo, O_RDWR | O_CLOEXEC); // never at its end
    const int exits = inotify_init1(IN_CLOEXEC);
    if (commands < 0 || exits < 0 || inotify_add_watch(exits, place.exit_dir, IN_MOVED_TO) < 0) {
        perror("ends");
        return 1;
    }
    *more++ = "--sync";
    *more++ = "--exit-command";
    *more++ = argv[3];
    *more++ = "--exit-command-arg";
    *more++ = "stamp";
    *more++ = "--exit-command-arg";
    *more++ = fifo;
    alarm(600);
    run_ahead();
    const int rounds = atoi(argv[1]);
    for (int round = -3; round < rounds; ++round) {
        for (int i = 4; i < argc; ++i) {
            if (!end_once(argv[i], place, exits, commands, round < 0 ? -1 : i - 4)) {
                return 1;
            }
        }
    }
    return 0;
}
