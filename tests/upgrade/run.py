#!/usr/bin/env python3
"""Monitors that are replaced while their containers run, and a check that nobody notices.

    run.py --runtime FILE [--upgrades N] [--only TEXT]
    run.py --runtime FILE --samples DIRECTORY

Two versions of the monitor that MOTE_CONMON names, which differ in the number that they give, are
installed in turn under one path, and SIGUSR2 is sent each time: --upgrades of them in all, shared out
among the cases. Meanwhile the container prints numbered lines on its streams, clients read and type, and
the log is checked afterwards, byte by byte; so are what clients got, what the container got, exit codes,
and the monitor's descriptors. Then what must not be taken for a new version is installed: a program that
is missing, cut off, hanging, crashing, somebody else's. The results are TAP. Needs root for a mount
namespace.

With --samples, what monitors leave for the next version is written to files in a directory: seeds of
tests/fuzz, and what later versions must read, once a layout has been in a tagged version (src/sys/archive.h).
"""

import argparse
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
import engine  # pylint: disable=wrong-import-position
from engine import Wrong, read_bytes, until  # pylint: disable=wrong-import-position

# What has not happened after so long never will. The machine may be busy.
DEADLINE_S = 30.0
MEMORY_CGROUP = "/sys/fs/cgroup/memory"  # of version 1

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "upgrade")

STDOUT, STDERR = 2, 3

VERSION = b"mote 0."
OTHER_VERSION = b"mote 9."

# Lines that a container prints in one go, on one stream: all its numbers, in order.
PRINT = ("n=0; while [ ! -e stop ]; do seq -f {tag}%.0f $n $((n+{count}-1)){to}; n=$((n+{count})); "
         "{pause}; done; echo $n >count-{tag}")


