// Executes the program that MOTE_REAL_CONMON names as on an old kernel: a seccomp filter answers
// ENOSYS to pidfd_open (Linux 5.3), close_range (5.9) and clone3 (5.3), ENOTTY to PIDFD_GET_INFO
// (6.13), and EINVAL to a clone that asks for a pidfd (5.2; really old kernels ignore the flag).
// The filter stays for everything that the program starts.

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr unsigned pidfd_get_info = 0xff00 | 11; // type and number of the request, without its size

constexpr sock_filter load(size_t offset) {
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset));
}

// Answers `error` to the system call `number`, whose number has been loaded.
constexpr std::array<sock_filter, 2> refuse(unsigned number, unsigned error) {
    return {{BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
             BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error)}};
}

constexpr auto pidfd_open = refuse(SYS_pidfd_open, ENOSYS);
constexpr auto close_range_call = refuse(SYS_close_range, ENOSYS);
constexpr auto clone3 = refuse(SYS_clone3, ENOSYS);

std::array filter{
    load(offsetof(seccomp_data, nr)),
    pidfd_open[0],
    pidfd_open[1],
    close_range_call[0],
    close_range_call[1],
    clone3[0],
    clone3[1],
    sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
    load(offsetof(seccomp_data, args[0])),
    sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_PIDFD, 0, 5),
    sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
    sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
    load(offsetof(seccomp_data, args[1])),
    sock_filter BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xffff),
    sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, pidfd_get_info, 1, 0),
    sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
};

} // namespace

int main(int, char** argv) {
    const char* program = std::getenv("MOTE_REAL_CONMON");
    const sock_fprog rules{.len = filter.size(), .filter = filter.data()};
    if (program == nullptr || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &rules) != 0) {
        std::perror("old-kernel");
        return 99;
    }
    argv[0] = const_cast<char*>(program);
    ::unsetenv("MOTE_REAL_CONMON"); // which leaves the text itself in place
    ::execv(program, argv);
    std::perror(program);
    return 99;
}
