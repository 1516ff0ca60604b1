// What the tools that start monitors themselves share: a directory to start one in, its words, and
// the clock. The monitor is started with --sync, so that it is a child of ours.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

inline int64_t now_ns() {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

/// Ahead of whatever else the machine does. By the system call: musl's function of this name always
/// fails.
inline void run_ahead() {
    const int lowest = 1;
    (void)syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &lowest);
}

/// Where a monitor with the container `name` lives, below `directory`, and the words it gets.
struct Place {
    char name[32];
    char bundle[1024];
    char pid_file[1100];
    char exit_dir[1100];
    char exit_file[1200];
    char record[1100];
    char record_option[1200];
    const char* words[48];

    /// Makes the directories. The words end before a place for some more (`more` points at it).
    const char** make(const char* directory, const char* runtime, const char* id) {
        snprintf(name, sizeof name, "%s", id);
        snprintf(bundle, sizeof bundle, "%s/%s", directory, id);
        snprintf(pid_file, sizeof pid_file, "%s/pidfile", bundle);
        snprintf(exit_dir, sizeof exit_dir, "%s/exits", bundle);
        snprintf(exit_file, sizeof exit_file, "%s/%s", exit_dir, id);
        snprintf(record, sizeof record, "%s/ctr.log", bundle);
        snprintf(record_option, sizeof record_option, "k8s-file:%s", record);
        mkdir(bundle, 0755);
        mkdir(exit_dir, 0755);
        const char* const given[] = {"conmon",
                                     "--api-version",
                                     "1",
                                     "-c",
                                     name,
                                     "-u",
                                     name,
                                     "-n",
                                     name,
                                     "-r",
                                     runtime,
                                     "-b",
                                     bundle,
                                     "-p",
                                     pid_file,
                                     "--exit-dir",
                                     exit_dir,
                                     "--full-attach",
                                     "-l",
                                     record_option,
                                     "--log-level",
                                     "error",
                                     "--no-sync-log"};
        memcpy(words, given, sizeof given);
        return words + sizeof given / sizeof *given;
    }

    void clear() const {
        unlink(pid_file);
        unlink(exit_file);
        unlink(record);
    }
};