def identity(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino


class Versions:
    """Two versions of the monitor, and the path at which one of them is installed."""

    def __init__(self, monitor):
        self.directory = tempfile.mkdtemp(prefix="mote-versions-")
        program = read_bytes(monitor)
        if VERSION not in program:
            raise Wrong("the monitor does not name its version")
        self.files = []
        for number, content in enumerate([program, program.replace(VERSION, OTHER_VERSION)]):
            self.files.append(self.make(f"version-{number}", content))
        self.installed = os.path.join(self.directory, "conmon")
        self.current = 1
        self.install_next()

    def make(self, name, content, mode=0o755):
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        return path

    def install(self, path):
        """As a package manager does it: by a rename."""
        fresh = self.installed + ".new"
        os.link(path, fresh)
        os.rename(fresh, self.installed)

    def install_next(self):
        self.current = 1 - self.current
        self.install(self.files[self.current])

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class Client(threading.Thread):
    """An attach client that takes what comes, and perhaps types."""

    def __init__(self, start, typed=(), packets=None):
        super().__init__(daemon=True)
        self.packets = packets or engine.Packets(start.bundle)
        self.typed = list(typed)
        self.error = None
        self.start()

    def run(self):
        try:
            while not self.packets.ended:
                self.packets.receive(0.001 if self.typed else 0.05)
                if self.typed and self.packets.send(self.typed[0]):
                    self.typed.pop(0)
        except Wrong as error:
            self.error = error

    def finish(self):
        self.join(DEADLINE_S)
        if self.is_alive():
            raise Wrong("a client does not come to its end")
        if self.error or self.packets.error:
            raise Wrong(f"a client: {self.error or self.packets.error}")


class Life:
    """One monitor and its container."""

    def __init__(self, tools, wants_tty=False):
        self.versions = tools.versions
        self.draw = tools.draw
        self.start = engine.Start(self.versions.installed, tools.runtime)
        self.wants_tty = wants_tty
        self.pid = 0
        self.longest = 0.0  # seconds that an upgrade took
        self.clients = []
        self.start.environment["MOTE_STATE"] = "1"
        if wants_tty:
            self.start.environment["TMPDIR"] = self.start.directory
            self.start.words += ["-t"]

    def container(self, command, before=()):
        """What the container runs, after these lines of the runtime's script."""
        if self.wants_tty:
            self.start.script(*before, "console",
                              "container-tty stty raw -echo opost onlcr; " + command,
                              "pidfile", "exit 0")
        else:
            self.start.script(*before, "container " + command, "pidfile", "exit 0")

    def begin(self):
        """From the start to the monitor's pid."""
        self.start.start()
        if self.start.first_status(DEADLINE_S) != 0:
            raise Wrong(f"the first process: {self.start.read_errors()!r}")
        self.pid = int(read_bytes(f"{self.start.bundle}/conmon.pid"))

    def message(self):
        line = self.start.sync.line(DEADLINE_S)
        if line is None:
            raise Wrong("nothing on the sync pipe")
        return engine.value_of(line)

    def run(self):
        self.begin()
        value, text = self.message()
        if value <= 0:
            raise Wrong(f"no container: {text}")

    def fds(self):
        """What the monitor has open, by kind."""
        kinds = []
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                kind = re.sub(r"\d+", "N", os.readlink(f"/proc/{self.pid}/fd/{name}"))
                with open(f"/proc/{self.pid}/fdinfo/{name}", encoding="ascii") as info:
                    flags = int(re.search(r"flags:\s+(\d+)", info.read()).group(1), 8)
                kinds.append(kind if flags & os.O_CLOEXEC else f"{kind}, inherited")
            except FileNotFoundError:
                pass
        return sorted(kinds)

    def steady_fds(self):
        """The same when it has not changed for a while: whoever connects has been let in."""
        def same():
            found = self.fds()
            time.sleep(0.1)
            return found if found == self.fds() else None
        return until(same, DEADLINE_S)

    def upgrade(self):
        """Install the other version, and wait until the monitor runs it."""
        began = time.monotonic()
        self.versions.install_next()
        wanted = identity(self.versions.installed)
        os.kill(self.pid, signal.SIGUSR2)
        if not until(lambda: self.runs(wanted), DEADLINE_S, 0.0005):
            raise Wrong("the monitor does not run the new version")
        self.longest = max(self.longest, time.monotonic() - began)

    def runs(self, wanted):
        if self.is_over():
            raise Wrong("the monitor has ended")
        try:
            return identity(f"/proc/{self.pid}/exe") == wanted
        except FileNotFoundError:
            return False

    def upgrades(self, count):
        for _ in range(count):
            self.upgrade()
            time.sleep(self.draw.choice([0, 0, 0.001, 0.005, 0.02]))

    def is_over(self):
        fields = engine.stat_fields(self.pid)
        return fields is None or fields[1] == "Z"

    def open_gate(self, name):
        if not self.start.open_gate(name, DEADLINE_S):
            raise Wrong(f"nobody waits at the gate {name}")

    def stop(self):
        """Tell the container to end."""
        self.start.write("stop", "")

    def end(self, code):
        """The monitor's end, and the exit file."""
        if not until(self.is_over, DEADLINE_S):
            raise Wrong("the monitor does not end")
        _, status = os.waitpid(self.pid, 0)
        status = os.waitstatus_to_exitcode(status)
        if status != code & 0xff:
            raise Wrong(f"the monitor ended with {status}, not with {code}")
        written = read_bytes(f"{self.start.exits}/{self.start.cid}")
        if written != b"%d" % code:
            raise Wrong(f"the exit file says {written!r}, not {code}")

    def expected(self, tag):
        """What the container has printed on a stream."""
        count = int(read_bytes(f"{self.start.bundle}/count-{tag}"))
        return b"".join(b"%s%d\n" % (tag.encode(), number) for number in range(count))

    def check_log(self, **streams):
        records = self.start.records()
        for stream, wanted in streams.items():
            check_same(f"the log's {stream}", engine.joined(records, stream), wanted)

    def check_account(self, **wanted):
        """What the monitor has counted, whatever programs it was in turn."""
        names = [name for name in os.listdir(self.start.persist) if name in ("monitor.json", "exec.json")]
        if len(names) != 1:
            raise Wrong(f"the accounts are {names}")
        found = json.loads(read_bytes(f"{self.start.persist}/{names[0]}"))
        told = {name: found.get(name) for name in wanted}
        if told != wanted:
            raise Wrong(f"the account says {told}, not {wanted}")

    def close(self):
        for client in self.clients:
            client.packets.close()
        engine.reap_all(DEADLINE_S)
        self.start.close()


def check_same(what, found, wanted):
    if found == wanted:
        return
    at = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b),
              min(len(found), len(wanted)))
    raise Wrong(f"{what} differ at {at} of {len(wanted)} bytes (there are {len(found)}): "
                f"{found[max(0, at - 40):at + 40]!r} in place of {wanted[max(0, at - 40):at + 40]!r}")


def typed_packets(draw, count):
    return [b"%d " % number + draw.randbytes(draw.choice([1, 100, 4000])).replace(b"\n", b"_") + b"\n"
            for number in range(count)]


# ------------------------------------------------------------------------------------------- the cases


