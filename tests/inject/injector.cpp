// Executes a program, lets one chosen system call of one of its processes fail, and gets out of the
// way:
//
//   injector TRACE [POINT ERROR [always | late]] -- PROGRAM [ARGUMENTS]
//
// The program takes this process's place, so that its pid, its parent and its descriptors are what
// they would be without us. Who traces it is a grandchild, which writes to the file TRACE and ends
// as soon as the fault has been injected; the kernel then lets everybody go on untraced.
//
// A point is ROLE:NUMBER:ORDINAL: the ORDINAL-th call (from 1) of the system call NUMBER in one
// process. The roles are `first` (the program itself), and what it and its children become:
// `monitor` (a fork of first), `lingerer` (a fork of the monitor), `spawn1`, `spawn2`... (what is
// started with vfork semantics by whoever, until it executes, from which moment on it is not looked
// at any more). ERROR is the errno. The call is not made, except close(2), which on Linux closes
// whatever it returns. `always`: all later calls of this number in this process fail too, but for
// what no kernel lets fail for ever: the read of a signalfd, which needs nothing but memory that is
// there, and EPOLL_CTL_DEL. `late`: the call fails after 200 ms.
//
// The trace has a line for each call that ended: ROLE NUMBER ORDINAL RESULT WHAT, where WHAT is a
// path or what the first argument stands for; and a line "injected POINT" when it was.

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

[[noreturn]] void give_up(const char* what) {
    std::fprintf(stderr, "injector: %s: %s\n", what, std::strerror(errno));
    std::_Exit(98);
}

struct Point {
    std::string role;
    long number = -1;
    long ordinal = 0;
    int error = 0;
    bool always = false;
    bool late = false;
};

struct Process {
    std::string role;
    std::map<long, long> counts;
    bool in_call = false;
    bool failing = false; // the call that it is in is to fail
    long number = -1;
    unsigned long argument = 0;
    unsigned long second = 0;
    unsigned long third = 0;
    bool executed = false;
    user_regs_struct registers{}; // of the call that is to fail
};

// Results are written once, at the end: a line for each call would slow everything down.
std::string trace_text;
std::map<pid_t, Process> processes;
int spawned = 0;

std::string text_at(pid_t pid, unsigned long address) {
    std::string text;
    while (text.size() < 200) {
        errno = 0;
        const long word = ::ptrace(PTRACE_PEEKDATA, pid, address + text.size(), nullptr);
        if (errno != 0) {
            break;
        }
        char bytes[sizeof word];
        std::memcpy(bytes, &word, sizeof word);
        const size_t length = ::strnlen(bytes, sizeof word);
        text.append(bytes, length);
        if (length < sizeof word) {
            break;
        }
    }
    std::erase(text, '\n');
    return text;
}

std::string target_of(pid_t pid, long fd) {
    char target[256];
    const std::string link = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
    const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
    return size < 0 ? std::to_string(fd) : std::string(target, static_cast<size_t>(size));
}

// What the call is about, for a reader.
std::string describe(pid_t pid, const Process& process) {
    switch (process.number) {
    case SYS_openat:
    case SYS_newfstatat:
    case SYS_unlinkat:
    case SYS_renameat:
    case SYS_mknodat:
    case SYS_fchmodat:
        return text_at(pid, process.second);
    case SYS_open:
    case SYS_stat:
    case SYS_access:
    case SYS_unlink:
    case SYS_rename:
    case SYS_symlink:
    case SYS_execve:
    case SYS_statfs:
        return text_at(pid, process.argument);
    case SYS_read:
    case SYS_write:
    case SYS_readv:
    case SYS_writev:
    case SYS_pread64:
    case SYS_close:
    case SYS_fstat:
    case SYS_ioctl:
    case SYS_sendmsg:
    case SYS_recvmsg:
    case SYS_bind:
    case SYS_listen:
    case SYS_connect:
    case SYS_accept4:
    case SYS_fsync:
    case SYS_ftruncate:
    case SYS_fchmod:
    case SYS_dup2:
    case SYS_dup3:
        return target_of(pid, static_cast<int>(process.argument));
    case SYS_fcntl:
        return std::to_string(process.second) + " " +
               target_of(pid, static_cast<int>(process.argument));
    case SYS_epoll_ctl:
        return std::to_string(process.second) + " " +
               target_of(pid, static_cast<int>(process.third));
    default:
        return std::to_string(process.argument);
    }
}

