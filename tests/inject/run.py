#!/usr/bin/env python3
"""Let each system call of the monitor fail once, in every way that is plausible for it.

    run.py --injector FILE --runtime FILE [--sample N] [--seed N] [--jobs N] [--scenario NAME,...]
           [--always] [--list | --point POINT]

Each scenario is one short life of a container (SCENARIOS below). It is first run a few times without
faults, which lists the calls that are made; a point is the n-th call of one kind in one process.
Then it is run once more for each point and each errno of PLAUSIBLE, and must come to a good end all
the same, which is what judge() says. --sample tries so many of all, chosen by the seed; --always lets
all later calls of the same kind in that process fail too. A point that a run did not come to is tried
again, and if that is of no use counted apart.

Every fault that is found is printed with the command that repeats it. MOTE_CONMON names the monitor.
Needs root (a mount namespace for the journal, cgroup v1 for OOM where there is one) and x86_64.
"""

import argparse
import collections
import dataclasses
import errno
import json
import os
import random
import re
import resource
import signal
import socket
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
import engine  # pylint: disable=wrong-import-position
from engine import Wrong, read_bytes, until  # pylint: disable=wrong-import-position

UNISTD = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"

# The journal's socket in each worker's own mount namespace.
JOURNAL = "/run/systemd/journal/socket"
MEMORY_CGROUP = "/sys/fs/cgroup/memory"

# From when on something that has not happened is a hang. Nothing that is waited for takes longer than
# two seconds even after a fault, but the machine may be busy.
DEADLINE_S = 12.0

# CPU that a run may use beyond that of the fault-free run; a spin uses all there is of the time that
# the container sleeps (SPELL_S).
SPIN_S = 0.1
SPELL_S = 0.2

# What each call may plausibly fail with, among these.
PLAUSIBLE = {
    "EINTR": "open openat read write writev pwrite64 accept4 connect sendmsg recvmsg epoll_wait "
             "epoll_pwait waitid wait4 poll ppoll fsync ftruncate dup2 dup3 statfs close ioctl "
             "getrandom rt_sigtimedwait clone fork vfork pwritev preadv readv",
    "EAGAIN": "read write writev pwrite64 accept4 connect sendmsg recvmsg poll ppoll fork vfork "
              "clone execve mmap getrandom rt_sigtimedwait madvise",
    "ENOMEM": "open openat socket bind accept4 connect sendmsg recvmsg epoll_create1 "
              "signalfd4 fork vfork clone execve mmap madvise rename renameat unlink unlinkat symlink "
              "mknodat mknod fchmod fchmodat stat fstat newfstatat access statfs inotify_init1 "
              "inotify_add_watch eventfd2 memfd_create ioctl pidfd_open close_range poll ppoll "
              "getsockopt getdents64 getcwd readlink listen write writev",
    "EMFILE": "open openat socket accept4 epoll_create1 signalfd4 pipe2 dup2 dup3 "
              "inotify_init1 eventfd2 memfd_create pidfd_open execve close_range",
    "ENOSPC": "open openat write writev pwrite64 bind rename renameat symlink mknodat mknod "
              "fsync inotify_add_watch close ftruncate",
    "EIO": "open openat read pread64 write writev pwrite64 bind execve rename renameat unlink unlinkat "
           "symlink mknodat mknod fchmod fchmodat stat fstat newfstatat access statfs fsync ftruncate "
           "close ioctl getdents64 readlink madvise",
    "EPERM": "open openat write writev pwrite64 socket bind accept4 connect sendmsg fork "
             "vfork clone execve mmap rename renameat unlink unlinkat symlink mknodat mknod fchmod "
             "fchmodat access ftruncate prctl setsid getpgid kill ioctl pidfd_open close_range "
             "listen getsockopt statfs madvise memfd_create",
}

# fcntl(2) fails by its command: F_SETFL of an append-only file, locks, new descriptors, seals.
PLAUSIBLE_FCNTL = {"4": ["EPERM"], "6": ["EAGAIN", "EINTR"], "1030": ["EMFILE", "ENOMEM"],
                   "1033": ["EPERM"]}

# epoll_ctl(2) refuses new interest only, and EPERM is what it says to files that cannot be watched.
PLAUSIBLE_EPOLL_CTL = {"1": ["ENOMEM", "ENOSPC"], "2": [], "3": ["ENOMEM"]}

# Not failed: what cannot fail, and what the C library does before main.
NEVER = {"arch_prctl", "set_tid_address", "exit_group", "exit", "rt_sigaction", "rt_sigprocmask",
         "rt_sigreturn", "umask", "getpid", "clock_gettime", "gettid", "getppid", "nanosleep",
         "mprotect", "brk", "munmap", "sigaltstack", "lseek", "getpgrp"}

# After a failure of one of these the log may lack what the container wrote: the call that reads it or
# writes it, or opens the place that it goes to.
LOSES_RECORDS = {"read", "write", "writev", "sendmsg", "connect", "socket", "openat", "open",
                 "renameat", "poll", "mmap", "memfd_create", "fcntl"}