def case_flood(tools, count, wants_tty=False, is_exec=False, pause=":", lines=3000):
    """A flood on the streams, clients that read and type."""
    life = Life(tools, wants_tty)
    try:
        start = life.start
        packets = [packet[:400] if wants_tty else packet for packet in typed_packets(tools.draw, 300)]
        size = sum(map(len, packets))
        start.words += ["-i", "--leave-stdin-open"]
        if is_exec:
            start.exec()
        both = [PRINT.format(tag="o", to="", pause=pause, count=lines)]
        if not wants_tty:
            both.append(PRINT.format(tag="e", to=" >&2", pause=pause, count=lines))
        start.gate("go")
        life.container(f": >ready; exec 3<&0; {{ head -c {size} <&3 >received & }}; : <go; " +
                       " ".join(f"{{ {one}; }} &" for one in both) + " wait; exit 7")
        life.run()
        # Before the terminal is as it shall be, what is typed may be a signal.
        if not until(lambda: os.path.exists(f"{start.bundle}/ready"), DEADLINE_S):
            raise Wrong("the container does not start")
        life.clients = [Client(start, packets), Client(start)]
        life.open_gate("go")
        before = life.steady_fds()
        life.upgrades(count)
        if life.steady_fds() != before:
            raise Wrong(f"descriptors were {before} and are {life.fds()}")
        life.stop()
        for client in life.clients:
            client.finish()
        life.end(7)
        out = life.expected("o")
        err = b"" if wants_tty else life.expected("e")
        if wants_tty:
            out = out.replace(b"\n", b"\r\n")
        life.check_log(stdout=out, stderr=err)
        life.check_account(upgrades=count, stdout_bytes=len(out), stderr_bytes=len(err), clients_ever=2)
        for client in life.clients:
            check_same("a client's stdout", bytes(client.packets.bytes[STDOUT]), out)
            check_same("a client's stderr", bytes(client.packets.bytes[STDERR]), err)
        check_same("what the container got", read_bytes(f"{start.bundle}/received"), b"".join(packets))
        # A monitor that is at work all the time still looks at its signals.
        if life.longest > 0.9:
            raise Wrong(f"an upgrade took {life.longest:.2f} s")
        return f"{count} upgrades, {life.longest * 1000:.0f} ms at most, {len(out) + len(err)} bytes"
    finally:
        life.close()


def case_tty(tools, count):
    return case_flood(tools, count, wants_tty=True, pause="sleep 0.003", lines=300)


def case_exec(tools, count):
    return case_flood(tools, count, is_exec=True)


def case_exec_tty(tools, count):
    return case_flood(tools, count, wants_tty=True, is_exec=True, pause="sleep 0.003", lines=300)


def case_nobody_attached(tools, count):
    """A flood as fast as it can be: large pipes, a log that is rotated."""
    life = Life(tools)
    try:
        start = life.start
        start.options["--log-size-max"] = "20000000"
        start.words += ["--log-rotate", "--log-max-files", "500"]
        life.container(PRINT.format(tag="o", to="", pause=":", count=50_000) + "; exit 3")
        life.run()
        before = life.steady_fds()
        life.upgrades(count)
        if life.steady_fds() != before:
            raise Wrong(f"descriptors were {before} and are {life.fds()}")
        life.stop()
        life.end(3)
        out = life.expected("o")
        life.check_log(stdout=out)
        return f"{count} upgrades, {len(out)} bytes"
    finally:
        life.close()


def case_owed(tools, count):
    """Clients that take nothing: the container stands still, and what they are owed is kept."""
    life = Life(tools)
    try:
        start = life.start
        start.gate("go")
        life.container(": <go; seq 0 99999; seq 0 99999 >&2; exit 4")
        life.run()
        quiet = [engine.Packets(start.bundle), engine.Packets(start.bundle)]
        life.clients = [Client(start)]
        life.open_gate("go")
        if not until(lambda: len(life.clients[0].packets.bytes[STDOUT]) > 100_000, DEADLINE_S):
            raise Wrong("the first client gets nothing")
        life.upgrades(count)
        life.clients += [Client(start, packets=each) for each in quiet]
        for client in life.clients:
            client.finish()
        life.end(4)
        wanted = b"".join(b"%d\n" % number for number in range(100_000))
        life.check_log(stdout=wanted, stderr=wanted)
        for client in life.clients:
            check_same("a client's stdout", bytes(client.packets.bytes[STDOUT]), wanted)
            check_same("a client's stderr", bytes(client.packets.bytes[STDERR]), wanted)
        return f"{count} upgrades"
    finally:
        life.close()


def case_stdin_full(tools, count):
    """What was typed and not yet taken."""
    life = Life(tools)
    try:
        start = life.start
        start.words += ["-i"]
        start.gate("go")
        life.container("exec 3<&0; : <go; cat <&3 >received; exit 5")
        life.run()
        packets = [b"%07d" % number * 4000 for number in range(10)]
        client = engine.Packets(start.bundle)
        for packet in packets[:4]:
            client.send(packet)
        life.upgrades(count)
        life.open_gate("go")
        client.socket.settimeout(DEADLINE_S)
        for packet in packets[4:]:
            client.send(packet)
        client.end_input()
        client.receive_all(DEADLINE_S)
        life.end(5)
        check_same("what the container got", read_bytes(f"{start.bundle}/received"),
                   b"".join(packets))
        return f"{count} upgrades"
    finally:
        life.close()