// Whether the kernel has no reason for letting this call fail again and again.
bool never_fails_for_ever(pid_t pid, const Process& process) {
    switch (process.number) {
    case SYS_read:
        return target_of(pid, static_cast<int>(process.argument)) == "anon_inode:[signalfd]";
    case SYS_epoll_ctl:
        return process.second == EPOLL_CTL_DEL;
    default:
        return false;
    }
}

// In place of the call that the process is entering: no call, or one that only takes its time.
void replace_call(pid_t pid, Process& process, bool late) {
    constexpr unsigned long late_ms = 200;
    (void)::ptrace(PTRACE_GETREGS, pid, nullptr, &process.registers);
    user_regs_struct registers = process.registers;
    if (late) {
        registers.orig_rax = SYS_poll;
        registers.rdi = registers.rsi = 0;
        registers.rdx = late_ms;
    } else {
        registers.orig_rax = static_cast<unsigned long>(-1);
    }
    (void)::ptrace(PTRACE_SETREGS, pid, nullptr, &registers);
}

void set_result(pid_t pid, const Process& process, int error) {
    user_regs_struct registers = process.registers;
    registers.rax = static_cast<unsigned long>(-error);
    (void)::ptrace(PTRACE_SETREGS, pid, nullptr, &registers);
}

// One stop at a system call. True when the fault has been injected and nothing is left to do.
bool on_call(pid_t pid, Process& process, const Point& point) {
    __ptrace_syscall_info info;
    if (::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0) {
        return false;
    }
    if (process.role == "first" && !process.executed) {
        return false; // still us
    }
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        process.in_call = true;
        process.number = static_cast<long>(info.entry.nr);
        process.argument = info.entry.args[0];
        process.second = info.entry.args[1];
        process.third = info.entry.args[2];
        const long ordinal = ++process.counts[process.number];
        process.failing = process.number == point.number && process.role == point.role &&
                          (ordinal == point.ordinal || (point.always && ordinal > point.ordinal &&
                                                        !never_fails_for_ever(pid, process)));
        if (process.failing) {
            trace_text += "injected " + process.role + " " + std::to_string(process.number) + " " +
                          std::to_string(ordinal) + " " + describe(pid, process) + "\n";
            if (process.number != SYS_close) {
                replace_call(pid, process, point.late);
            } else {
                (void)::ptrace(PTRACE_GETREGS, pid, nullptr, &process.registers);
            }
        }
        return false;
    }
    if (info.op != PTRACE_SYSCALL_INFO_EXIT || !process.in_call) {
        return false;
    }
    process.in_call = false;
    if (process.failing) {
        process.failing = false;
        set_result(pid, process, point.error);
        return !point.always;
    }
    if (point.number < 0) {
        trace_text += process.role + " " + std::to_string(process.number) + " " +
                      std::to_string(process.counts[process.number]) + " " +
                      std::to_string(static_cast<long>(info.exit.rval)) + " " +
                      describe(pid, process) + "\n";
    }
    return false;
}

// A new process has been born; which is it?
void adopt(pid_t parent, pid_t child, bool shares_memory) {
    const std::string& from = processes[parent].role;
    std::string role;
    if (shares_memory) {
        role = "spawn" + std::to_string(++spawned);
    } else {
        role = from == "first" ? "monitor" : "lingerer";
    }
    processes[child].role = role;
}

