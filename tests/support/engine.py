"""The caller's side of the monitor's contract: what a container engine does, for tests in Python.

A Start is one run of the monitor that MOTE_CONMON names, with a directory of its own, under the
stand-in runtime (tests/fakes/fake_runtime.cpp). Whoever uses it is a child subreaper, so that a
monitor that has forked itself away is its child: become_subreaper() first.
"""

import ctypes
import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
RECORD = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d (stdout|stderr) ([FP]) ")
RECORD_HEAD = 45
PACKET_MAX = 8193

_libc = ctypes.CDLL(None, use_errno=True)


class Wrong(Exception):
    """Something that must hold does not; the text says what."""


def become_subreaper():
    pr_set_child_subreaper = 36
    if _libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def leave_mount_namespace():
    """What is mounted from here on is seen by this process and its children only."""
    clone_newns = 0x00020000
    ms_rec, ms_private = 0x4000, 1 << 18
    if _libc.unshare(clone_newns) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if _libc.mount(b"none", b"/", None, ms_rec | ms_private, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")


def mount_tmpfs(place, options=""):
    if _libc.mount(b"tmpfs", place.encode(), b"tmpfs", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {place}")


def remount_tmpfs(place, options):
    """0, or -1."""
    ms_remount = 32
    return _libc.mount(b"tmpfs", place.encode(), b"tmpfs", ms_remount, options.encode())


def unmount(place):
    mnt_detach = 2
    _libc.umount2(place.encode(), mnt_detach)


def read_bytes(path):
    """The file's bytes; None when there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def until(condition, seconds, pause=0.002):
    """Wait until `condition()` holds; its value, or None after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            return None
        time.sleep(pause)


def stat_fields(pid):
    """Name, state and the numbers after them, of /proc/PID/stat; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    name_end = text.rindex(")")
    return [text[text.index("(") + 1:name_end], *text[name_end + 2:].split()]


def children(pid="self"):
    try:
        with open(f"/proc/{pid}/task/{os.getpid() if pid == 'self' else pid}/children",
                  encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def descendants(pid="self"):
    found = []
    for child in children(pid):
        found.append(child)
        found += descendants(child)
    return found


def ticks(pid):
    """Clock ticks of CPU that the process has used."""
    fields = stat_fields(pid)
    return int(fields[12]) + int(fields[13]) if fields else 0


def parse_k8s(data):
    """[(stream, tag, content)] of a k8s-file; Wrong if anything in it is not a whole record."""
    records = []
    if data and not data.endswith(b"\n"):
        raise Wrong(f"the log ends within a record: {data[-120:]!r}")
    for line in data.split(b"\n")[:-1]:
        match = RECORD.match(line)
        if not match:
            raise Wrong(f"a log line is no record: {line[:160]!r}")
        records.append((match.group(1).decode(), match.group(2).decode(), line[RECORD_HEAD:]))
    return records


def joined(records, stream):
    """The bytes that the container wrote to `stream`, of its records in order."""
    return b"".join(content + (b"\n" if tag == "F" else b"")
                    for name, tag, content in records if name == stream)


class Packets:
    """An attach client. Packets are kept by stream as they come."""

    def __init__(self, bundle, seconds=3.0):
        self.bytes = {2: bytearray(), 3: bytearray()}
        self.ended = False
        self.error = None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(seconds)
        directory = os.open(bundle, os.O_PATH | os.O_DIRECTORY)
        try:
            self.socket.connect(f"/proc/self/fd/{directory}/attach")
        finally:
            os.close(directory)

    def receive(self, seconds):
        """Take one packet. False when none came in time, or none will come."""
        if self.ended:
            return False
        if not select.select([self.socket], [], [], seconds)[0]:
            return False
        try:
            packet = self.socket.recv(PACKET_MAX + 1)
        except OSError as error:
            self.error, self.ended = error, True
            return False
        if not packet:
            self.ended = True
            return False
        if packet[0] not in self.bytes:
            raise Wrong(f"a packet has the stream byte {packet[0]}")
        if not 1 < len(packet) <= PACKET_MAX:
            raise Wrong(f"a packet has {len(packet)} bytes")
        self.bytes[packet[0]] += packet[1:]
        return True

    def receive_all(self, seconds):
        """Take what comes until the end; False when that does not come in time."""
        end = time.monotonic() + seconds
        while not self.ended and time.monotonic() < end:
            self.receive(max(0.0, end - time.monotonic()))
        return self.ended

    def send(self, data):
        try:
            self.socket.send(data)
            return True
        except OSError:
            return False

    def end_input(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.socket.close()


class Lines:
    """One of the caller's pipes, read line by line."""

    def __init__(self, sock):
        self.socket = sock
        self.buffer = b""
        self.ended = False

    def line(self, seconds):
        """The next line without its newline; None at the end or after so many seconds."""
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer and not self.ended:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            self.ended = not data
            self.buffer += data
        if b"\n" not in self.buffer:
            return None
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def rest(self, seconds):
        """The lines up to the end. Wrong when it does not come, or stands within a line."""
        lines = []
        end = time.monotonic() + seconds
        while True:
            line = self.line(max(0.0, end - time.monotonic()))
            if line is None:
                break
            lines.append(line)
        if not self.ended:
            raise Wrong("hang: a pipe of the caller's does not come to its end")
        if self.buffer:
            raise Wrong(f"a message without a newline: {self.buffer[:80]!r}")
        return lines


class Start:
    """One run. Set what is to be different in `options`, `words` and `environment`, then start()."""

    def __init__(self, program, runtime, wrapper=(), parent=None, cid=ID):
        self.program = program
        self.runtime = runtime
        self.wrapper = list(wrapper)
        self.cid = cid
        self.directory = tempfile.mkdtemp(prefix="mote-", dir=parent)
        self.bundle = self.path("b")
        self.exits = self.path("x")
        self.persist = self.path("p")
        self.sockets = self.path("s")
        for directory in (self.bundle, self.exits, self.persist, self.sockets):
            os.mkdir(directory)
        self.log = f"{self.bundle}/ctr.log"
        self.options = {
            "--api-version": "1", "-c": cid, "-u": cid, "-r": runtime, "-b": self.bundle,
            "-p": f"{self.bundle}/pidfile", "-n": "t", "--exit-dir": self.exits,
            "--persist-dir": self.persist, "--full-attach": None,
            "--socket-dir-path": self.sockets, "--conmon-pidfile": f"{self.bundle}/conmon.pid",
            "-l": f"k8s-file:{self.log}"}
        self.words = []
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        self.has_start_pipe = False
        self.has_attach_pipe = False
        self.sync = self.start_pipe = self.attach_pipe = None
        self.first = None
        self.errors = b""
        self.monitor_fds = ()
        self.before_exec = None

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(os.path.join(self.bundle, name), "w", encoding="utf-8") as file:
            file.write(text)

    def script(self, *lines):
        self.write("script", "".join(line + "\n" for line in lines))

    def shell(self, command):
        self.script("container " + command, "pidfile", "exit 0")

    def exec(self):
        self.words += ["--exec", "--exec-process-spec", f"{self.bundle}/script"]

    def exit_command(self, *lines):
        self.write("exit-script", "".join(line + "\n" for line in lines))
        self.words += ["--exit-command", self.runtime, "--exit-command-arg", "script",
                       "--exit-command-arg", f"{self.bundle}/exit-script"]

    def gate(self, name):
        os.mkfifo(os.path.join(self.bundle, name), 0o600)

    def open_gate(self, name, seconds, gives_up=lambda: False):
        """Wait until somebody waits at the gate, and open it. False when nobody does."""
        def opened():
            if gives_up():
                return -1
            try:
                return os.open(os.path.join(self.bundle, name), os.O_WRONLY | os.O_NONBLOCK) + 1
            except OSError as error:
                if error.errno not in (errno.ENXIO, errno.ENOENT):
                    raise
                return 0
        number = until(opened, seconds)
        if number is None or number < 0:
            return False
        os.close(number - 1)
        return True

    def command(self):
        words = [*self.wrapper, self.program]
        for option, value in self.options.items():
            words += [option] if value is None else [option, value]
        return words + self.words

    def start(self):
        passed = []
        environment = dict(self.environment)

        def lend(variable):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            passed.append(theirs)
            environment[variable] = str(theirs.fileno())
            return ours
        self.sync = Lines(lend("_OCI_SYNCPIPE"))
        if self.has_start_pipe:
            self.start_pipe = lend("_OCI_STARTPIPE")
        if self.has_attach_pipe:
            self.attach_pipe = Lines(lend("_OCI_ATTACHPIPE"))
        read_end, write_end = os.pipe()
        self.error_pipe = read_end
        self.first = subprocess.Popen(
            self.command(), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=write_end, pass_fds=[each.fileno() for each in passed] + list(self.monitor_fds),
            cwd="/", preexec_fn=self.before_exec)
        os.close(write_end)
        for each in passed:
            each.close()

    def go(self):
        try:
            self.start_pipe.send(b"x")
        except OSError:
            pass

    def first_status(self, seconds):
        """The status of the process that was started, as of waitstatus_to_exitcode; None: not yet."""
        try:
            return self.first.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def read_errors(self, seconds=1.0):
        """What the first process has said, up to its end or so many seconds."""
        end = time.monotonic() + seconds
        while self.error_pipe is not None:
            if not select.select([self.error_pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                break
            data = os.read(self.error_pipe, 65536)
            if not data:
                os.close(self.error_pipe)
                self.error_pipe = None
            self.errors += data
        return self.errors

    def control(self, text):
        """Write to the ctl fifo. False when there is nobody to read it."""
        try:
            fifo = os.open(f"{self.bundle}/ctl", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            os.write(fifo, text)
            return True
        except OSError:
            return False
        finally:
            os.close(fifo)

    def log_files(self):
        """The names of all files of the log, the oldest first."""
        backups = sorted((int(name.rpartition(".")[2]) for name in os.listdir(self.bundle)
                          if re.fullmatch(r"ctr\.log\.\d+", name)), reverse=True)
        return [f"{self.log}.{number}" for number in backups] + [self.log]

    def records(self):
        """The records of all of them."""
        return [record for name in self.log_files() for record in parse_k8s(read_bytes(name) or b"")]

    def close(self):
        """Give everything back but the processes."""
        for each in (self.sync, self.attach_pipe):
            if each:
                each.socket.close()
        if self.start_pipe:
            self.start_pipe.close()
        if self.error_pipe is not None:
            os.close(self.error_pipe)
            self.error_pipe = None
        shutil.rmtree(self.directory, ignore_errors=True)


def value_of(line):
    """(number, text) of one message of the sync pipe. Wrong if it is not exactly of that form."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise Wrong(f"a message on the sync pipe is no JSON: {line[:200]!r}") from error
    keys = [key for key in message if key != "message"]
    if len(keys) != 1 or keys[0] not in ("data", "pid", "exit_code"):
        raise Wrong(f"a message on the sync pipe has other members: {line[:200]!r}")
    return message[keys[0]], message.get("message", "")


def reap_all(seconds, spared=lambda pid: False):
    """Kill and reap every descendant; their command names. Those that `spared` are let be."""
    names = []
    end = time.monotonic() + seconds
    while True:
        left = [pid for pid in descendants() if not spared(pid)]
        if not left:
            return names
        for pid in left:
            fields = stat_fields(pid)
            if fields and fields[1] != "Z" and fields[0] not in names:
                names.append(fields[0])
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            pass
        if time.monotonic() > end:
            raise Wrong(f"cannot be killed: {left}")
        time.sleep(0.001)
