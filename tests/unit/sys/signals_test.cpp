// Signals: which are blocked, that they are read in bursts, and that a taken one can be let
// through.

#include "sys/signals.h"
#include "unit/sys/ours.h"

#include <vector>

#include <sys/prctl.h>

namespace {

std::string number(int signal) {
    return std::to_string(signal);
}

// How a copy of this process ends in which `act` has run.
int end_of(const std::function<void()>& act) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        act();
        ::_exit(42);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

} // namespace

TEST_CASE("all signals are blocked but those of faults and of job control") {
    CHECK(unit::in_copy([]() -> std::string {
              ::signal(SIGCHLD, SIG_IGN); // a careless caller's
              (void)sys::block_signals();
              sigset_t mask;
              ::sigprocmask(SIG_SETMASK, nullptr, &mask);
              for (const int open : {SIGSEGV,
                                     SIGBUS,
                                     SIGFPE,
                                     SIGILL,
                                     SIGTRAP,
                                     SIGABRT,
                                     SIGSYS,
                                     SIGTSTP,
                                     SIGTTIN,
                                     SIGTTOU,
                                     SIGCONT,
                                     SIGKILL,
                                     SIGSTOP}) {
                  if (::sigismember(&mask, open) == 1) {
                      return number(open) + " is blocked";
                  }
              }
              for (const int blocked : {SIGTERM,
                                        SIGINT,
                                        SIGQUIT,
                                        SIGHUP,
                                        SIGUSR1,
                                        SIGUSR2,
                                        SIGCHLD,
                                        SIGALRM,
                                        SIGPIPE,
                                        SIGPROF,
                                        SIGVTALRM,
                                        SIGIO,
                                        SIGPWR,
                                        SIGWINCH,
                                        SIGURG,
                                        SIGXCPU,
                                        SIGSTKFLT,
                                        SIGRTMIN,
                                        SIGRTMAX}) {
                  if (::sigismember(&mask, blocked) != 1) {
                      return number(blocked) + " is not blocked";
                  }
              }
              struct sigaction child{};
              ::sigaction(SIGCHLD, nullptr, &child);
              if (child.sa_handler != SIG_DFL) {
                  return "SIGCHLD has no default effect";
              }
              struct sigaction pipe{};
              ::sigaction(SIGPIPE, nullptr, &pipe);
              return pipe.sa_handler == SIG_IGN ? "" : "SIGPIPE is not ignored";
          }) == "");
}

TEST_CASE("the mask that was in force is returned and can be put back") {
    CHECK(unit::in_copy([]() -> std::string {
              sigset_t mine;
              ::sigemptyset(&mine);
              ::sigaddset(&mine, SIGUSR2);
              ::sigprocmask(SIG_SETMASK, &mine, nullptr);
              const sigset_t original = sys::block_signals();
              sys::set_signal_mask(original);
              sigset_t now;
              ::sigprocmask(SIG_SETMASK, nullptr, &now);
              for (int signal = 1; signal < 32; ++signal) {
                  if (::sigismember(&now, signal) != (signal == SIGUSR2 ? 1 : 0)) {
                      return number(signal);
                  }
              }
              return "";
          }) == "");
}

TEST_CASE("pending signals are read one by one, and then none") {
    CHECK(unit::in_copy([]() -> std::string {
              (void)sys::block_signals();
              const auto fd = sys::open_signal_fd();
              if (!fd) {
                  return "no descriptor";
              }
              if (!unit::closes_on_exec(*fd) || !unit::is_nonblocking(*fd)) {
                  return "the descriptor's flags";
              }
              if (sys::next_signal(*fd)) {
                  return "a signal out of nothing";
              }
              std::multiset<int> sent{SIGTERM, SIGHUP, SIGINT, SIGCHLD, SIGUSR1, SIGALRM, SIGRTMAX};
              for (const int signal : sent) {
                  ::kill(::getpid(), signal);
                  ::kill(::getpid(), signal); // merged, except real-time ones
              }
              sent.insert(SIGRTMAX);
              std::multiset<int> got;
              while (const auto signal = sys::next_signal(*fd)) {
                  got.insert(*signal);
              }
              return got == sent ? "" : "others than sent";
          }) == "");
}

TEST_CASE("opening the descriptor of signals may be refused") {
    const auto fd = sys::open_signal_fd();
    CHECK(fd);
}

TEST_CASE("a child's end is waited for, not longer than the deadline, and nothing else disturbs") {
    CHECK(unit::in_copy([]() -> std::string {
              (void)sys::block_signals();
              const sys::Instant start = sys::monotonic_ms();
              ::kill(::getpid(), SIGTERM);
              ::kill(::getpid(), SIGUSR1);
              if (sys::await_child(start + 30)) {
                  return "a child out of nothing";
              }
              if (sys::monotonic_ms() - start < 29) {
                  return "too early";
              }
              if (sys::await_child(start - 5000)) {
                  return "a child in the past";
              }
              const pid_t pid = ::fork();
              if (pid == 0) {
                  ::_exit(0);
              }
              if (!sys::await_child(sys::monotonic_ms() + 5000)) {
                  return "the child's end was missed";
              }
              return "";
          }) == "");
}

TEST_CASE("a signal that is let through has the effect that the original mask gives it") {
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1}) {
        CHECK(end_of([=] {
                  ::prctl(PR_SET_DUMPABLE, 0); // no core
                  sigset_t nothing;
                  ::sigemptyset(&nothing);
                  ::signal(signal, SIG_DFL); // NOLINT
                  ::sigprocmask(SIG_SETMASK, &nothing, nullptr);
                  const sigset_t original = sys::block_signals();
                  sys::let_through(signal, original);
              }) == signal);
    }
    // Ignored, or blocked at the start: the process goes on.
    CHECK(end_of([] {
              ::signal(SIGHUP, SIG_IGN);
              const sigset_t original = sys::block_signals();
              sys::let_through(SIGHUP, original);
          }) == -42);
    CHECK(end_of([] {
              sigset_t blocked;
              ::sigemptyset(&blocked);
              ::sigaddset(&blocked, SIGTERM);
              ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
              const sigset_t original = sys::block_signals();
              sys::let_through(SIGTERM, original);
          }) == -42);
}
