"""A stand-in for CRI-O: its side of the work with the monitor, step by step as CRI-O takes it.

What it passes, in which order it reads, writes and waits, and what it takes for a failure is CRI-O's; the
runtime is a real one. Pods, images, cgroups and the CRI itself are left out. It is the library of
crio_cases.py.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time

DEADLINE_S = 30

# What CRI-O takes of an exec's output, where the monitor can be told.
EXEC_OUTPUT_MAX = 16 * 1024 * 1024

IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100

# The third word of --version, by the rules of semantic versions.
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


class Failure(Exception):
    """What CRI-O would report as an error, with the monitor's words."""


def eventually(holds, what):
    """Wait until `holds()` is true; TimeoutError names `what` otherwise."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.01)


class Watch:
    """Events of files in one directory: created, renamed into place, written."""

    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, directory):
        self.fd = self.libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        wanted = IN_CREATE | IN_MOVED_TO | IN_MODIFY
        if self.libc.inotify_add_watch(self.fd, os.fsencode(directory), wanted) < 0:
            raise OSError(ctypes.get_errno(), directory)

    def names(self):
        """Names that something has happened to since the last call."""
        try:
            events = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        names = []
        while events:
            _, _, _, size = struct.unpack_from("iIII", events)
            names.append(events[16:16 + size].rstrip(b"\0").decode())
            events = events[16 + size:]
        return names

    def await_name(self, wanted):
        eventually(lambda: wanted in self.names(), f"an event of {wanted}")


def start_time(pid):
    """Field 22 of /proc/PID/stat, by which CRI-O knows a process again; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def log_lines(path):
    """(stream, tag, text) of each record, read as CRI-O reads its logs; a bad record is a Failure."""
    records = []
    with open(path, "rb") as file:
        for line in file.read().split(b"\n")[:-1]:
            parts = line.split(b" ", 3)
            if len(parts) != 4 or parts[1] not in (b"stdout", b"stderr") or parts[2] not in (b"P", b"F"):
                raise Failure(f"bad log record: {line[:100]!r}")
            if not re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d", parts[0]):
                raise Failure(f"bad time stamp: {parts[0]!r}")
            records.append((parts[1].decode(), parts[2].decode(), parts[3]))
    return records


def stream_of(path, stream):
    """What was written to a stream, by its records."""
    return b"".join(text + (b"\n" if tag == "F" else b"")
                    for name, tag, text in log_lines(path) if name == stream)