void handle_stop(pid_t pid, int status, const Point& point, bool& done) {
    Process& process = processes[pid];
    const int signal = WSTOPSIG(status);
    const int event = status >> 16;
    int deliver = 0;
    if (signal == (SIGTRAP | 0x80)) {
        done = on_call(pid, process, point);
        if (done) {
            return;
        }
    } else if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK ||
               event == PTRACE_EVENT_CLONE) {
        unsigned long child = 0;
        (void)::ptrace(PTRACE_GETEVENTMSG, pid, nullptr, &child);
        adopt(pid, static_cast<pid_t>(child), event == PTRACE_EVENT_VFORK);
    } else if (event == PTRACE_EVENT_EXEC) {
        if (process.executed || process.role != "first") {
            (void)::ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
            processes.erase(pid);
            return;
        }
        process.executed = true;
    } else if (event == PTRACE_EVENT_STOP) {
        if (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU) {
            (void)::ptrace(PTRACE_LISTEN, pid, nullptr, nullptr);
            return;
        }
    } else if (event == 0) {
        deliver = signal;
    }
    (void)::ptrace(PTRACE_SYSCALL, pid, nullptr, deliver);
}

void trace(const Point& point) {
    // The new process may be seen before its parent's event that names it.
    std::map<pid_t, int> early;
    bool done = false;
    while (!done && !processes.empty()) {
        int status = 0;
        const pid_t pid = ::waitpid(-1, &status, __WALL);
        if (pid < 0) {
            return;
        }
        if (!WIFSTOPPED(status)) {
            processes.erase(pid);
            continue;
        }
        if (!processes.contains(pid)) {
            early[pid] = status;
            continue;
        }
        handle_stop(pid, status, point, done);
        for (auto each = early.begin(); !done && each != early.end();) {
            if (processes.contains(each->first)) {
                handle_stop(each->first, each->second, point, done);
                each = early.erase(each);
            } else {
                ++each;
            }
        }
    }
}

[[noreturn]] void become_tracer(pid_t target, int trace_file, int ready, const Point& point) {
    constexpr long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                             PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
    if (::ptrace(PTRACE_SEIZE, target, nullptr, options) != 0 ||
        ::ptrace(PTRACE_INTERRUPT, target, nullptr, nullptr) != 0) {
        give_up("trace");
    }
    processes[target].role = "first";
    // Nothing of the program's may stay open in us; its callers wait for its descriptors' end.
    for (int fd = 0; fd < 1024; ++fd) {
        if (fd != trace_file && fd != ready) {
            ::close(fd);
        }
    }
    (void)!::write(ready, "x", 1);
    ::close(ready);
    trace(point);
    (void)!::write(trace_file, trace_text.data(), trace_text.size());
    std::_Exit(0);
}

} // namespace

int main(int argc, char** argv) {
    const auto dashes = std::find_if(
        argv, argv + argc, [](const char* word) { return std::strcmp(word, "--") == 0; });
    if (argc < 4 || dashes == argv + argc || dashes + 1 == argv + argc || dashes == argv + 1) {
        std::fprintf(stderr,
                     "usage: injector TRACE [POINT ERROR [always | late]] -- PROGRAM ...\n");
        return 98;
    }
    Point point;
    if (dashes - argv >= 4) {
        const std::string text = argv[2];
        const size_t first = text.find(':');
        const size_t second = text.find(':', first + 1);
        point.role = text.substr(0, first);
        point.number = std::atol(text.c_str() + first + 1);
        point.ordinal = std::atol(text.c_str() + second + 1);
        point.error = std::atoi(argv[3]);
        point.always = dashes - argv >= 5 && std::strcmp(argv[4], "always") == 0;
        point.late = dashes - argv >= 5 && std::strcmp(argv[4], "late") == 0;
    }
    const int trace_file =
        ::open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    int ready[2];
    if (trace_file < 0 || ::pipe2(ready, O_CLOEXEC) != 0) {
        give_up("open the trace");
    }
    const pid_t target = ::getpid();
    const pid_t middle = ::fork();
    if (middle == 0) {
        const pid_t tracer = ::fork();
        if (tracer == 0) {
            ::close(ready[0]);
            ::setsid();
            become_tracer(target, trace_file, ready[1], point);
        }
        std::_Exit(tracer < 0 ? 98 : 0);
    }
    ::close(ready[1]);
    ::waitpid(middle, nullptr, 0);
    char word = 0;
    while (::read(ready[0], &word, 1) < 0 && errno == EINTR) {
    }
    if (word != 'x') {
        give_up("wait for the tracer");
    }
    ::close(ready[0]);
    ::execv(dashes[1], dashes + 1);
    give_up(dashes[1]);
}