# After a failure of one of these an attach client may be refused or dropped.
LOSES_CLIENTS = {"accept4", "sendmsg", "recvmsg", "epoll_ctl", "read", "mmap", "fork", "clone"}


# After a failure of one of these the container may have got nothing from its client.
LOSES_INPUT = {"accept4", "recvmsg", "epoll_ctl", "fcntl", "write", "ioctl", "bind", "listen"}


def call_numbers():
    """{name: number} of the system calls of this machine."""
    with open(UNISTD, encoding="ascii") as file:
        return {name: int(number)
                for name, number in re.findall(r"^#define __NR_(\w+)\s+(\d+)", file.read(), re.M)}


NUMBERS = call_numbers()
NAMES = {number: name for name, number in NUMBERS.items()}


@dataclasses.dataclass(frozen=True)
class Point:
    """What is to fail, where and how: SCENARIO/ROLE/CALL/ORDINAL/ERRNO[/always | /late]."""
    scenario: str
    role: str
    call: str
    ordinal: int
    error: str
    mode: str = ""

    @property
    def always(self):
        return self.mode == "always"

    def __str__(self):
        parts = [self.scenario, self.role, self.call, str(self.ordinal), self.error]
        return "/".join(parts + ([self.mode] if self.mode else []))

    @staticmethod
    def parse(text):
        scenario, role, call, ordinal, error, *more = text.split("/")
        return Point(scenario, role, call, int(ordinal), error, *more)


class Scenario:
    """One short life of a container. `code` is its exit code, None when it is never to run."""

    name = ""
    code = 3
    is_exec = False      # a second message, with the exit code, comes on the sync pipe
    is_legacy = False    # ... which is the only one
    is_sync = False
    has_exit_command = True
    closes_early = False # the monitor ends before its clients have all that they are owed
    stdout = b"one\ntwo\n"

    def prepare(self, start):
        """Set the command line and the script."""
        raise NotImplementedError

    def before_container(self, run):
        """What the caller does before it reads the first message."""

    def while_running(self, run):
        """What the caller does when it has read that the container runs."""

    def judge(self, run):
        """What must hold beyond judge()."""


class Create(Scenario):
    """As Podman creates a container that prints two lines."""
    name = "create"

    def prepare(self, start):
        start.has_start_pipe = True
        start.shell(f"echo one; echo two; sleep {SPELL_S}; exit 3")

    def before_container(self, run):
        run.start.go()


class Sync(Scenario):
    """As CRI-O's ExecSync does it: --sync, the old interface, no bundle, an old pid file."""
    name = "exec-sync"
    is_exec = is_legacy = is_sync = True
    has_exit_command = False

    def prepare(self, start):
        for option in ("--api-version", "-b", "-u", "--full-attach", "--socket-dir-path",
                       "--conmon-pidfile", "--persist-dir", "--exit-dir"):
            del start.options[option]
        start.exec()
        start.words += ["--sync"]
        start.write("pidfile", "")
        start.shell(f"echo one; echo two; sleep {SPELL_S}; exit 3")


class Exec(Scenario):
    """An exec session with an attach client, as Podman's."""
    name = "exec-attach"
    is_exec = True

    def prepare(self, start):
        start.exec()
        start.words += ["--exec-attach", "-i"]
        start.has_start_pipe = start.has_attach_pipe = True
        start.shell("read word; echo one; echo two; echo three >&2; exit 3")

    def before_container(self, run):
        run.start.go()
        line = run.start.attach_pipe.line(DEADLINE_S)
        if line not in (b'{"data": 0}', None):
            raise Wrong(f"on the attach pipe: {line!r}")
        run.talk(b"hello\n")
        run.start.control(b"1 24 80\n")
        run.start.go()


class Running(Scenario):
    """Everything a running container without a terminal has: input, control, rotation, two clients."""
    name = "running"
    stdout = b"got hello\n" + b"".join(b"line %d\n" % n for n in range(1, 301)) + b"end\n"

    def prepare(self, start):
        start.options["--log-size-max"] = "4000"
        start.words += ["-i", "--log-rotate", "--log-max-files", "20"]
        del start.options["--full-attach"]
        start.gate("go")
        start.shell(f"read word; echo got $word; : <go; seq -f 'line %g' 1 300; sleep {SPELL_S}; "
                    "echo end; exit 3")

    def while_running(self, run):
        second = run.attach()
        run.talk(b"hello\n")
        run.start.control(b"1 24 80\n2 0 0\nnonsense\n")
        if run.monitor_pid():
            os.kill(run.monitor_pid(), signal.SIGHUP)
        run.open_gate("go")
        if second:
            second.receive(0.01)