def case_small_things(tools, count):
    """Halves: of a line, of a command in ctl; a size that comes before the terminal does."""
    life = Life(tools, wants_tty=True)
    try:
        start = life.start
        start.gate("runtime")
        start.gate("go")
        start.gate("on")
        life.container("printf 'one '; : <go; printf 'line\\n'; stty size; : <on; stty size; exit 6",
                       before=["gate runtime"])
        life.begin()
        if not until(lambda: start.control(b"1 11 22\n"), DEADLINE_S):
            raise Wrong("there is no fifo ctl")
        life.upgrades(count)
        life.open_gate("runtime")
        if life.message()[0] <= 0:
            raise Wrong("no container")
        life.upgrades(1)
        life.open_gate("go")
        if not until(lambda: b"11 22" in (read_bytes(start.log) or b""), DEADLINE_S):
            raise Wrong(f"the early size is lost: {read_bytes(start.log)!r}")
        start.control(b"1 33 ")
        time.sleep(0.05)
        life.upgrades(1)
        start.control(b"44\n1 33")
        time.sleep(0.05)
        life.upgrades(count)
        start.control(b"3 0")
        time.sleep(0.05)
        life.open_gate("on")
        life.end(6)
        life.check_log(stdout=b"one line\r\n11 22\r\n33 44\r\n")
        return f"{2 * count + 2} upgrades"
    finally:
        life.close()


def case_creating(tools, count):
    """While the runtime runs: one that succeeds, one that fails after having said why."""
    for code in (0, 1):
        life = Life(tools)
        try:
            start = life.start
            start.gate("runtime")
            start.script("stderr first words, \\n", "container echo out; exit 8", "gate runtime",
                         "stderr last words\\n", "pidfile", f"exit {code}")
            life.begin()
            life.upgrades(count)
            life.open_gate("runtime")
            value, text = life.message()
            if code == 0:
                if value <= 0:
                    raise Wrong(f"no container: {text}")
                life.end(8)
                life.check_log(stdout=b"out\n", stderr=b"first words, \nlast words\n")
                continue
            if value != -1 or text != "first words, \nlast words\n":
                raise Wrong(f"the caller is told {value}, {text!r}")
            if not until(life.is_over, DEADLINE_S):
                raise Wrong("the monitor does not end")
        finally:
            life.close()
    return f"{2 * count} upgrades"


def case_waiting(tools, count):
    """An exec that waits for its caller's word."""
    life = Life(tools)
    try:
        start = life.start
        start.exec()
        start.words += ["--exec-attach"]
        start.has_start_pipe = start.has_attach_pipe = True
        life.container("echo out; exit 9")
        start.start()
        start.go()
        if start.first_status(DEADLINE_S) != 0:
            raise Wrong(f"the first process: {start.read_errors()!r}")
        life.pid = int(read_bytes(f"{start.bundle}/conmon.pid"))
        if start.attach_pipe.line(DEADLINE_S) != b'{"data": 0}':
            raise Wrong("the sockets are not announced")
        client = Client(start)
        life.clients = [client]
        life.upgrades(count)
        start.go()
        if life.message()[0] <= 0:
            raise Wrong("no exec session")
        client.finish()
        value, text = life.message()
        if value != 9:
            raise Wrong(f"the caller is told {value}, {text!r}")
        life.end(9)
        life.check_log(stdout=b"out\n")
        check_same("the client's stdout", bytes(client.packets.bytes[STDOUT]), b"out\n")
        return f"{count} upgrades"
    finally:
        life.close()


def case_draining(tools, count):
    """Signals that come at any moment around the end, also to whoever serves a slow client then."""
    for _ in range(count):
        life = Life(tools)
        try:
            start = life.start
            start.gate("go")
            start.exit_command("record exited")
            life.container(": <go; seq 0 49999; exit 10")
            life.run()
            slow = engine.Packets(start.bundle)
            life.open_gate("go")
            wanted_to = time.monotonic() + tools.draw.uniform(0.0, 0.05)
            while time.monotonic() < wanted_to and not life.is_over():
                life.versions.install_next()
                os.kill(life.pid, signal.SIGUSR2)
                time.sleep(tools.draw.uniform(0.0, 0.004))
            slow.receive(DEADLINE_S)
            for pid in engine.descendants():
                fields = engine.stat_fields(pid)
                if fields and fields[0] == "conmon":
                    os.kill(pid, signal.SIGUSR2)
            if not slow.receive_all(DEADLINE_S):
                raise Wrong("a slow client does not come to its end")
            life.end(10)
            wanted = b"".join(b"%d\n" % number for number in range(50_000))
            life.check_log(stdout=wanted)
            check_same("a slow client's stdout", bytes(slow.bytes[STDOUT]), wanted)
            if not until(lambda: read_bytes(f"{start.bundle}/exited"), DEADLINE_S):
                raise Wrong("the exit command did not run")
            slow.close()
        finally:
            life.close()
    return f"{count} ends"


