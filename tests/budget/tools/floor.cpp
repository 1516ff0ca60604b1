// The least program that does a monitor's job, against which the monitor's start and its copying
// are measured: fork, exec the runtime, read the pid file, copy the output raw, write the exit
// file. It is started as the monitor is with --sync, knows of its options only those below, and
// leaves out everything that makes a monitor: framing, sockets, signals, messages, errors.

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

struct Arguments {
    const char* id = "";
    const char* runtime = "";
    const char* bundle = "";
    const char* pid_file = "";
    const char* exit_dir = "";
    const char* record_path = "";
};

char buffer[65536];

/// Reads the options that matter; every other word is passed over.
Arguments parse(int argc, char** argv) {
    Arguments a;
    for (int i = 1; i + 1 < argc; ++i) {
        const char** value = nullptr;
        if (strcmp(argv[i], "-c") == 0) {
            value = &a.id;
        } else if (strcmp(argv[i], "-r") == 0) {
            value = &a.runtime;
        } else if (strcmp(argv[i], "-b") == 0) {
            value = &a.bundle;
        } else if (strcmp(argv[i], "-p") == 0) {
            value = &a.pid_file;
        } else if (strcmp(argv[i], "--exit-dir") == 0) {
            value = &a.exit_dir;
        } else if (strcmp(argv[i], "-l") == 0) {
            value = &a.record_path;
        }
        if (value != nullptr) {
            *value = argv[++i];
        }
    }
    if (strncmp(a.record_path, "k8s-file:", 9) == 0) {
        a.record_path += 9;
    }
    return a;
}

/// Copies what both pipes hold to `record` until both have ended.
void copy(int (&from)[2], int record) {
    struct pollfd watched[2] = {{from[0], POLLIN, 0}, {from[1], POLLIN, 0}};
    while (watched[0].fd >= 0 || watched[1].fd >= 0) {
        poll(watched, 2, -1);
        for (auto& w : watched) {
            if (w.fd < 0 || w.revents == 0) {
                continue;
            }
            const ssize_t n = read(w.fd, buffer, sizeof buffer);
            if (n <= 0) {
                w.fd = -1;
                continue;
            }
            (void)!write(record, buffer, static_cast<size_t>(n));
        }
    }
}

} // namespace

int main(int argc, char** argv) {
    const Arguments a = parse(argc, argv);
    const int record = open(a.record_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    int out[2];
    int err[2];
    if (record < 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
        return 1;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);

    const pid_t runtime = fork();
    if (runtime == 0) {
        dup2(out[1], 1);
        dup2(err[1], 2);
        execl(a.runtime,
              a.runtime,
              "create",
              "--bundle",
              a.bundle,
              "--pid-file",
              a.pid_file,
              a.id,
              nullptr);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    int status = 0;
    waitpid(runtime, &status, 0);

    const int pid_file = open(a.pid_file, O_RDONLY | O_CLOEXEC);
    const ssize_t n = read(pid_file, buffer, 31);
    close(pid_file);
    if (n <= 0) {
        return 1;
    }
    buffer[n] = '\0';
    const auto container = static_cast<pid_t>(atoi(buffer));

    int from[2] = {out[0], err[0]};
    copy(from, record);
    waitpid(container, &status, 0);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

    char path[4096];
    char text[16];
    snprintf(path, sizeof path, "%s/%s", a.exit_dir, a.id);
    const int length = snprintf(text, sizeof text, "%d", code);
    const int exit_file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    (void)!write(exit_file, text, static_cast<size_t>(length));
    return code;
}