class Terminal(Scenario):
    """A container with a terminal, a client that types, and a resize."""
    name = "terminal"
    stdout = b"got hello\r\none\r\n"

    def prepare(self, start):
        start.words += ["-t", "-i"]
        start.environment["TMPDIR"] = start.directory
        # The monitor reads the terminal's settings and writes them back, as conmon does; what is set in between
        # is undone. A real container starts later. Our size comes behind that.
        start.script("console", 'container-tty n=0; until [ "$(stty size)" = "40 120" ] || [ $n = 5 ]; do '
                     "n=$((n+1)); sleep 0.1; done; stty -echo; echo ready >ready; read word; "
                     f"echo got $word; sleep {SPELL_S}; echo one; exit 3", "pidfile", "exit 0")

    def while_running(self, run):
        run.start.control(b"1 40 120\n")

        def is_over():
            # Asked twice: typed before the terminal is ready, the words would be echoed.
            return run.is_over() and not time.sleep(0.1) and run.is_over()
        until(lambda: os.path.exists(f"{run.start.bundle}/ready") or is_over(), DEADLINE_S)
        run.talk(b"hello\n", ends=False)


class Journald(Scenario):
    """Output goes to the journal, one entry too long for a datagram."""
    name = "journald"

    def prepare(self, start):
        start.options["-l"] = "journald"
        start.words += ["--log-tag", "tag"]
        start.shell("echo one; echo two; head -c 300000 /dev/zero | tr '\\0' x; echo; "
                    f"sleep {SPELL_S}; exit 3")

    def judge(self, run):
        if run.point is None:
            entries = [data for data in run.journal if b"\none\n" in data[:40] or
                       b"one\n" in data[:40]]
            if not entries:
                raise Wrong(f"no entry in the journal among {len(run.journal)}")


class Notify(Scenario):
    """A container that says READY=1."""
    name = "notify"

    def prepare(self, start):
        os.mkdir(f"{start.bundle}/notify")
        self.host = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.host.bind(start.path("host"))
        start.words += [f"--sdnotify-socket={start.path('host')}"]
        start.gate("go")
        start.shell(f"echo one; : <go; echo two; sleep {SPELL_S}; exit 3")

    def while_running(self, run):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as container:
            try:
                container.sendto(b"READY=1\nMAINPID=1\n", f"{run.start.bundle}/notify/notify.sock")
            except OSError:
                pass
            self.host.settimeout(0.5)
            try:
                word = self.host.recv(4096)
            except OSError:
                word = None
        self.host.close()
        run.open_gate("go")
        if word not in (b"READY=1", None) or (word is None and run.point is None):
            raise Wrong(f"the service manager heard {word!r}")


class Oom(Scenario):
    """A container that is killed for lack of memory (cgroup v1)."""
    name = "oom"
    code = 137
    stdout = b"one\n"

    def prepare(self, start):
        self.group = f"{MEMORY_CGROUP}/mote-inject-{os.getpid()}"
        os.makedirs(self.group, exist_ok=True)
        with open(f"{self.group}/memory.limit_in_bytes", "w", encoding="ascii") as file:
            file.write("4000000")
        start.gate("moved")
        start.gate("go")
        start.script(f"container echo $$ >{self.group}/cgroup.procs; : >moved; echo one; : <go; "
                     "exec tail /dev/zero", "gate moved", "pidfile", "exit 0")

    def while_running(self, run):
        # As conmon, the monitor watches only after it has told the pid.
        until(lambda: "anon_inode:[eventfd]" in run.targets(), SPELL_S)
        run.open_gate("go")

    def judge(self, run):
        left = f"{run.start.persist}/oom"
        if run.point is None and not os.path.exists(left):
            raise Wrong("no oom file")
        run.later(lambda: until(lambda: remove_group(self.group), 2.0))


def remove_group(path):
    try:
        os.rmdir(path)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        return False


class Drain(Scenario):
    """Much output just before the end, with a client that reads it all."""
    name = "drain"
    size = 120_000
    stdout = b"x" * (size - 1) + b"\n"

    def prepare(self, start):
        start.gate("go")
        start.shell(f": <go; head -c {self.size - 1} /dev/zero | tr '\\0' x; echo; exit 3")

    def while_running(self, run):
        run.attach()
        run.open_gate("go")


class Lingerer(Drain):
    """A client that reads nothing until the monitor has ended."""
    name = "lingerer"
    closes_early = True
    size = 150_000
    stdout = b"x" * (size - 1) + b"\n"


class Failure(Scenario):
    """A runtime that says why it cannot create the container."""
    name = "failure"
    code = None

    def prepare(self, start):
        start.script("stderr the runtime's words\\n", "exit 1")

    def judge(self, run):
        if run.point is None and run.values != [(-1, "the runtime's words\n")]:
            raise Wrong(f"on the sync pipe: {run.values}")


class Killed(Scenario):
    """A container that ends of the signal that the monitor got."""
    name = "signal"
    code = 143

    def prepare(self, start):
        start.shell("echo one; echo two; echo >ready; exec sleep 30")

    def while_running(self, run):
        until(lambda: os.path.exists(f"{run.start.bundle}/ready") or run.is_over(), DEADLINE_S)
        sent = time.monotonic()

        def ended():
            # A signal that could not be passed on is not tried again, as with conmon; we do.
            nonlocal sent
            if run.monitor_pid() and time.monotonic() >= sent:
                sent += 0.5
                try:
                    os.kill(run.monitor_pid(), signal.SIGTERM)
                except ProcessLookupError:
                    pass
            return run.is_over()
        until(ended, DEADLINE_S)