def case_lingerer(tools, _):
    """SIGUSR2 for the process that serves a slow client after the end."""
    life = Life(tools)
    try:
        start = life.start
        start.gate("go")
        life.container(": <go; exec seq 0 1000000")
        life.run()
        slow = engine.Packets(start.bundle)
        life.open_gate("go")
        quick = Client(start)
        life.clients = [quick]
        # It stands still for the slow one; a signal that ends it leaves that one owed.
        time.sleep(0.3)
        container = int(read_bytes(f"{start.bundle}/pidfile"))
        os.kill(container, signal.SIGKILL)
        life.end(137)
        lingerers = [pid for pid in engine.descendants()
                     if (engine.stat_fields(pid) or [""])[0] == "conmon"]
        if len(lingerers) != 1:
            raise Wrong(f"there are {len(lingerers)} processes that serve the slow client")
        os.kill(lingerers[0], signal.SIGUSR2)
        time.sleep(0.1)
        if not slow.receive_all(DEADLINE_S):
            raise Wrong("the slow client does not come to its end")
        records = life.start.records()
        check_same("the slow client's stdout", bytes(slow.bytes[STDOUT]),
                   engine.joined(records, "stdout"))
        slow.close()
        return f"{len(slow.bytes[STDOUT])} bytes"
    finally:
        life.close()


def case_full_disk(tools, count):
    """The log's disk is full, and has room again."""
    life = Life(tools)
    disk = life.start.path("disk")
    try:
        start = life.start
        os.mkdir(disk)
        engine.mount_tmpfs(disk, "size=64k")
        start.log = f"{disk}/ctr.log"
        start.options["-l"] = f"k8s-file:{start.log}"
        start.gate("go")
        start.gate("on")
        life.container("seq 0 29999; : <go; echo between; : <on; seq 30000 39999; exit 11")
        life.run()
        # A record that did not fit is cut off again.
        if not until(lambda: os.path.exists(start.log) and
                     os.stat(start.log).st_size > 65536 - 2 * (engine.RECORD_HEAD + 6), DEADLINE_S):
            raise Wrong("the disk is not full")
        before = life.steady_fds()
        life.upgrades(count)
        life.open_gate("go")
        life.upgrades(count)
        if life.steady_fds() != before:
            raise Wrong(f"descriptors were {before} and are {life.fds()}")
        if engine.remount_tmpfs(disk, "size=10m") != 0:
            raise Wrong("the disk cannot be made larger")
        life.upgrades(1)
        time.sleep(1.5)  # it is tried again every second
        life.upgrades(count)
        life.open_gate("on")
        life.end(11)
        lines = [int(content) for stream, _, content in start.records()
                 if stream == "stdout" and content != b"between"]
        if lines != sorted(set(lines)):
            raise Wrong("lines are doubled or in another order")
        kept = 65536 // (engine.RECORD_HEAD + 6) - 2
        if lines[:kept] != list(range(kept)):
            raise Wrong(f"the disk's first {kept} lines are not there")
        if lines[-10_000:] != list(range(30_000, 40_000)):
            raise Wrong("lines are missing that came when there was room again")
        return f"{3 * count + 1} upgrades, {40_000 - len(lines)} lines lost to the disk"
    finally:
        engine.unmount(disk)
        life.close()


def case_fifo(tools, count):
    """A log that is a fifo, whose reader takes its time."""
    life = Life(tools)
    try:
        start = life.start
        os.mkfifo(start.log)
        reader = os.open(start.log, os.O_RDONLY | os.O_NONBLOCK)
        start.gate("on")
        life.container("seq 0 99999; : <on; exit 15")
        life.run()
        content = bytearray()

        def take():
            try:
                content.extend(os.read(reader, 20_000))
            except BlockingIOError:
                pass
            return content.endswith(b" 99999\n")
        for _ in range(count):
            life.upgrade()
            take()
        if not until(take, DEADLINE_S, 0):
            raise Wrong(f"the fifo does not get all, but {content[-60:]!r}")
        os.close(reader)
        life.open_gate("on")
        life.end(15)
        check_same("the fifo", engine.joined(engine.parse_k8s(bytes(content)), "stdout"),
                   b"".join(b"%d\n" % number for number in range(100_000)))
        return f"{count} upgrades"
    finally:
        life.close()


def case_unread_fifo(tools, count):
    """A log that is a fifo, whose reader has gone: the container goes on after a while, and stays so."""
    life = Life(tools)
    try:
        start = life.start
        os.mkfifo(start.log)
        start.gate("on")
        life.container("seq 0 99999; echo >ended; seq 0 99999; : <on; exit 16")
        life.run()
        time.sleep(1)
        life.upgrade()
        if not until(lambda: os.path.exists(f"{start.bundle}/ended"), 12):
            raise Wrong("the container is held for ever")
        for _ in range(count - 1):
            life.upgrade()
        begin = time.monotonic()
        life.open_gate("on")
        life.end(16)
        if time.monotonic() - begin > 2:
            raise Wrong("the container was held once more")
        return f"{count} upgrades"
    finally:
        life.close()


def case_timeout(tools, count):
    """An exec that may take two seconds."""
    life = Life(tools)
    try:
        life.start.exec()
        life.start.words += ["-T", "2"]
        life.container("sleep 100")
        began = time.monotonic()
        life.run()
        life.upgrades(count)
        value, text = life.message()
        took = time.monotonic() - began
        if (value, text) != (-1, "command timed out") or not 1.5 < took < 10:
            raise Wrong(f"the caller is told {value}, {text!r} after {took:.1f} s")
        life.end(-1)
        return f"{count} upgrades"
    finally:
        life.close()


