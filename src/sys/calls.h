// Every system call that we make, by name: the seam for tests. A unit test of a system edge puts
// tests/shadow first on the include path, whose "sys/calls.h" has functions of the same names that
// fail on demand. This works only because all code says sys::name(...) and includes are rooted.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h> // renameat
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

namespace sys {

using ::accept4;
using ::access;
using ::bind;
using ::clone;
using ::close;
using ::connect;
using ::dup2;
using ::epoll_create1;
using ::epoll_ctl;
using ::epoll_wait;
using ::eventfd;
using ::execve;
using ::fchdir;
using ::fcntl;
using ::fstat;
using ::fstatat;
using ::fsync;
using ::ftruncate;
using ::getpagesize;
using ::getpgid;
using ::getpid;
using ::getppid;
using ::getrandom;
using ::getsockopt;
using ::inotify_add_watch;
using ::inotify_init1;
using ::ioctl;
using ::kill;
using ::listen;
using ::madvise;
using ::memfd_create;
using ::mkfifoat;
using ::mmap;
using ::nanosleep;
using ::open;
using ::openat;
using ::pipe2;
using ::poll;
using ::prctl;
using ::pread;
using ::pwrite;
using ::read;
using ::recvmsg;
using ::renameat;
using ::sendmsg;
using ::setsid;
using ::signalfd;
using ::sigprocmask;
using ::sigtimedwait;
using ::socket;
using ::stat;
using ::statfs;
using ::symlink;
using ::syscall;
using ::tcgetattr;
using ::tcsetattr;
using ::umask;
using ::unlink;
using ::unlinkat;
using ::waitid;
using ::waitpid;
using ::write;
using ::writev;

// Some that the C library makes dearer than they are.

// Its getcwd brings malloc into the program.
inline long getcwd(char* buffer, size_t size) {
    return ::syscall(SYS_getcwd, buffer, size);
}

// Its clock_gettime goes through the vDSO, whose page would then count as ours; we read the clock
// twice a turn, for which a system call is cheap enough. 32-bit kernels have other numbers for it.
inline int clock_gettime(clockid_t clock, timespec* now) {
#if __SIZEOF_LONG__ == 8
    return static_cast<int>(::syscall(SYS_clock_gettime, clock, now));
#else
    return ::clock_gettime(clock, now);
#endif
}

// Its fork takes locks, blocks signals and runs handlers for threads that we do not have. The flags
// come first on every processor that we are built for.
inline pid_t fork() {
    return static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

// Its fchmod and fchmodat know flags and kinds of descriptors that we do not use.
inline int fchmod(int fd, mode_t mode) {
    return static_cast<int>(::syscall(SYS_fchmod, fd, mode));
}

inline int fchmodat(int directory, const char* name, mode_t mode) {
    return static_cast<int>(::syscall(SYS_fchmodat, directory, name, mode));
}

// Its sigaction takes locks for the sake of abort. In what the kernel takes, the handler comes
// first on every processor that we are built for, and for these two the rest does not matter.
inline int set_disposition(int signal, void (*ignore_or_default)(int)) {
    struct {
        void (*handler)(int);
        unsigned long others[7];
    } action{ignore_or_default, {}};
    return static_cast<int>(::syscall(SYS_rt_sigaction, signal, &action, nullptr, _NSIG / 8));
}

} // namespace sys
