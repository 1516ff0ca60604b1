// Processes of a test: starting a program with exactly chosen descriptors, waiting for its end
// through a pidfd, and reading what /proc says about it.
//
// The test program is a child subreaper, so that a monitor that has forked itself away is its
// child again: its end and its status can be waited for, and nothing it leaves can hide. Only
// processes that descend from the test are ever signalled.

#pragma once

#include "support/handle.h"

#include <functional>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include <sys/types.h>

namespace support {

// How a process ended: by exit(code), or by a signal.
struct Ended {
    int code = -1;
    int signal = 0;

    friend bool operator==(const Ended&, const Ended&) = default;
    friend std::ostream& operator<<(std::ostream& out, const Ended& e) {
        return e.signal != 0 ? out << "killed by signal " << e.signal : out << "exit " << e.code;
    }
};

inline Ended exited(int code) {
    return {.code = code, .signal = 0};
}
inline Ended killed_by(int signal) {
    return {.code = -1, .signal = signal};
}

struct Launch {
    std::vector<std::string> argv;
    // NAME=value; this is the whole environment.
    std::vector<std::string> env;
    // The number that the program sees -> the descriptor here. 0, 1 and 2 are /dev/null unless set.
    std::map<int, int> fds;
    std::string cwd;
    // Runs in the child after the descriptors are in place, just before exec.
    std::function<void()> in_child;
};

// One process that the test started or adopted.
class Process {
  public:
    Process() = default;
    // Takes over a child of the test (or, for observation only, any process).
    explicit Process(pid_t pid);

    pid_t pid() const { return pid_; }
    // True until the process has ended (a zombie has ended).
    bool is_running() const;
    // Waits for the end without reaping.
    bool wait_gone(const Deadline& deadline = Deadline(soon)) const;
    // Waits for the end of a child and reaps it; throws TimedOut with the process's state.
    Ended wait(const Deadline& deadline = Deadline(soon));
    void kill(int signal) const;

  private:
    pid_t pid_ = -1;
    Handle pidfd_;
    std::optional<Ended> ended_;
};

// Forks and executes; throws when exec fails.
Process launch(const Launch& plan);

// Makes this process the reaper of all that descend from it.
void become_subreaper();

// Processes that descend from this one, zombies included.
std::vector<pid_t> descendants();
std::vector<pid_t> children_of(pid_t parent);
// Children of `parent` that have ended and not been reaped.
std::vector<pid_t> zombies_of(pid_t parent);
// Kills every descendant of this process and reaps them all.
void kill_descendants();

// Descriptor numbers of a process, with what each one is ("pipe:[123]", "/dev/null").
std::map<int, std::string> fds_of(pid_t pid);
// Value of a line of /proc/PID/status ("SigBlk", "Umask", "VmRSS"), without blanks around it.
std::string status_line(pid_t pid, const std::string& key);
// Resident memory in kB, page by page; VmRSS of /proc/PID/status is too coarse for a monitor.
long rss_of(pid_t pid);
// The signals of a mask line of /proc/PID/status.
std::set<int> signal_set(pid_t pid, const std::string& key);
// User and system time spent so far, in clock ticks.
long cpu_ticks(pid_t pid);
// Field n of /proc/PID/stat, counted from 1; the name in field 2 may hold blanks.
std::string stat_field(pid_t pid, int n);
inline long stat_number(pid_t pid, int n) {
    return std::stol(stat_field(pid, n));
}
inline pid_t parent_of(pid_t pid) {
    return static_cast<pid_t>(stat_number(pid, 4));
}
inline pid_t group_of(pid_t pid) {
    return static_cast<pid_t>(stat_number(pid, 5));
}
inline pid_t session_of(pid_t pid) {
    return static_cast<pid_t>(stat_number(pid, 6));
}
int oom_score_adj_of(pid_t pid);
// Words of a NUL-separated /proc file: "cmdline" or "environ".
std::vector<std::string> words_of(pid_t pid, const std::string& file);

} // namespace support
