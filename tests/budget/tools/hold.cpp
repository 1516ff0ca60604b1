// Makes COUNT kernel objects of a kind and keeps them, so that what one of them is charged can be
// measured (tests/budget/charge.py):
//
//   hold KIND COUNT DIRECTORY
//
// Prints a line once they are there, and sleeps. KIND is one of those in the table at the end;
// files are made in DIRECTORY.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

const char* directory = "";
int number = 0;

const char* path() {
    static char text[1024];
    snprintf(text, sizeof text, "%s/held-%d", directory, number);
    return text;
}

bool make_nothing() {
    return true;
}

bool make_pipe() {
    int ends[2];
    return pipe2(ends, O_CLOEXEC) == 0;
}

// The writing end is the container's; the reading one alone is the monitor's.
bool make_used_pipe() {
    int ends[2];
    char byte = 0;
    return pipe2(ends, O_CLOEXEC) == 0 && write(ends[1], &byte, 1) == 1 &&
           read(ends[0], &byte, 1) == 1;
}

bool make_small_pipe() {
    int ends[2];
    return pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[0], F_SETPIPE_SZ, 4096) == 4096;
}

bool make_fifo() {
    return mkfifo(path(), 0600) == 0 && open(path(), O_RDWR | O_NONBLOCK | O_CLOEXEC) >= 0;
}

bool make_small_fifo() {
    return mkfifo(path(), 0600) == 0 &&
           fcntl(open(path(), O_RDWR | O_NONBLOCK | O_CLOEXEC), F_SETPIPE_SZ, 4096) == 4096;
}

bool make_file() {
    return open(path(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) >= 0;
}

// The file and its directory entry are there already: what an open descriptor adds.
bool make_open() {
    return open("/dev/null", O_RDWR | O_CLOEXEC) >= 0;
}

bool make_directory() {
    return mkdir(path(), 0700) == 0 && open(path(), O_PATH | O_DIRECTORY | O_CLOEXEC) >= 0;
}

bool make_socket_pair() {
    int ends[2];
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0;
}

bool make_listener() {
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path(), sizeof address.sun_path - 1);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    return bind(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof address) == 0 &&
           listen(fd, 10) == 0;
}

bool make_eventfd() {
    return eventfd(0, EFD_CLOEXEC) >= 0;
}

bool make_signalfd() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    return signalfd(-1, &set, SFD_CLOEXEC) >= 0;
}

bool make_timerfd() {
    return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC) >= 0;
}

bool make_pidfd() {
    return syscall(SYS_pidfd_open, getpid(), 0) >= 0;
}

bool make_inotify() {
    return inotify_init1(IN_CLOEXEC) >= 0;
}

bool make_epoll() {
    return epoll_create1(EPOLL_CLOEXEC) >= 0;
}

bool make_watched() {
    static int epoll = -1;
    if (epoll < 0) {
        epoll = epoll_create1(EPOLL_CLOEXEC);
    }
    struct epoll_event event = {};
    const int fd = eventfd(0, EFD_CLOEXEC);
    event.events = EPOLLIN;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

// Two neighbours with different rights are never merged.
bool make_mapping() {
    void* const at =
        mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at != MAP_FAILED && mprotect(at, 4096, PROT_READ) == 0;
}

bool make_child() {
    const pid_t pid = fork();
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    return pid > 0;
}

struct Kind {
    const char* name;
    bool (*make)();
};

constexpr Kind kinds[] = {
    {"nothing", make_nothing},     {"pipe", make_pipe},
    {"used-pipe", make_used_pipe}, {"small-pipe", make_small_pipe},
    {"fifo", make_fifo},           {"small-fifo", make_small_fifo},
    {"file", make_file},           {"open", make_open},
    {"directory", make_directory}, {"socket-pair", make_socket_pair},
    {"listener", make_listener},   {"eventfd", make_eventfd},
    {"signalfd", make_signalfd},   {"timerfd", make_timerfd},
    {"pidfd", make_pidfd},         {"inotify", make_inotify},
    {"epoll", make_epoll},         {"watched", make_watched},
    {"mapping", make_mapping},     {"fork", make_child},
};

} // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: hold KIND COUNT DIRECTORY\n");
        return 2;
    }
    directory = argv[3];
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (const Kind& kind : kinds) {
        if (strcmp(kind.name, argv[1]) != 0) {
            continue;
        }
        for (number = 0; number < atoi(argv[2]); ++number) {
            if (!kind.make()) {
                fprintf(stderr, "hold: %s %d: %s\n", argv[1], number, strerror(errno));
                return 1;
            }
        }
        printf("held\n");
        fflush(stdout);
        for (;;) {
            pause();
        }
    }
    fprintf(stderr, "hold: no kind %s\n", argv[1]);
    return 2;
}
