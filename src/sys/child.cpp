#include "sys/child.h"

#include "base/text.h"
#include "sys/calls.h"
#include "sys/signals.h"

#include <array>
#include <cerrno>
#include <cstdint>

namespace sys {

using base::Error;
using base::fail;
using base::Failure;
using base::Result;
using base::Text;

namespace {

// waitid(2)'s P_PIDFD is not needed: every child of ours is known by a pid that only we reap.
std::optional<ExitStatus> status_from(const siginfo_t& info) {
    switch (info.si_code) {
    case CLD_EXITED:
        return ExitStatus{ExitStatus::Kind::exited, info.si_status};
    case CLD_KILLED:
    case CLD_DUMPED:
        return ExitStatus{ExitStatus::Kind::signalled, info.si_status};
    default:
        return std::nullopt;
    }
}

ExitStatus status_from_wait_word(int word) {
    if (WIFEXITED(word)) {
        return {ExitStatus::Kind::exited, WEXITSTATUS(word)};
    }
    if (WIFSIGNALED(word)) {
        return {ExitStatus::Kind::signalled, WTERMSIG(word)};
    }
    return {};
}

// struct pidfd_info of <linux/pidfd.h> in its first published size, which newer kernels accept.
struct PidfdInfo {
    uint64_t mask;
    uint64_t cgroup_id;
    uint32_t pid, tgid, ppid;
    uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
    int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr uint64_t pidfd_info_exit = 1U << 3;
constexpr auto pidfd_get_info = static_cast<unsigned long>(_IOWR(0xFF, 11, PidfdInfo));

// The status of a process that somebody else has reaped.
ExitStatus ask_pidfd(FdRef pidfd) {
    PidfdInfo info{};
    info.mask = pidfd_info_exit;
    if (!pidfd.valid() ||
        sys::ioctl(pidfd.number(), static_cast<int>(pidfd_get_info), &info) != 0 ||
        (info.mask & pidfd_info_exit) == 0) {
        return {};
    }
    return status_from_wait_word(info.exit_code);
}

// What the new process leaves for us. The memory is shared until it executes or ends.
struct Attempt {
    const SpawnPlan* plan;
    Text<32> listen_pid;
    Error refusal{.code = 0, .call = ""};
};

[[noreturn]] void give_up(Attempt& attempt, base::Step step) {
    attempt.refusal = {.code = errno, .call = step};
    ::_exit(127);
}

// Runs in the new process, on its own stack but in our memory.
int run_child(void* argument) {
    Attempt& attempt = *static_cast<Attempt*>(argument);
    const SpawnPlan& plan = *attempt.plan;
    if (plan.dies_with_parent) {
        (void)sys::prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    const std::array<FdRef, 3> stdio{
        plan.standard_input, plan.standard_output, plan.standard_error};
    for (int number = 0; number < 3; ++number) {
        const FdRef from = stdio[static_cast<size_t>(number)];
        if (from.valid() && from.number() != number && !place_at(from, number)) {
            give_up(attempt, "set up standard streams");
        }
    }
    set_oom_score_adjustment(plan.oom_score_adjustment);
    if (plan.listen_pid_index) {
        attempt.listen_pid.put("LISTEN_PID=").put_dec(sys::getpid());
        plan.environment[*plan.listen_pid_index] = const_cast<char*>(attempt.listen_pid.c_str());
    }
    set_signal_mask(*plan.signal_mask);
    (void)sys::execve(plan.path, const_cast<char* const*>(plan.arguments), plan.environment);
    give_up(attempt, "execute");
}

// Enough for run_child; measured use is below 1 kB.
constexpr size_t child_stack_size = 8192;

} // namespace

int ExitStatus::code() const {
    switch (kind) {
    case Kind::exited:
        return value;
    case Kind::signalled:
        return 128 + value;
    case Kind::unknown:
        break;
    }
    return -1;
}

Child Child::of_pid(pid_t pid) {
    if (pid <= 0) {
        return {};
    }
    return Child{pid, Fd{static_cast<int>(sys::syscall(SYS_pidfd_open, pid, 0))}};
}

bool Child::is_ours() const {
    siginfo_t info{};
    return known() &&
           sys::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

Result<void> Child::kill(int signal) const {
    if (!known()) {
        return fail(ESRCH, "signal process");
    }
    if (sys::kill(pid_, signal) != 0) {
        return fail(errno, "signal process");
    }
    return {};
}

std::optional<ExitStatus> Child::reap(FdRef pidfd, Patience patience) {
    if (!known()) {
        return ExitStatus{};
    }
    siginfo_t info{};
    if (sys::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) == 0) {
        if (info.si_pid == 0) {
            return std::nullopt;
        }
        pid_ = 0;
        return status_from(info).value_or(ExitStatus{});
    }
    // Not our child. Its pidfd is readable once it has ended and hung up once it is reaped; without
    // one we can only ask whether the pid is still taken.
    if (!pidfd.valid()) {
        if (sys::kill(pid_, 0) == 0 || errno != ESRCH) {
            return std::nullopt;
        }
        pid_ = 0;
        return ExitStatus{};
    }
    pollfd state{.fd = pidfd.number(), .events = POLLIN, .revents = 0};
    if (sys::poll(&state, 1, 0) != 1) {
        return std::nullopt;
    }
    const ExitStatus status = ask_pidfd(pidfd);
    if (status.kind == ExitStatus::Kind::unknown && (state.revents & POLLHUP) == 0 &&
        patience == Patience::waits) {
        return std::nullopt;
    }
    pid_ = 0;
    return status;
}

Result<Child> spawn(const SpawnPlan& plan) {
    Attempt attempt{.plan = &plan, .listen_pid = {}};
    char* const replaced =
        plan.listen_pid_index ? plan.environment[*plan.listen_pid_index] : nullptr;

    // CLONE_VFORK: we go on when the new process has executed or ended, so its stack may lie in
    // ours and its refusal in our memory; no page is copied and no pipe is needed. A kernel before
    // 5.2 ignores CLONE_PIDFD and leaves `pidfd` alone.
    alignas(16) std::array<std::byte, child_stack_size> stack;
    // A sandbox may refuse what it does not know.
    constexpr int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
    int pidfd = -1;
    pid_t pid =
        sys::clone(run_child, stack.data() + stack.size(), flags | CLONE_PIDFD, &attempt, &pidfd);
    if (pid < 0 && (errno == EINVAL || errno == ENOSYS)) {
        pid = sys::clone(run_child, stack.data() + stack.size(), flags, &attempt, &pidfd);
    }
    const int clone_error = errno;
    if (plan.listen_pid_index) {
        plan.environment[*plan.listen_pid_index] = replaced;
    }
    if (pid < 0) {
        return fail(clone_error, "fork");
    }
    Child child{pid, Fd{pidfd}};
    if (attempt.refusal.code != 0) {
        // Only this one: another that has ended may be the container.
        siginfo_t info{};
        (void)sys::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED);
        return Failure{attempt.refusal};
    }
    return child;
}

void set_oom_score_adjustment(std::string_view value) {
    if (value.empty()) {
        return;
    }
    const int fd = sys::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)sys::write(fd, value.data(), value.size());
        (void)sys::close(fd);
    }
}

bool reap_others(pid_t spared) {
    for (;;) {
        siginfo_t info{};
        if (sys::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
            return false;
        }
        if (info.si_pid == spared) {
            return true;
        }
        (void)sys::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
    }
}

void wait_for(pid_t pid) {
    siginfo_t info{};
    do {
        info.si_pid = 0;
        if (sys::waitid(P_ALL, 0, &info, WEXITED) != 0 && errno != EINTR) {
            return;
        }
    } while (info.si_pid != pid);
}

void set_subreaper(bool on) {
    (void)sys::prctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0);
}

} // namespace sys