class Journal:
    """A journal that takes its time: MESSAGE of every entry."""

    def __init__(self, place="/run"):
        engine.mount_tmpfs(place)
        os.makedirs(f"{place}/systemd/journal")
        self.place = place
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"{place}/systemd/journal/socket")
        self.content = bytearray()

    def take(self, seconds):
        if not select.select([self.socket], [], [], seconds)[0]:
            return False
        datagram = self.socket.recv(1 << 20)
        length = int.from_bytes(datagram[8:16], "little")
        self.content += datagram[16:16 + length]
        return True

    def close(self):
        self.socket.close()
        engine.unmount(self.place)


def case_journal(tools, count):
    """A journal that is full now and then, and a line that comes in pieces."""
    life = Life(tools)
    journal = Journal()
    try:
        start = life.start
        start.options["-l"] = "journald"
        start.gate("go")
        start.gate("on")
        life.container(": <go; seq 0 4999; printf 'half of '; : <on; echo it; exit 12")
        life.run()
        life.open_gate("go")
        for _ in range(count):
            life.upgrade()
            for _ in range(20):
                journal.take(0)
        if not until(lambda: journal.take(0.01) and journal.content.endswith(b"4999\n"), DEADLINE_S, 0):
            raise Wrong("the journal does not get all")
        time.sleep(0.1)
        life.upgrades(2)
        life.open_gate("on")
        life.end(12)
        while journal.take(0.05):
            pass
        check_same("the journal", bytes(journal.content),
                   b"".join(b"%d\n" % number for number in range(5000)) + b"half of it\n")
        return f"{count + 2} upgrades"
    finally:
        journal.close()
        life.close()


def case_notify(tools, count):
    """What the container says to its service manager still gets there."""
    life = Life(tools)
    try:
        start = life.start
        os.mkdir(f"{start.bundle}/notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as host, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as container:
            host.bind(start.path("host"))
            host.settimeout(DEADLINE_S)
            start.words += [f"--sdnotify-socket={start.path('host')}"]
            start.gate("end")
            life.container(": <end; exit 4")
            life.run()
            for number in range(count + 1):
                container.sendto(b"READY=1\nMAINPID=1\n", f"{start.bundle}/notify/notify.sock")
                got = host.recv(4096)
                if got != b"READY=1":
                    raise Wrong(f"the service manager got {got!r} after {number} upgrades")
                if number < count:
                    life.upgrade()
            life.open_gate("end")
            life.end(4)
        return f"{count} upgrades"
    finally:
        life.close()


def case_oom(tools, count):
    """A container that is killed for want of memory (cgroup v1) is still told as such."""
    group = f"{MEMORY_CGROUP}/mote-upgrade-{os.getpid()}"
    os.mkdir(group)
    life = Life(tools)
    try:
        start = life.start
        with open(f"{group}/memory.limit_in_bytes", "w", encoding="ascii") as file:
            file.write("4000000")
        start.gate("moved")
        start.gate("go")
        start.script(f"container echo $$ >{group}/cgroup.procs; : >moved; : <go; exec tail /dev/zero",
                     "gate moved", "pidfile", "exit 0")
        life.run()
        life.upgrades(count)
        if os.path.exists(f"{start.persist}/oom"):
            raise Wrong("there is an oom file before its time")
        life.open_gate("go")
        life.end(137)
        if not os.path.exists(f"{start.persist}/oom"):
            raise Wrong("there is no oom file")
        life.check_account(upgrades=count, oom_events=1)
        return f"{count} upgrades"
    finally:
        life.close()
        until(lambda: not read_bytes(f"{group}/cgroup.procs"), DEADLINE_S)
        os.rmdir(group)


def case_memory(tools, _):
    """An upgraded monitor costs what it cost before."""
    life = Life(tools)
    try:
        life.container("sleep 100")
        life.run()
        sizes = []
        for _ in range(4):
            time.sleep(1.6)
            with open(f"/proc/{life.pid}/status", encoding="utf-8") as file:
                sizes.append(int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)))
            life.upgrade()
        # The stack is at a random place, which makes a difference of two pages.
        if max(sizes[1:]) > min(96, sizes[0] + 8):
            raise Wrong(f"RSS was {sizes[0]} kB and is {sizes[1:]} kB")
        return f"RSS {sizes} kB"
    finally:
        life.close()