class TimedOut(Scenario):
    """A container that takes longer than it may."""
    name = "timeout"
    code = -1

    def prepare(self, start):
        start.words += ["-T", "1"]
        start.shell("echo one; echo two; sleep 60 & sleep 60")


class Gone(Scenario):
    """A container that has ended before its runtime has."""
    name = "gone"

    def prepare(self, start):
        start.script("container echo one; echo two; exit 3", "wait-container", "pidfile", "exit 0")


class Passthrough(Scenario):
    """The container has the caller's own streams."""
    name = "passthrough"
    stdout = None

    def prepare(self, start):
        start.options["-l"] = "passthrough"
        start.words += ["--sync"]
        start.shell(f"echo one; sleep {SPELL_S}; exit 3")

    is_sync = True


SCENARIOS = {scenario.name: scenario for scenario in (
    Create, Sync, Exec, Running, Terminal, Journald, Notify, Oom, Drain, Lingerer, Failure, Killed,
    TimedOut, Gone, Passthrough)}
if not os.path.exists(f"{MEMORY_CGROUP}/memory.oom_control") and \
        not os.path.exists(f"{MEMORY_CGROUP}/memory.limit_in_bytes"):
    del SCENARIOS["oom"]


# What has gone wrong once. These points are tried always: what must hold, the scenario, the role, the
# call, what it is about, which of those calls (0: all), how it fails, and whether the start must fail.
KNOWN = [
    ("A pid file that cannot be written leaves no container that nobody knows of",
     "create", "first", "write", "conmon.pid", 0, "late", True),
    ("A terminal without a second descriptor fails the start",
     "terminal", "monitor", "fcntl", "1030 /dev/ptmx", 1, "", True),
    ("A terminal that cannot be watched fails the start",
     "terminal", "monitor", "epoll_ctl", "1 /dev/ptmx", 1, "", True),
    ("The end of a container whose pidfd cannot be watched is noticed, though it came first",
     "gone", "monitor", "epoll_ctl", "1 anon_inode:[pidfd]", 0, "", False),
]


