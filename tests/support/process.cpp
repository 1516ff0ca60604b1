// fork, exec, pidfd, and a reader of /proc.

#include "support/process.h"

#include "support/files.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <sstream>

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace support {

namespace {

// Directory entries of /proc that are numbers.
std::vector<pid_t> all_pids() {
    std::vector<pid_t> pids;
    DIR* proc = ::opendir("/proc");
    if (proc == nullptr) {
        throw Broken("opendir /proc");
    }
    while (const dirent* entry = ::readdir(proc)) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') {
            pids.push_back(static_cast<pid_t>(std::atoi(entry->d_name)));
        }
    }
    ::closedir(proc);
    return pids;
}

struct Stat {
    char state;
    pid_t parent;
};

std::optional<Stat> stat_of(pid_t pid) {
    const Handle file(
        ::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
    char line[1024];
    const ssize_t n = file.is_open() ? ::read(file.get(), line, sizeof line - 1) : -1;
    if (n <= 0) {
        return std::nullopt;
    }
    line[n] = '\0';
    const char* after_name = std::strrchr(line, ')');
    Stat out{};
    int parent = 0;
    if (after_name == nullptr || std::sscanf(after_name + 1, " %c %d", &out.state, &parent) != 2) {
        return std::nullopt;
    }
    out.parent = parent;
    return out;
}

[[noreturn]] void run_child(const Launch& plan, int report) {
    // Whatever this test itself was started with stays here.
    ::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
    // First every source is moved out of the way, so that no target overwrites one.
    std::map<int, int> moved;
    for (const auto& [target, source] : plan.fds) {
        moved[target] = ::fcntl(source, F_DUPFD_CLOEXEC, 500);
    }
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int target = 0; target < 3; ++target) {
        ::dup2(moved.contains(target) ? moved[target] : null, target);
    }
    for (const auto& [target, source] : moved) {
        if (target > 2) {
            ::dup2(source, target);
        }
    }
    ::signal(SIGPIPE, SIG_DFL);
    if (!plan.cwd.empty() && ::chdir(plan.cwd.c_str()) != 0) {
        ::_exit(126);
    }
    if (plan.in_child) {
        plan.in_child();
    }
    std::vector<char*> argv;
    for (const auto& word : plan.argv) {
        argv.push_back(const_cast<char*>(word.c_str()));
    }
    argv.push_back(nullptr);
    std::vector<char*> env;
    for (const auto& word : plan.env) {
        env.push_back(const_cast<char*>(word.c_str()));
    }
    env.push_back(nullptr);
    ::execve(argv[0], argv.data(), env.data());
    const int code = errno;
    (void)!::write(report, &code, sizeof code);
    ::_exit(127);
}

// Value of a line of /proc/PID/FILE, without blanks around it.
std::string proc_line(pid_t pid, const std::string& file, const std::string& key) {
    const std::string path = "/proc/" + std::to_string(pid) + "/" + file;
    std::istringstream lines(read_file(path));
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(key + ":")) {
            const auto at = line.find_first_not_of(" \t", key.size() + 1);
            return at == std::string::npos ? std::string() : line.substr(at);
        }
    }
    throw std::runtime_error("no line " + key + " in " + path);
}

} // namespace

Process::Process(pid_t pid)
    : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {
    if (!pidfd_.is_open()) {
        throw Broken("pidfd_open " + std::to_string(pid));
    }
}

bool Process::is_running() const {
    return !ended_ && !wait_readable(pidfd_.get(), Deadline(milliseconds(0)));
}

bool Process::wait_gone(const Deadline& deadline) const {
    return ended_.has_value() || wait_readable(pidfd_.get(), deadline);
}

Ended Process::wait(const Deadline& deadline) {
    if (ended_) {
        return *ended_;
    }
    if (!wait_readable(pidfd_.get(), deadline)) {
        std::string state = "process " + std::to_string(pid_) + " does not end";
        try {
            state += "; it waits in " + read_file("/proc/" + std::to_string(pid_) + "/wchan") +
                     ", state " + status_line(pid_, "State");
        } catch (const std::exception&) {
        }
        throw TimedOut(state);
    }
    siginfo_t info{};
    if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info, WEXITED) !=
        0) {
        throw Broken("waitid " + std::to_string(pid_));
    }
    ended_ = info.si_code == CLD_EXITED ? exited(info.si_status) : killed_by(info.si_status);
    return *ended_;
}

void Process::kill(int signal) const {
    if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) != 0 && errno != ESRCH) {
        throw Broken("pidfd_send_signal");
    }
}