def case_refusals(tools, _):
    """What is not a version that can go on: the monitor goes on by itself, and says so once each time."""
    versions = tools.versions
    good = read_bytes(versions.files[0])
    bad = {
        "is missing": None,
        "is empty": versions.make("empty", b""),
        "is cut off": versions.make("cut-off", good[:len(good) // 2]),
        "is a few bytes": versions.make("few", good[:100]),
        "may not be executed": versions.make("no-mode", good, 0o644),
        "succeeds without a word": versions.make("true", b"#!/bin/sh\nexit 0\n"),
        "fails": versions.make("false", b"#!/bin/sh\nexit 1\n"),
        "crashes": versions.make("crash", b"#!/bin/sh\nkill -11 $$\n"),
        "hangs": versions.make("hang", b"#!/bin/sh\nexec sleep 1000\n"),
        "is for another machine": versions.make("machine", good[:18] + b"\xb7\0" + good[20:]),
        "is conmon": "/usr/bin/conmon",
        "says yes and vanishes": versions.make("vanish", b"#!/bin/sh\nrm $0\nexit 86\n"),
    }
    if not os.path.exists("/usr/bin/conmon"):
        del bad["is conmon"]
    log = SystemLog()
    life = Life(tools)
    try:
        start = life.start
        start.words += ["--syslog"]
        for name in ("go", "again", "on"):
            start.gate(name)
        life.container(": <go; echo 1; : <again; echo 2; : <on; exit 13")
        life.run()
        client = Client(start)
        life.clients = [client]
        before = None  # the connection to the system log comes with the first message
        same = identity(f"/proc/{life.pid}/exe")
        kept = versions.installed + ".kept"
        for what, path in bad.items():
            os.rename(versions.installed, kept)
            if path:
                os.symlink(path, versions.installed)
            log.take(0.05)
            os.kill(life.pid, signal.SIGUSR2)
            text = log.wait_for("Failed to upgrade", DEADLINE_S)
            if os.path.lexists(versions.installed):
                os.unlink(versions.installed)
            os.rename(kept, versions.installed)
            if text.count("Failed to upgrade") != 1:
                raise Wrong(f"{what}: it is said more than once: {text!r}")
            before = before or life.steady_fds()
            if identity(f"/proc/{life.pid}/exe") != same or life.steady_fds() != before:
                raise Wrong(f"{what}: descriptors were {before} and are {life.fds()}")
            print(f"#   {what}: {text[text.index('Failed'):].splitlines()[0]}")
        life.open_gate("go")
        life.upgrades(2)
        life.open_gate("again")
        if not until(lambda: b" 2\n" in read_bytes(start.log), DEADLINE_S):
            raise Wrong("the log does not go on")
        life.open_gate("on")
        client.finish()
        life.end(13)
        life.check_log(stdout=b"1\n2\n")
        check_same("the client's stdout", bytes(client.packets.bytes[STDOUT]), b"1\n2\n")
        return f"{len(bad)} refusals"
    finally:
        log.close()
        life.close()


def case_script(tools, _):
    """mote-upgrade, told whom to upgrade: other monitors of this machine are not ours."""
    def upgrade(*words):
        done = subprocess.run([SCRIPT, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=DEADLINE_S, check=False)
        return done.returncode, done.stdout + done.stderr

    def expect(status, *texts):
        found, said = upgrade(*words)
        if found != status or any(text not in said for text in texts):
            raise Wrong(f"{words} ends with {found} and says {said!r}, not {status}, {texts}")

    versions = tools.versions
    life = Life(tools)
    other = os.path.join(versions.directory, "other")
    os.makedirs(other, exist_ok=True)
    stranger = subprocess.Popen([shutil.copy("/bin/sh", f"{other}/conmon"), "-c", "sleep 100; :"])
    try:
        life.start.gate("on")
        life.container(": <on; exit 14")
        life.run()
        me = str(life.pid)
        names = [VERSION.decode(), OTHER_VERSION.decode()]
        old, new = names[versions.current], names[1 - versions.current]
        words = [me]
        expect(0, me, life.start.cid[:12], old, "as installed")
        versions.install_next()
        words = ["--dry-run", me]
        expect(0, old, "another file is installed")
        words = [me]
        expect(0, f"{old}", "-> " + new)
        expect(0, new, "as installed")
        words = ["--force", me]
        expect(0, "-> " + new)
        words = ["--dry-run"]
        expect(0, me)
        words = [str(stranger.pid)]
        expect(1, "is no monitor of mote's")
        if stranger.poll() is not None:
            raise Wrong("who is not mote has been signalled")
        versions.install(versions.make("empty-file", b""))
        words = [me]
        expect(1, new, "still")
        versions.install(versions.files[versions.current])
        expect(0, new, "as installed")
        life.open_gate("on")
        life.end(14)
        return ""
    finally:
        stranger.kill()
        stranger.wait()
        life.close()


def sample_of(life):
    """What a monitor leaves for the next version."""
    sample = f"{life.start.directory}/sample"
    catcher = life.versions.make("catcher", f"#!/bin/sh\ncat >{sample}\n".encode())
    life.versions.install(catcher)
    os.kill(life.pid, signal.SIGUSR2)
    time.sleep(0.5)
    life.versions.install_next()
    return read_bytes(sample)


def sample_pipes(tools):
    """A monitor with a client, input that is not taken, and half a command in ctl."""
    life = Life(tools)
    try:
        life.start.words += ["-i"]
        life.container("echo line; sleep 100")
        life.run()
        client = engine.Packets(life.start.bundle)
        for _ in range(5):
            client.send(b"typed " * 5000)
        life.start.control(b"1 33 ")
        time.sleep(0.5)
        return sample_of(life)
    finally:
        life.close()


def sample_terminal(tools):
    """An exec session on a terminal, half a line, a rate that holds it back, and two clients."""
    life = Life(tools, wants_tty=True)
    try:
        life.start.exec()
        life.start.environment.update({"MOTE_LOG_RATE": "10:100", "MOTE_LOG_EXCESS": "drop"})
        life.start.gate("go")
        life.container(": <go; seq 100; printf half; sleep 100")
        life.run()
        clients = [engine.Packets(life.start.bundle) for _ in range(2)]
        life.open_gate("go")
        time.sleep(0.5)
        sample = sample_of(life)
        for client in clients:
            client.close()
        return sample
    finally:
        life.close()


def sample_owing(tools):
    """A journal that takes nothing, and a client that takes nothing."""
    life = Life(tools)
    journal = Journal()
    try:
        life.start.options["-l"] = "journald"
        life.start.gate("go")
        life.container(": <go; seq 9999 & seq 9999 >&2; sleep 100")
        life.run()
        client = engine.Packets(life.start.bundle)
        life.open_gate("go")
        time.sleep(0.5)
        sample = sample_of(life)
        client.close()
        return sample
    finally:
        journal.close()
        life.close()


def write_samples(tools, directory):
    for name, sample in [("", sample_pipes), ("-terminal", sample_terminal), ("-owing", sample_owing)]:
        with open(f"{directory}/layout-1{name}", "wb") as file:
            file.write(sample(tools))


class SystemLog:
    """/dev/log."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.directory = tempfile.mkdtemp(prefix="mote-log-")
        self.socket.bind(f"{self.directory}/log")
        self.made = not os.path.lexists("/dev/log")
        if self.made:
            os.symlink(f"{self.directory}/log", "/dev/log")

    def take(self, seconds):
        if not select.select([self.socket], [], [], seconds)[0]:
            return ""
        return self.socket.recv(65536).decode()

    def wait_for(self, text, seconds):
        """What comes up to a message with `text`, and a little longer."""
        end = time.monotonic() + seconds
        said = ""
        while text not in said:
            if time.monotonic() > end:
                raise Wrong(f"{text!r} is not said")
            said += self.take(0.1)
        return said + self.take(0.1)

    def close(self):
        self.socket.close()
        if self.made:
            os.unlink("/dev/log")
        shutil.rmtree(self.directory)


CASES = {
    "a flood on both streams, clients that read and type": (29, case_flood),
    "the same on a terminal": (15, case_tty),
    "the same in an exec session": (10, case_exec),
    "the same in an exec session on a terminal": (5, case_exec_tty),
    "a flood without clients into a log that is rotated": (10, case_nobody_attached),
    "clients that take nothing": (5, case_owed),
    "a container that does not take what is typed": (3, case_stdin_full),
    "halves of lines and of commands": (2, case_small_things),
    "while the container is created": (3, case_creating),
    "while an exec waits for its caller": (3, case_waiting),
    "around the end": (3, case_draining),
    "whoever serves a slow client after the end": (0, case_lingerer),
    "while the disk is full": (2, case_full_disk),
    "while the journal is full": (4, case_journal),
    "while a fifo that is the log is full": (3, case_fifo),
    "while nobody reads a fifo that is the log": (2, case_unread_fifo),
    "while an exec has only so much time": (1, case_timeout),
    "a container that talks to a service manager": (3, case_notify),
    "a container that runs out of memory": (3, case_oom),
    "what cannot go on is not executed": (0, case_refusals),
    "an upgraded monitor costs no more memory": (0, case_memory),
    "mote-upgrade tells who runs what and who went on": (0, case_script),
}


if not os.path.exists(f"{MEMORY_CGROUP}/memory.limit_in_bytes"):
    del CASES["a container that runs out of memory"]


class Tools:
    def __init__(self, options):
        self.runtime = os.path.abspath(options.runtime)
        self.draw = random.Random(options.seed)
        self.versions = Versions(os.environ["MOTE_CONMON"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--upgrades", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--samples")
    options = parser.parse_args()
    engine.become_subreaper()
    engine.leave_mount_namespace()
    tools = Tools(options)
    if options.samples:
        write_samples(tools, options.samples)
        return 0
    failed = 0
    chosen = [(name, case) for name, case in CASES.items() if options.only in name]
    for number, (name, (share, case)) in enumerate(chosen, 1):
        began = time.monotonic()
        try:
            said = case(tools, max(1, options.upgrades * share // 100))
            print(f"ok {number} - {name}\n# {said or ''} in {time.monotonic() - began:.1f} s", flush=True)
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            for line in ("".join(traceback.format_exception(error))).splitlines():
                print(f"# {line}")
            print(f"not ok {number} - {name}", flush=True)
    print(f"1..{len(chosen)}")
    tools.versions.close()
    return 1 if failed else 0


sys.exit(main())