class Run:
    """One run of a scenario, with a fault or without."""

    def __init__(self, tools, scenario, point):
        self.scenario = scenario
        self.point = point
        self.tools = tools
        self.start = engine.Start(tools.monitor, tools.runtime)
        self.trace = self.start.path("trace")
        wrapper = [tools.injector, self.trace]
        if point:
            wrapper += [f"{point.role}:{NUMBERS[point.call]}:{point.ordinal}",
                        str(getattr(errno, point.error))]
            if point.mode:
                wrapper += [point.mode]
        self.start.wrapper = wrapper + ["--"]
        self.clients = []
        self.values = []
        self.ends = {}      # by pid, of the processes that are called conmon
        self.cpu_s = {}
        self.journal = []
        self.first = None
        self.container = 0
        self.may_differ = False
        self.to_say = None
        self.known = None
        self.afterwards = []

    # ---------------------------------------------------------------------- what scenarios use

    def attach(self):
        try:
            client = engine.Packets(self.start.bundle)
        except OSError:
            return None
        self.clients.append(client)
        return client

    def talk(self, data, ends=True):
        """Attach and type. A client that is dropped comes again, while there is a monitor."""
        client = self.attach()
        if client:
            client.send(data)
            if ends:
                client.end_input()
        self.to_say = data, ends

    def listen_to_the_end(self):
        """Until each client has its end. What the container was not told is told again, once; if it
        goes on waiting for it, its user stops it."""
        end = time.monotonic() + DEADLINE_S
        patience = [0.5, 0.5, DEADLINE_S]
        told = time.monotonic()
        while not all(client.ended for client in self.clients) or \
                self.to_say and not self.is_over():
            for client in self.clients:
                client.receive(0.02)
            if self.to_say and time.monotonic() > told + patience[0] and not self.is_over():
                told = time.monotonic()
                patience.pop(0)
                if len(patience) == 2:
                    self.talk(*self.to_say)
                elif self.point and self.point.call in LOSES_INPUT:
                    self.kill_container()
                    self.may_differ = True
            if time.monotonic() > end:
                raise Wrong("hang: an attach client gets no end")
            if all(client.ended for client in self.clients):
                time.sleep(0.005)

    def open_gate(self, name):
        return self.start.open_gate(name, DEADLINE_S, self.is_over)

    def monitor_pid(self):
        """The pid of the living monitor, or 0."""
        for pid in self.monitors():
            if pid not in self.ends:
                return pid
        return 0

    def targets(self):
        """What the descriptors of the monitor stand for."""
        directory = f"/proc/{self.monitor_pid()}/fd"
        try:
            return [os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory)]
        except OSError:
            return []

    def is_over(self):
        """Whether there is no monitor any more."""
        self.reap()
        if self.first is None or self.monitors():
            return False
        # The kernel's list of children may miss one while others go.
        pid = int(read_bytes(f"{self.start.bundle}/conmon.pid") or b"0")
        return not self.monitors() and (not pid or self.has_ended(pid))

    def container_pid(self):
        text = read_bytes(f"{self.start.bundle}/pidfile") or b""
        self.container = self.container or int(text or b"0")
        return self.container

    def kill_container(self):
        if self.container_pid():
            try:
                os.kill(self.container, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def later(self, action):
        self.afterwards.append(action)

    # ----------------------------------------------------------------------------- processes

    def monitors(self):
        """Our children that are called conmon and are not reaped yet."""
        return [pid for pid in engine.children()
                if (engine.stat_fields(pid) or [""])[0] == "conmon"]

    def reap(self):
        """Take the ends of all children that have ended, and note those of monitors."""
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            name = (engine.stat_fields(info.si_pid) or ["?"])[0]
            pid, status, usage = os.wait4(info.si_pid, 0)
            code = os.waitstatus_to_exitcode(status)
            if pid == self.start.first.pid:
                self.first = code
                self.start.first.returncode = code
            if name == "conmon":
                self.ends[pid] = code
                self.cpu_s[pid] = usage.ru_utime + usage.ru_stime

    # --------------------------------------------------------------------------------- the run

    def do(self):
        scenario, start = self.scenario, self.start
        if scenario.has_exit_command:
            start.exit_command("mark ran")
        scenario.prepare(start)
        start.start()
        scenario.before_container(self)
        line = None
        if not scenario.is_legacy:
            line = start.sync.line(DEADLINE_S)
            if line is None and not start.sync.ended:
                raise Wrong("hang: nothing on the sync pipe")
            if line is not None:
                self.values.append(engine.value_of(line))
        if line is not None and self.values[0][0] > 0:
            self.container = self.values[0][0]
            scenario.while_running(self)
        elif self.point and self.point.call == "write" and self.container_pid():
            # The message was lost: to a caller this is a failed start, and it ends the container.
            self.kill_container()
            self.may_differ = True
        if scenario.closes_early:
            # Unless too little was taken for the container to come to its end.
            until(lambda: self.has_ended(int(read_bytes(f"{start.bundle}/conmon.pid") or b"0")), 1.0)
        self.listen_to_the_end()
        self.values += [engine.value_of(line) for line in start.sync.rest(DEADLINE_S)]
        self.await_monitor()
        start.read_errors()

    def has_ended(self, pid):
        """Whether one monitor has, or there is no such process."""
        self.reap()
        return pid in self.ends or engine.stat_fields(pid) is None

    def await_monitor(self):
        if not until(self.is_over, DEADLINE_S):
            what = [(pid, self.where(pid)) for pid in self.monitors()]
            if self.first is None:
                what.append("the first process")
            raise Wrong(f"hang: still there: {what}")

    @staticmethod
    def where(pid):
        call = (read_bytes(f"/proc/{pid}/syscall") or b"?").split()[0].decode()
        return NAMES.get(int(call), call) if call.isdigit() else call

    def failed_on(self):
        """What the call that failed was about, as far as that is known."""
        for line in (read_bytes(self.trace) or b"").decode(errors="replace").splitlines():
            if line.startswith("injected"):
                return line.split(" ", 4)[4]
        return None

    def calls(self):
        """{(role, call): count} of a run without a fault."""
        counts = collections.Counter()
        what = {}
        for line in (read_bytes(self.trace) or b"").decode(errors="replace").splitlines():
            role, number, ordinal, _, *rest = line.split(" ", 4)
            name = NAMES.get(int(number), number)
            counts[role, name] = max(counts[role, name], int(ordinal))
            what[role, name, int(ordinal)] = rest[0] if rest else ""
        return counts, what


def judge(run):
    """What must hold of every run, whatever failed once. Raises Wrong."""
    scenario, start, point = run.scenario, run.start, run.point
    call = point.call if point else ""
    killed_by_first = run.first == 1 and b"conmon pidfile" in start.errors
    for pid, code in run.ends.items():
        if code < 0 and not (code == -signal.SIGKILL and killed_by_first):
            raise Wrong(f"crash: a monitor died of signal {-code}")
    if run.first is None or run.first < 0:
        raise Wrong(f"crash: the first process ended with {run.first}")
    for pid, used in run.cpu_s.items():
        if used > run.tools.usual_cpu_s.get(scenario.name, 0.0) + SPIN_S:
            raise Wrong(f"spin: {used:.3f} s of CPU")
    left = [engine.stat_fields(pid) for pid in engine.descendants()]
    left = [fields[0] for fields in left if fields and fields[1] != "Z"]
    if "conmon" in left:
        raise Wrong(f"left over: {left}")

    exit_files = [read_bytes(f"{start.persist}/exit"), read_bytes(f"{start.exits}/{start.cid}")]
    # A message that could not be written is not a failed start.
    run.lost_message = call == "write" and point.error not in ("EINTR", "EAGAIN") and \
        (point.always or (run.failed_on() or "").startswith("socket:"))
    failed = not run.values or run.values[0][0] < 0 and not (scenario.is_exec and run.container)
    if failed and run.lost_message and (any(exit_files) or run.first == scenario.code):
        failed = False
    if failed and scenario.is_legacy and call == "prctl":
        failed = False
    if failed:
        judge_failure(run)
    else:
        if run.known and run.known[1]:
            raise Wrong(f"the start does not fail: {run.values}")
        judge_end(run, call)
    judge_leavings(run, call, failed)
    scenario.judge(run)


def judge_failure(run):
    """The container did not run, as far as the caller knows."""
    scenario, start, point = run.scenario, run.start, run.point
    if point is None and scenario.code is not None and scenario.name != "timeout":
        raise Wrong(f"without a fault: {run.values} {start.errors!r}")
    exit_files = [read_bytes(f"{start.persist}/exit"), read_bytes(f"{start.exits}/{start.cid}")]
    told = [value for value in run.values if value[0] == -1]
    forked = len(run.ends) > 1 or scenario.is_sync
    if len(run.values) > 1 or len(told) != len(run.values):
        raise Wrong(f"more than one message of a failed start: {run.values}")
    if told and not told[0][1]:
        raise Wrong("a failed start is told without a word")
    if any(exit_files):
        raise Wrong(f"an exit file {exit_files} after a failed start: {run.values}")
    if not told:
        # On stderr before the fork; after it on the sync pipe, unless that is what has failed.
        says_it = run.first == 1 and start.errors.strip()
        pipe_failed = run.lost_message or point and point.always
        if not says_it and not pipe_failed:
            raise Wrong(f"a start failed without a word (first process: {run.first}, forked: "
                        f"{forked})")
    if run.first not in (0, 1) and not run.may_differ:
        raise Wrong(f"after a failed start the first process ended with {run.first}")


def judge_end(run, call):
    """The container ran: its exit code is wherever it can be, and its output is kept."""
    scenario, start, point = run.scenario, run.start, run.point
    codes = {scenario.code}
    if scenario.code is None:
        raise Wrong(f"it is said to run: {run.values}")
    places = {}
    if "--persist-dir" in start.options:
        places["persist dir"] = read_bytes(f"{start.persist}/exit")
    if "--exit-dir" in start.options:
        places["exit dir"] = read_bytes(f"{start.exits}/{start.cid}")
    if scenario.is_exec:
        second = run.values[0 if scenario.is_legacy or not run.container else 1:]
        if len(second) > 1:
            raise Wrong(f"too many messages: {run.values}")
        places["sync pipe"] = b"%d" % second[0][0] if second else None
    elif len(run.values) != 1 and not (run.lost_message and not run.values):
        raise Wrong(f"too many messages: {run.values}")
    if scenario.is_sync and run.first is not None:
        places["exit status"] = b"-1" if run.first == 255 else b"%d" % run.first
    missing = [place for place, code in places.items() if code is None]
    if len(missing) > (1 if point else 0) and not (point and point.always):
        raise Wrong(f"the exit code is lost in {missing}")
    if missing and len(missing) == len(places) and not (point and point.always):
        raise Wrong(f"the exit code is lost everywhere: {missing}")
    for place, code in places.items():
        if code is None:
            continue
        if not re.fullmatch(rb"-?\d+", code):
            raise Wrong(f"in the {place}: {code!r}")
        if int(code) not in codes and not run.may_differ and not may_change_code(point):
            raise Wrong(f"a wrong exit code in the {place}: {code!r}")
    if len({code for code in places.values() if code is not None}) > 1:
        raise Wrong(f"different exit codes: {places}")
    judge_output(run, call)


def may_change_code(point):
    """Whether the container itself fares otherwise after this fault: its streams have broken."""
    if point is None:
        return False
    if point.call == "prctl":
        return True  # no subreaper: nobody can tell the status
    return point.role.startswith("spawn") or \
        point.call in ("read", "epoll_ctl", "fcntl", "dup2", "fchmod", "recvmsg", "ioctl")


def judge_output(run, call):
    scenario, start, point = run.scenario, run.start, run.point
    if start.options["-l"].startswith("k8s-file:"):
        logged = engine.joined(run.start.records(), "stdout")
        is_whole = logged == scenario.stdout
        if not is_whole and not (point and (call in LOSES_RECORDS or may_change_code(point) or
                                            run.may_differ)):
            raise Wrong(f"the log is not what was written: {len(logged)} bytes {logged[-60:]!r}")
    if scenario.stdout is None or scenario.name in ("terminal", "running"):
        return
    for client in run.clients:
        got = bytes(client.bytes[2])
        if got != scenario.stdout and not (point and call in LOSES_CLIENTS or run.may_differ or
                                           may_change_code(point)):
            raise Wrong(f"a client got {len(got)} bytes of {len(scenario.stdout)}: {got[-60:]!r}")


def judge_leavings(run, call, failed):
    """No temporary files, no socket; the exit command has run once the runtime was started."""
    scenario, start, point = run.scenario, run.start, run.point
    cleaning_failed = point and (point.call in ("unlink", "unlinkat", "renameat") or point.always)
    for directory in (start.exits, start.persist):
        odd = [name for name in os.listdir(directory) if name not in ("exit", "oom", start.cid)]
        if odd and not cleaning_failed:
            raise Wrong(f"left behind: {odd}")
    if not failed and not cleaning_failed:
        odd = [name for name in (f"{start.bundle}/attach", f"{start.sockets}/{start.cid}")
               if os.path.lexists(name)]
        odd += [name for name in os.listdir(start.bundle)
                if re.fullmatch(r"(conmon\.pid|ctr\.log)\.[A-Za-z0-9]{3,}", name)]
        if odd:
            raise Wrong(f"left behind: {odd}")
    if scenario.has_exit_command and (not failed or scenario.code is None):
        started = not failed or run.point is None
        cannot = point and (point.role.startswith("spawn") or point.call in ("clone", "vfork"))
        if started and not cannot and not (point and point.always) and \
                not os.path.exists(f"{start.bundle}/ran"):
            raise Wrong("the exit command was not run")


# ---------------------------------------------------------------------------------------- workers

class Journal:
    """The journal's socket of this process's mount namespace."""

    def __init__(self):
        engine.leave_mount_namespace()
        os.makedirs("/run/systemd", exist_ok=True)
        engine.mount_tmpfs("/run/systemd")
        os.mkdir("/run/systemd/journal")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(JOURNAL)
        self.entries = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            data, fds, _, _ = socket.recv_fds(self.socket, 1 << 18, 4)
            for fd in fds:
                os.close(fd)
            self.entries.append(data)

    def take(self):
        taken, self.entries = self.entries, []
        return taken


def try_point(tools, name, point, journal, known=None):
    """("ok" | "not reached" | "wrong", what is wrong, the run). `known`: what the call is about, and
    whether the start must fail."""
    for _ in range(8 if known else 3):
        run = Run(tools, SCENARIOS[name](), point)
        run.known = known
        wrong = ""
        calls = None
        try:
            try:
                run.do()
                run.journal = journal.take()
                judge(run)
                for action in run.afterwards:
                    action()
            except (Wrong, OSError) as error:
                wrong = f"{error}" if isinstance(error, Wrong) else traceback.format_exc()
        finally:
            for client in run.clients:
                client.close()
            # The tracer writes its trace when all that it traces has ended.
            until(lambda: not [pid for pid in engine.children()
                               if (engine.stat_fields(pid) or [""])[0] == "injector"], 1.0)
            if point is None and not wrong:
                calls = run.calls()
            about = run.failed_on()
            reached = point is None or about is not None
            said = run.start.errors
            engine.reap_all(5.0)
            journal.take()
            run.start.close()
        if known and known[0] not in (about or ""):
            continue  # the calls came in another order
        if wrong:
            return "wrong", f"{wrong}  [{run.values} {said[:200]!r}]", calls, run
        if reached:
            return "ok", "", calls, run
    return "not reached", "", None, run


def work(tools, points, known, number, jobs, out):
    """A worker: every `jobs`-th point from `number` on. Results are lines of JSON."""
    engine.become_subreaper()
    journal = Journal()
    for at in range(number, len(points), jobs):
        point = points[at]
        outcome, wrong, _, _ = try_point(tools, point.scenario, point, journal, known.get(point))
        out.write(json.dumps([at, outcome, wrong]) + "\n")
        out.flush()


def list_calls(tools, names):
    """{scenario: ({(role, call): count}, {(role, call, ordinal): what})}, without faults."""
    journal = Journal()
    found = {}
    for name in names:
        counts, what = collections.Counter(), {}
        cpu_s = []
        for _ in range(3):
            outcome, wrong, calls, run = try_point(tools, name, None, journal)
            if outcome != "ok":
                raise SystemExit(f"scenario {name} fails without any fault: {wrong}")
            cpu_s += run.cpu_s.values()
            for key, count in calls[0].items():
                counts[key] = max(counts[key], count)
            what.update(calls[1])
        tools.usual_cpu_s[name] = max(cpu_s)
        found[name] = counts, what
    return found


def errors_of(call, what):
    """What a call may plausibly fail with; `what` it is about begins with its command."""
    command = what.split(" ")[0]
    if call == "fcntl":
        return PLAUSIBLE_FCNTL.get(command, [])
    if call == "epoll_ctl":
        return PLAUSIBLE_EPOLL_CTL.get(command, [])
    return [error for error, calls in PLAUSIBLE.items() if call in calls.split()]


def points_of(name, counts, what, always):
    """All that can fail in a scenario, in the order of the calls' names."""
    points = []
    for (role, call), count in sorted(counts.items()):
        # A container that is never let be signalled does not end of a signal.
        if call in NEVER or (always and call == "kill" and name == Killed.name):
            continue
        for n in range(1, count + 1):
            for error in errors_of(call, what.get((role, call, n), "")):
                if not always or error not in ("EINTR", "EAGAIN"):  # which no kernel says for ever
                    points.append(Point(name, role, call, n, error, "always" if always else ""))
    return points


def in_child(function):
    """Run `function` in a child with namespaces of its own; what it returns, by way of a pipe."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        status = 1
        try:
            engine.become_subreaper()
            with os.fdopen(write_end, "w", encoding="utf-8") as out:
                function(out)
            status = 0
        except SystemExit as end:
            print(end, flush=True)
        except BaseException:  # pylint: disable=broad-except
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(write_end)
    return pid, os.fdopen(read_end, encoding="utf-8")


@dataclasses.dataclass
class Tools:
    monitor: str
    runtime: str
    injector: str
    usual_cpu_s: dict


def find_calls(tools, names):
    def function(out):
        found = list_calls(tools, names)
        out.write(json.dumps([tools.usual_cpu_s, [
            [name, [[*key, count] for key, count in counts.items()],
             [[*key, text] for key, text in what.items()]]
            for name, (counts, what) in found.items()]]))
    pid, pipe = in_child(function)
    text = pipe.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit(1)
    tools.usual_cpu_s, found = json.loads(text)
    return {name: ({(role, call): count for role, call, count in counts},
                   {(role, call, n): text for role, call, n, text in what})
            for name, counts, what in found}


def known_points(found):
    """{what must hold: its points}, and {point: (what the call is about, the start must fail)}"""
    groups, known = {}, {}
    for name, scenario, role, call, about, which, mode, fails in KNOWN:
        if scenario not in found:
            continue
        what = found[scenario][1]
        ordinals = sorted(n for (r, c, n), text in what.items()
                          if (r, c) == (role, call) and about in text)
        if which:
            ordinals = ordinals[which - 1:which]
        points = [Point(scenario, role, call, n, error, mode)
                  for n in ordinals for error in errors_of(call, what[role, call, n])]
        for point in points:
            # What is only a delay is borne.
            known[point] = about, fails and point.error not in ("EINTR", "EAGAIN")
        groups[name] = points
    return groups, known


def run_all(tools, points, known, jobs):
    """{point: (outcome, wrong)}"""
    results = dict.fromkeys(points, ("not run", ""))
    points = list(results)
    workers = [in_child(lambda out, n=n: work(tools, points, known, n, jobs, out))
               for n in range(jobs)]
    for _, pipe in workers:
        for line in pipe:
            at, outcome, wrong = json.loads(line)
            results[points[at]] = outcome, wrong
            if outcome == "wrong":
                print(f"# {points[at]}: {wrong}", flush=True)
    for pid, _ in workers:
        if os.waitpid(pid, 0)[1] != 0:
            print("# a worker has died", flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--injector", required=True)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--scenario", default="")
    parser.add_argument("--always", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--point", action="append", default=[])
    options = parser.parse_args()
    monitor = os.environ.get("MOTE_CONMON", "")
    if not os.access(monitor, os.X_OK) or os.path.basename(monitor) != "conmon":
        raise SystemExit("MOTE_CONMON names no program called conmon")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tools = Tools(monitor, os.path.abspath(options.runtime), os.path.abspath(options.injector), {})

    chosen = [Point.parse(text) for text in options.point]
    names = options.scenario.split(",") if options.scenario else list(SCENARIOS)
    if chosen:
        names = list(dict.fromkeys(point.scenario for point in chosen))
    started = time.monotonic()
    found = find_calls(tools, names)
    if options.list:
        for name, (counts, what) in found.items():
            for (role, call), count in sorted(counts.items()):
                for n in range(1, count + 1):
                    print(name, role, call, n, what.get((role, call, n), ""))
        return 0
    points = list(chosen)
    known_groups, known = known_points(found)
    if not points:
        for name, (counts, what) in found.items():
            points += points_of(name, counts, what, options.always)
        total = len(points)
        points.sort(key=str)
        random.Random(options.seed).shuffle(points)
        if options.sample:
            points = points[:options.sample]
        print(f"# seed {options.seed}: {len(points)} of {total} points in {len(names)} scenarios",
              flush=True)
    groups = {f"{name}: any one system call may fail": [p for p in points if p.scenario == name]
              for name in names}
    if not chosen and not options.always:
        groups.update(known_groups)
        points = points + list(known)
    results = run_all(tools, points, known if not chosen else {}, options.jobs)
    return report(options, groups, results, time.monotonic() - started)


def report(options, groups, results, seconds):
    """Print a line for each group of points, in TAP's form; the status."""
    print(f"1..{len(groups)}")
    failed = 0
    for number, (name, points) in enumerate(groups.items(), 1):
        count = collections.Counter(results[point][0] for point in points)
        # A group of which nothing was reached has shown nothing.
        bad = count["wrong"] + count["not run"] + (count["ok"] == 0)
        failed += bad != 0
        print(f"{'not ' if bad else ''}ok {number} - {name} ({count['ok']} faults borne, "
              f"{count['wrong']} not, {count['not reached']} not reached)")
        for point in points:
            outcome, wrong = results[point]
            if outcome in ("wrong", "not run"):
                print(f"# {point}: {wrong.strip().splitlines()[-1] if wrong else outcome}")
                print(f"#   MOTE_CONMON={os.environ['MOTE_CONMON']} {sys.argv[0]} --injector "
                      f"{options.injector} --runtime {options.runtime} --point {point}")
    count = collections.Counter(outcome for outcome, _ in results.values())
    print(f"# {len(results)} points in {seconds:.0f} s: {count['ok']} borne, {count['wrong']} not, "
          f"{count['not reached']} not reached")
    return 1 if failed else 0


sys.exit(main())