Process launch(const Launch& plan) {
    int report[2];
    if (::pipe2(report, O_CLOEXEC) != 0) {
        throw Broken("pipe2");
    }
    Handle read_end(report[0]);
    Handle write_end(report[1]);
    const pid_t pid = ::fork();
    if (pid < 0) {
        throw Broken("fork");
    }
    if (pid == 0) {
        run_child(plan, ::fcntl(write_end.get(), F_DUPFD_CLOEXEC, 900));
    }
    write_end.reset();
    int code = 0;
    if (::read(read_end.get(), &code, sizeof code) == sizeof code) {
        ::waitpid(pid, nullptr, 0);
        errno = code;
        throw Broken("exec " + plan.argv[0]);
    }
    return Process(pid);
}

void become_subreaper() {
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        throw Broken("PR_SET_CHILD_SUBREAPER");
    }
}

std::vector<pid_t> children_of(pid_t parent) {
    std::vector<pid_t> children;
    for (const pid_t pid : all_pids()) {
        if (const auto stat = stat_of(pid); stat && stat->parent == parent) {
            children.push_back(pid);
        }
    }
    return children;
}

std::vector<pid_t> zombies_of(pid_t parent) {
    std::vector<pid_t> zombies;
    for (const pid_t pid : children_of(parent)) {
        if (const auto stat = stat_of(pid); stat && stat->state == 'Z') {
            zombies.push_back(pid);
        }
    }
    return zombies;
}

std::vector<pid_t> descendants() {
    std::map<pid_t, pid_t> parents;
    for (const pid_t pid : all_pids()) {
        if (const auto stat = stat_of(pid)) {
            parents[pid] = stat->parent;
        }
    }
    std::vector<pid_t> found;
    for (const auto& [pid, parent] : parents) {
        for (pid_t up = parent; up > 0; up = parents.contains(up) ? parents[up] : 0) {
            if (up == ::getpid()) {
                found.push_back(pid);
                break;
            }
        }
    }
    return found;
}

void kill_descendants() {
    const Deadline deadline(soon);
    while (true) {
        const auto all = descendants();
        for (const pid_t pid : all) {
            ::kill(pid, SIGKILL);
        }
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        if (all.empty()) {
            return;
        }
        if (deadline.passed()) {
            throw TimedOut("descendants that do not die");
        }
        ::usleep(1000);
    }
}

std::map<int, std::string> fds_of(pid_t pid) {
    std::map<int, std::string> fds;
    const std::string directory = "/proc/" + std::to_string(pid) + "/fd";
    std::error_code failed;
    for (auto entry = fs::directory_iterator(directory, failed);
         !failed && entry != fs::directory_iterator();
         entry.increment(failed)) {
        char target[4096];
        const ssize_t n = ::readlink(entry->path().c_str(), target, sizeof target);
        if (n > 0) {
            fds[std::stoi(entry->path().filename().string())] =
                std::string(target, static_cast<size_t>(n));
        }
    }
    return fds;
}

std::string status_line(pid_t pid, const std::string& key) {
    return proc_line(pid, "status", key);
}

long rss_of(pid_t pid) {
    return std::stol(proc_line(pid, "smaps_rollup", "Rss"));
}

std::set<int> signal_set(pid_t pid, const std::string& key) {
    const auto mask = std::stoull(status_line(pid, key), nullptr, 16);
    std::set<int> signals;
    for (int n = 1; n <= 64; ++n) {
        if ((mask >> (n - 1) & 1) != 0) {
            signals.insert(n);
        }
    }
    return signals;
}

std::string stat_field(pid_t pid, int n) {
    const std::string line = read_file("/proc/" + std::to_string(pid) + "/stat");
    std::istringstream fields(line.substr(line.rfind(')') + 2));
    std::string field;
    for (int at = 3; at <= n; ++at) {
        fields >> field;
    }
    return field;
}

long cpu_ticks(pid_t pid) {
    return stat_number(pid, 14) + stat_number(pid, 15);
}

int oom_score_adj_of(pid_t pid) {
    return std::stoi(read_file("/proc/" + std::to_string(pid) + "/oom_score_adj"));
}

std::vector<std::string> words_of(pid_t pid, const std::string& file) {
    const std::string bytes = read_file("/proc/" + std::to_string(pid) + "/" + file);
    std::vector<std::string> words;
    for (size_t at = 0; at < bytes.size();) {
        const size_t end = bytes.find('\0', at);
        words.push_back(bytes.substr(at, end - at));
        at = end == std::string::npos ? bytes.size() : end + 1;
    }
    return words;
}

} // namespace support
