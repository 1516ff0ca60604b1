// A stand-in for an OCI runtime, for measuring monitors: it makes a "container" that is a plain
// process, writes the pid file and ends. Started by the monitor, so the environment tells it what
// to do, since monitors hand that on:
//
//   BUDGET_DO        what the container does:
//                      pause                  nothing, for ever
//                      exit CODE              prints "container CODE" and "error CODE", ends so
//                      end MS                 sleeps MS milliseconds, sends the time, ends with 0
//                      generate LENGTH BYTES  writes lines of LENGTH bytes (and a newline each) as
//                                             fast as it can, BYTES in all, then nothing; with a
//                                             LENGTH of 0 there is no newline at all
//                      both LENGTH BYTES      the same in two processes, half of BYTES to stdout
//                                             and half to stderr
//                      trickle LENGTH N MS    writes N lines of LENGTH bytes at once, every MS
//                                             milliseconds, for ever
//   BUDGET_STAMP_FD  a descriptor for the time (8 bytes, CLOCK_MONOTONIC in ns) of our first
//                    act, and for the times at which a generator starts and has written all
//   BUDGET_GO        a fifo; the generator starts when somebody opens it for writing
//   BUDGET_CGROUP    a cgroup.procs file that we, and so the container, move to
//
// Started with the one argument `pause` it is a bare process that does nothing; with `fork-pause`
// it starts one and ends. With `stamp FILE` it writes the time to the fifo FILE and ends. The
// container is this program too, executed anew as a real one is: nothing of the runtime's memory
// stays in it.

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

int64_t now_ns() {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

void send_stamp(int64_t stamp) {
    if (const char* fd = getenv("BUDGET_STAMP_FD")) {
        (void)!write(atoi(fd), &stamp, sizeof stamp);
    }
}

/// Writes `total` bytes of lines with `length` bytes of text each to `fd`; without a newline if
/// `length` is 0.
void generate(int fd, size_t length, uint64_t total) {
    static char block[1 << 16];
    const size_t line = length == 0 ? sizeof block : length + 1;
    if (line > sizeof block) {
        return;
    }
    const size_t whole = sizeof block / line * line;
    for (size_t i = 0; i < whole; ++i) {
        const size_t at = i % line;
        block[i] = length != 0 && at == length ? '\n' : static_cast<char>('a' + at % 26);
    }
    while (total > 0) {
        const size_t want = total < whole ? static_cast<size_t>(total) : whole;
        const ssize_t n = write(fd, block, want);
        if (n <= 0) {
            _exit(1);
        }
        // A short write would shift the lines; the pipe is a blocking one, so there is none.
        total -= static_cast<uint64_t>(n);
    }
}

/// Half to stdout and half to stderr, both at the same time.
void generate_both(size_t length, uint64_t total) {
    const pid_t other = fork();
    generate(other == 0 ? 2 : 1, length, total / 2);
    if (other == 0) {
        _exit(0);
    }
    waitpid(other, nullptr, 0);
}

[[noreturn]] void trickle(size_t length, size_t lines, unsigned long period_ms) {
    for (;;) {
        generate(1, length, (length + 1) * lines);
        usleep(static_cast<useconds_t>(period_ms) * 1000);
    }
}

[[noreturn]] void be_container(const char* what) {
    unsigned long length = 0;
    unsigned long lines = 0;
    unsigned long period_ms = 0;
    unsigned long long total = 0;
    int code = 0;
    const bool both = sscanf(what, "both %lu %llu", &length, &total) == 2;
    if (both || sscanf(what, "generate %lu %llu", &length, &total) == 2) {
        if (const char* go = getenv("BUDGET_GO")) {
            close(open(go, O_RDONLY | O_CLOEXEC));
        }
        send_stamp(now_ns());
        if (both) {
            generate_both(length, total);
        } else {
            generate(1, length, total);
        }
        send_stamp(now_ns());
    } else if (sscanf(what, "trickle %lu %lu %lu", &length, &lines, &period_ms) == 3) {
        trickle(length, lines, period_ms);
    } else if (sscanf(what, "end %d", &code) == 1) {
        usleep(static_cast<useconds_t>(code) * 1000);
        send_stamp(now_ns());
        _exit(0);
    } else if (sscanf(what, "exit %d", &code) == 1) {
        char text[64];
        int n = snprintf(text, sizeof text, "container %d\n", code);
        (void)!write(1, text, static_cast<size_t>(n));
        n = snprintf(text, sizeof text, "error %d\n", code);
        (void)!write(2, text, static_cast<size_t>(n));
        _exit(code);
    }
    // A real runtime leaves the container nothing but its three descriptors.
    for (int fd = 3; fd < 256; ++fd) {
        close(fd);
    }
    for (;;) {
        pause();
    }
}

} // namespace

int main(int argc, char** argv) {
    const int64_t started = now_ns();
    if (argc == 2 && strcmp(argv[1], "pause") == 0) {
        for (;;) {
            pause();
        }
    }
    if (argc == 2 && strcmp(argv[1], "fork-pause") == 0) {
        if (fork() == 0) {
            execl("/proc/self/exe", argv[0], "pause", nullptr);
        }
        _exit(0);
    }
    if (argc == 3 && strcmp(argv[1], "stamp") == 0) {
        const int fd = open(argv[2], O_WRONLY | O_CLOEXEC);
        return write(fd, &started, sizeof started) == sizeof started ? 0 : 1;
    }
    const char* what = getenv("BUDGET_DO");
    if (what == nullptr) {
        what = "pause";
    }
    if (argc == 2 && strcmp(argv[1], "container") == 0) {
        be_container(what);
    }
    send_stamp(started);

    if (const char* cgroup = getenv("BUDGET_CGROUP")) {
        const int fd = open(cgroup, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1) {
            dprintf(2, "stand-in runtime: cannot move to %s\n", cgroup);
            return 1;
        }
        close(fd);
    }

    const pid_t container = fork();
    if (container == 0) {
        setsid();
        execl("/proc/self/exe", argv[0], "container", nullptr);
        _exit(127);
    }
    for (int i = 1; i + 1 < argc; ++i) {
        if (strcmp(argv[i], "--pid-file") == 0) {
            const int fd = open(argv[i + 1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
            if (fd < 0) {
                dprintf(2, "stand-in runtime: cannot write %s\n", argv[i + 1]);
                return 1;
            }
            dprintf(fd, "%d", container);
            close(fd);
        }
    }
    return 0;
}
