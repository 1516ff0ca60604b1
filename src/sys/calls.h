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
using ::fsync;
using ::ftruncate;
using ::getpagesize;
using ::getpgid;
using ::getpid;
using ::getppid;
using ::getrandom;
using ::getsockopt;
using ::kill;
using ::listen;
using ::madvise;
using ::memfd_create;
using ::mkfifoat;
using ::poll;
using ::pread;
using ::pwrite;
using ::read;
using ::renameat;
using ::setsid;
using ::sigprocmask;
using ::sigtimedwait;
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

// The rest is the C library's for programs that stand in for the kernel under its names
// (tests/fuzz).
#ifdef MOTE_LIBC_CALLS
using ::accept4;
using ::fchdir;
using ::pipe2;
using ::prctl;
using ::signalfd;
using ::socket;
#else
// Its accept4, fchdir, pipe2, signalfd and socket help kernels out that are older than ours may be,
// and its prctl reads arguments that are not there.
inline int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
    return static_cast<int>(::syscall(SYS_accept4, fd, address, size, flags));
}

inline int fchdir(int fd) {
    return static_cast<int>(::syscall(SYS_fchdir, fd));
}

inline int pipe2(int* ends, int flags) {
    return static_cast<int>(::syscall(SYS_pipe2, ends, flags));
}

inline int prctl(int option, unsigned long value) {
    return static_cast<int>(::syscall(SYS_prctl, option, value, 0, 0, 0));
}

inline int signalfd(int fd, const sigset_t* set, int flags) {
    return static_cast<int>(::syscall(SYS_signalfd4, fd, set, _NSIG / 8, flags));
}

inline int socket(int family, int type, int protocol) {
    return static_cast<int>(::syscall(SYS_socket, family, type, protocol));
}
#endif

// Where the kernel's structures are the C library's, as on all 64-bit processors that we are built
// for, there is nothing to translate. What is padding there must be zero in a msghdr and a cmsghdr.
#if __SIZEOF_LONG__ == 8 && defined(SYS_newfstatat) && !defined(MOTE_LIBC_CALLS)
inline int fcntl(int fd, int command, long value = 0) {
    return static_cast<int>(::syscall(SYS_fcntl, fd, command, value));
}

inline int fcntl(int fd, int command, const struct flock* lock) {
#ifdef __GLIBC__
    return ::fcntl(fd, command, lock); // in the tests; on POWER it numbers the commands anew
#else
    return static_cast<int>(::syscall(SYS_fcntl, fd, command, lock));
#endif
}

inline int fstatat(int directory, const char* path, struct stat* status, int flags) {
    return static_cast<int>(::syscall(SYS_newfstatat, directory, path, status, flags));
}

inline int stat(const char* path, struct stat* status) {
    return sys::fstatat(AT_FDCWD, path, status, 0);
}

inline int fstat(int fd, struct stat* status) {
    return static_cast<int>(::syscall(SYS_fstat, fd, status));
}

inline int ioctl(int fd, int request, void* argument) {
    return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
}

inline void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
    return reinterpret_cast<void*>(::syscall(SYS_mmap, at, size, protection, flags, fd, offset));
}

inline int nanosleep(const timespec* time, timespec* left) {
    return static_cast<int>(::syscall(SYS_nanosleep, time, left));
}

inline int openat(int directory, const char* path, int flags, mode_t mode = 0) {
    return static_cast<int>(::syscall(SYS_openat, directory, path, flags, mode));
}

inline int open(const char* path, int flags) {
    return sys::openat(AT_FDCWD, path, flags);
}

inline ssize_t recvmsg(int fd, msghdr* message, int flags) {
    return ::syscall(SYS_recvmsg, fd, message, flags);
}

inline ssize_t sendmsg(int fd, const msghdr* message, int flags) {
    return ::syscall(SYS_sendmsg, fd, message, flags);
}
#else
using ::fcntl;
using ::fstat;
using ::fstatat;
using ::ioctl;
using ::mmap;
using ::nanosleep;
using ::open;
using ::openat;
using ::recvmsg;
using ::sendmsg;
using ::stat;
#endif

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