class Container:
    """What CRI-O keeps of one container: its directory, its pids, its log."""

    def __init__(self, crio, name):
        self.crio = crio
        self.id = (name.encode().hex() + "0" * 64)[:64]
        self.name = f"k8s_{name}"
        self.bundle = os.path.join(crio.work, "containers", self.id)
        self.log = os.path.join(crio.work, "logs", name, "0.log")
        self.pid = None
        self.monitor = None
        self.monitor_start = None
        os.makedirs(self.bundle)
        os.makedirs(os.path.dirname(self.log))

    @property
    def attach_socket(self):
        return os.path.join(self.crio.attach_directory, self.id, "attach")

    @property
    def control(self):
        return os.path.join(self.bundle, "ctl")

    def monitor_is_alive(self):
        return start_time(self.monitor) == self.monitor_start

    def attach(self):
        """A connected attach client."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.settimeout(DEADLINE_S)
        client.connect(self.attach_socket)
        return client

    def tell(self, line):
        """Write a line to the control fifo."""
        with open(self.control, "wb", buffering=0) as fifo:
            fifo.write(line)

    def resize(self, rows, columns):
        self.tell(b"1 %d %d\n" % (rows, columns))

    def reopen_log(self):
        """As the kubelet wants it after it has renamed the log; returns when the new one is there."""
        watch = Watch(os.path.dirname(self.log))
        self.tell(b"2 0 0\n")
        watch.await_name(os.path.basename(self.log))
        os.close(watch.fd)

    def start(self):
        self.crio.run_runtime("start", self.id)

    def await_exit(self):
        """The exit code as CRI-O learns it: the event of the exit file, whose name is the ID."""
        path = os.path.join(self.crio.exits, self.id)
        end = time.monotonic() + DEADLINE_S
        while not os.path.exists(path):
            self.crio.exit_events += self.crio.exit_watch.names()
            if time.monotonic() > end:
                raise TimeoutError("the exit file")
            time.sleep(0.01)
        self.crio.exit_events += self.crio.exit_watch.names()
        if self.id not in self.crio.exit_events:
            raise Failure(f"no event of the exit file, only of {self.crio.exit_events}")
        with open(path, encoding="ascii") as file:
            text = file.read()
        if not re.fullmatch(r"-?\d+", text):
            raise Failure(f"the exit file holds {text!r}")
        os.remove(path)
        return int(text)


class Crio:
    """The engine: one monitor program, one runtime, and directories of its own below `work`."""

    def __init__(self, monitor, runtime, rootfs, work):
        self.monitor_program = monitor
        self.runtime = runtime
        self.rootfs = rootfs
        self.work = work
        self.state = os.path.join(work, "state")
        self.exits = os.path.join(work, "exits")
        self.attach_directory = os.path.join(work, "attach")
        for directory in (self.state, self.exits, self.attach_directory):
            os.makedirs(directory)
        self.exit_watch = Watch(self.exits)
        self.exit_events = []
        self.containers = []
        self.version = self.probe()
        # What CRI-O finds out of the version.
        self.has_sync = self.version >= (2, 0, 19)
        self.has_global_size = self.version >= (2, 1, 2)

    def probe(self):
        """The monitor's version, which must be strict, from both of its streams."""
        said = subprocess.run([self.monitor_program, "--version"], stdin=subprocess.DEVNULL, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE_S)
        words = said.stdout.decode().split()
        found = SEMVER.fullmatch(words[2]) if len(words) > 2 else None
        if not found:
            raise Failure(f"no version in {said.stdout!r}")
        return tuple(int(part) for part in found.groups()[:3])

    def run_runtime(self, *words):
        subprocess.run([self.runtime, f"--root={self.state}", *words], stdin=subprocess.DEVNULL, check=True,
                       timeout=DEADLINE_S)

    def configure(self, container, script, terminal=False, change=None):
        """Write the container's config.json. `change` may edit it."""
        subprocess.run([self.runtime, "spec", "--bundle", container.bundle], check=True, timeout=DEADLINE_S)
        path = os.path.join(container.bundle, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config["process"].update(terminal=terminal, args=["/bin/sh", "-c", script], env=["PATH=/bin"])
        config["root"] = {"path": self.rootfs, "readonly": True}
        config["linux"]["cgroupsPath"] = f"/mote-crio-{os.getpid()}-{container.id[:24]}"
        if change:
            change(config)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)

    def environment(self):
        return {"PATH": os.environ["PATH"], "CRI_O_EXTERNAL": "1", "XDG_RUNTIME_DIR": self.work,
                "_OCI_SYNCPIPE": "3", "_OCI_STARTPIPE": "4"}

    def launch(self, arguments, directory, sync, start, **streams):
        """Start the monitor with `sync` and `start` as its descriptors 3 and 4, in a group of its own."""
        # The numbers are made free first, since the two that are given may be 3 and 4 themselves.
        sync, start = (os.dup2(fd, number) for fd, number in ((sync, 100), (start, 101)))

        def place():
            os.setpgid(0, 0)
            os.dup2(sync, 3)
            os.dup2(start, 4)
            # What bats has open is not the monitor's; CRI-O's own descriptors close by themselves.
            os.closerange(5, 256)

        try:
            return subprocess.Popen([self.monitor_program, *arguments], cwd=directory, close_fds=False,
                                    env=self.environment(), preexec_fn=place, **streams)
        finally:
            os.close(sync)
            os.close(start)

    def create(self, name, script, terminal=False, stdin=False, stdin_once=False, change=None,
               log_size_max=None, before_start=None):
        """CreateContainer. `before_start` is called before the monitor gets the word to go on."""
        container = Container(self, name)
        self.containers.append(container)
        self.configure(container, script, terminal, change)
        arguments = [
            "-b", container.bundle, "-c", container.id, "--exit-dir", self.exits, "-l", container.log,
            "--log-level", "info", "-n", container.name,
            "-P", os.path.join(container.bundle, "conmon-pidfile"),
            "-p", os.path.join(container.bundle, "pidfile"), "--persist-dir", container.bundle,
            "-r", self.runtime, "--runtime-arg", f"--root={self.state}",
            "--socket-dir-path", self.attach_directory, "--syslog", "-u", container.id]
        if terminal:
            arguments.append("-t")
        elif stdin:
            arguments.append("-i")
            if not stdin_once:
                arguments.append("--leave-stdin-open")
        if log_size_max is not None:
            arguments += ["--log-size-max", str(log_size_max)]

        parent_sync, child_sync = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        parent_start, child_start = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        errors = subprocess.PIPE if terminal else None
        with parent_sync, parent_start:
            process = self.launch(arguments, container.bundle, child_sync.fileno(), child_start.fileno(),
                                  stdin=subprocess.DEVNULL, stderr=errors)
            child_sync.close()
            child_start.close()
            # Here CRI-O moves the process to its cgroup.
            if before_start:
                before_start(container, process)
            with contextlib.suppress(BrokenPipeError):
                parent_start.sendall(b"\0")
            said = process.communicate(timeout=DEADLINE_S)[1] or b""
            if process.returncode != 0:
                raise Failure(f"the monitor ended with {process.returncode}: {said.decode()}")
            answer = self.read_answer(parent_sync)
        if answer["pid"] == -1:
            raise Failure(answer.get("message", "no message"))
        container.pid = answer["pid"]
        with open(os.path.join(container.bundle, "conmon-pidfile"), encoding="ascii") as file:
            container.monitor = int(file.read())
        container.monitor_start = start_time(container.monitor)
        return container

    @staticmethod
    def read_answer(pipe):
        """The first object that comes through the sync pipe."""
        pipe.settimeout(DEADLINE_S)
        text = b""
        while b"\n" not in text:
            piece = pipe.recv(4096)
            if not piece:
                raise Failure(f"the sync pipe ended after {text!r}")
            text += piece
        return json.loads(text)

    def exec_sync(self, container, words, timeout_s=0, terminal=False):
        """ExecSync: (exit code, stdout, stderr) of a command. The code is -1 after a timeout."""
        scratch = tempfile.mkdtemp(dir=self.work)
        with open(os.path.join(container.bundle, "config.json"), encoding="utf-8") as file:
            process = json.load(file)["process"]
        process.update(args=words, terminal=terminal)
        spec, log, pidfile = (os.path.join(scratch, name) for name in ("spec", "log", "pid"))
        with open(spec, "w", encoding="utf-8") as file:
            json.dump(process, file)
        # These two are made by CRI-O, empty, before the monitor runs.
        for path in (log, pidfile):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        arguments = ["-c", container.id, "-n", container.name, "-r", self.runtime, "-p", pidfile, "-e",
                     "-l", log, "--socket-dir-path", self.attach_directory, "--log-level", "info"]
        if self.has_global_size:
            arguments += ["--log-global-size-max", str(EXEC_OUTPUT_MAX)]
        if self.has_sync:
            arguments.append("--sync")
        if terminal:
            arguments.append("-t")
        if timeout_s:
            arguments += ["-T", str(timeout_s)]
        arguments += ["--exec-process-spec", spec, "--runtime-arg", f"--root={self.state}"]

        read_end, write_end = os.pipe()
        parent_start, child_start = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with parent_start, open(read_end, "rb") as answers:
            monitor = self.launch(arguments, None, write_end, child_start.fileno(),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            os.close(write_end)
            child_start.close()
            with contextlib.suppress(BrokenPipeError):
                parent_start.sendall(b"\0")
            # As Go's Wait: until the process has ended and both of its streams have.
            said = b"".join(monitor.communicate(timeout=DEADLINE_S))
            answer = answers.readline()
        if not answer:
            raise Failure(f"no answer; the monitor ended with {monitor.returncode}: {said.decode()}")
        result = json.loads(answer)
        if result["exit_code"] == -1:
            if result.get("message") == "command timed out":
                return -1, b"", b"command timed out"
            raise Failure(result.get("message", "no message"))
        return result["exit_code"], stream_of(log, "stdout"), stream_of(log, "stderr")

    def stop_scope(self, container):
        """What systemd does to the monitor's scope when the node goes down: KillSignal=SIGPIPE."""
        os.kill(container.monitor, signal.SIGPIPE)

    def clean_up(self):
        """Remove all containers, and wait for their monitors."""
        for container in self.containers:
            subprocess.run([self.runtime, f"--root={self.state}", "delete", "--force", container.id],
                           stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
                           timeout=DEADLINE_S)
        for container in self.containers:
            if container.monitor:
                eventually(lambda one=container: not one.monitor_is_alive(), "the end of a monitor")
