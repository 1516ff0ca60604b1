#!/usr/bin/env python3
"""Random lives of containers, and a model that knows what must come of each.

    run.py --runtime FILE [--seconds N] [--seed N] [--jobs N] [--life N,...]

A life is drawn from the seed and its number alone: how the container is started, what it prints at
what rate, on a terminal or not, how it ends, what is done with its log, and who attaches and reads,
stalls, types or vanishes when. In some lives the disk is small, the monitor has 64 descriptors or a
megabyte of memory, is stopped for a while, gets signals, or a flood on its ctl fifo. In some the output
goes to a stand-in for journald, which stands still or is restarted; in some the clocks jump, by hours
or by a century (clocks.py); in some the container is real, started by runc (real.py), and now and then
killed for want of memory. Afterwards every log line, stamp, journal entry, packet, message, exit code
and file is checked against the model, and that nothing is left: no process, descriptor, file or socket.

A life that goes wrong is printed with the command that lives it again. What is drawn is the same then,
on a machine that has runc and lets clocks jump alike; how it interleaves is up to the machine.
MOTE_CONMON names the monitor. Needs root for a mount namespace.
"""

import argparse
import collections
import datetime
import errno
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zoneinfo

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
import engine  # pylint: disable=wrong-import-position
from engine import Wrong, read_bytes, until  # pylint: disable=wrong-import-position
import clocks  # pylint: disable=wrong-import-position
import journal  # pylint: disable=wrong-import-position
import real  # pylint: disable=wrong-import-position

# What has not happened after so long never will. The machine may be busy.
DEADLINE_S = 30.0

MEMORY_CGROUP = "/sys/fs/cgroup/memory"
MEMORY_LIMIT = 1 << 20

# Idle clients that a monitor is left alone with when it has few descriptors.
CROWD = 70

# CPU that a monitor may use while nothing happens.
IDLE_S = 0.15
IDLE_TICKS = 1

# What a clock may be set to: the beginning, the end of 32 bits, a leap day, what the kernel takes.
TIMES_S = [1, 2 ** 31 - 1, 2 ** 32 - 1, 4107542399, 7200000000]
JUMPS_S = [-0.5, 0.5, -3600, 3600, -86_400, 86_400 * 200, -86_400 * 3000]
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Chatham", "Asia/Kolkata"]
# How far CLOCK_MONOTONIC is ahead: its milliseconds pass the ends of 31, 32 and 40 bits.
UPTIMES_MS = [2 ** 31, 2 ** 32, 2 ** 40]

STDOUT, STDERR = 2, 3
STREAMS = {STDOUT: "stdout", STDERR: "stderr"}


class Draw(random.Random):
    """The choices of one life."""

    def happens(self, percent):
        return self.random() * 100 < percent

    def text(self, size, kinds=()):
        """About so many bytes, in lines of one kind; `kinds` are beside the usual ones."""
        kind = self.choice(["short", "medium", "long", "huge", "empty", "binary", *kinds])
        lines, length = [], 0
        while length < size:
            if kind == "short":
                line = b"%d" % self.randrange(10 ** self.randrange(1, 8))
            elif kind == "medium":
                line = bytes(self.choices(b"abcdefghij klmnop", k=self.randrange(40, 200)))
            elif kind == "long":
                line = b"%d:" % self.randrange(1000) + b"L" * self.randrange(1000, 9000)
            elif kind == "huge":
                line = b"%d:" % self.randrange(1000) + b"H" * self.randrange(9000, 60000)
            elif kind == "empty":
                line = b"" if self.happens(80) else b"x"
            elif kind == "priority":
                line = b"<%d>%d" % (self.choice([0, 1, 2, 4, 5, 7, 8]), self.randrange(10 ** 6))
                line += b"p" * (20_000 if self.happens(10) else 0)
            else:
                line = self.randbytes(self.randrange(1, 300))
            lines.append(line)
            length += len(line) + 1
        text = b"\n".join(lines)
        return text if self.happens(15) else text + b"\n"


class Client:
    """One attach client, its habits, and what it is owed: all of the output, or what comes from now."""

    def __init__(self, life, kind, typed=()):
        self.kind = kind              # reader, slow, staller, vanisher, typist, idler
        self.sees_all = not life.is_open
        self.packets = engine.Packets(life.start.bundle)
        self.packets.socket.setblocking(False)
        self.to_type = list(typed)
        self.reads = kind in ("reader", "slow", "typist", "vanisher")
        self.read_again_at = 0.0
        self.closed = False

    def wants_to_read(self, now):
        return not self.closed and not self.packets.ended and self.reads and \
            now >= self.read_again_at

    def wants_to_type(self):
        return not self.closed and not self.packets.ended and bool(self.to_type)

    def type(self):
        try:
            self.packets.socket.send(self.to_type[0])
        except BlockingIOError:
            return
        except OSError:
            self.to_type = []
            return
        self.to_type.pop(0)

    def close(self):
        if not self.closed:
            self.closed = True
            self.packets.close()


class Life:
    """One container from start to end."""

    def __init__(self, tools, seed, number):
        self.number = number
        self.tools = tools
        self.draw = Draw(f"{seed}/{number}")
        self.start = engine.Start(tools.monitor, tools.runtime, cid=f"{number:012x}" + "c" * 52)
        self.clients = []
        self.events = []          # (when after the opening, what)
        self.expected = {STDOUT: b"", STDERR: b""}
        self.typed = b""
        self.is_open = False      # the container prints, or may
        self.is_cut = False       # the log has been replaced: its beginning may be missing
        self.disk = self.group = None
        self.container = self.clocks = self.journal = None
        self.loses_entries = False
        self.wants_oom = False
        self.renamed = []
        self.values = []
        self.pid = 0
        self.status = None
        self.note = []
        self.choose()

    # ----------------------------------------------------------------------------- what is drawn

    def choose(self):
        draw, start = self.draw, self.start
        self.asks_account = False
        self.mode = draw.choices(["create", "exec", "sync", "fails", "early", "timeout"],
                                 [60, 15, 10, 5, 7, 3])[0]
        self.tty = self.mode in ("create", "exec") and draw.happens(20)
        self.has_stdin = self.mode in ("create", "exec") and draw.happens(45)
        self.code, self.dies = draw.choice([
            (0, "exit 0"), (1, "exit 1"), (7, "exit 7"), (255, "exit 255"), (126, "exit 126"),
            (137, "kill -9 $$"), (134, "kill -6 $$"), (141, "kill -13 $$")])
        self.is_real = self.mode in ("create", "exec") and self.tools.runc and draw.happens(12)
        self.note += [self.mode, "tty" if self.tty else "", "-i" if self.has_stdin else "",
                      "runc" if self.is_real else ""]
        self.has_exit_command = draw.happens(50)
        # On a busy machine anybody may seem to stall; then who types must not be.
        self.stall_ms = 200 if draw.happens(15) and not self.has_stdin else 0
        self.few_descriptors = self.mode == "create" and not self.is_real and draw.happens(6)
        self.little_memory = self.mode == "create" and not self.is_real and \
            self.tools.has_memory_cgroup and draw.happens(6)
        self.jumps = self.tools.can_jump and not self.is_real and draw.happens(15)
        if draw.happens(30):
            start.has_start_pipe = True
        if draw.happens(30):
            start.words += ["--log-level", draw.choice(["debug", "error", "trace"])]
        if draw.happens(20):
            start.words += ["--no-sync-log"]
        if draw.happens(40):
            del start.options["--full-attach"]
        if self.stall_ms:
            start.environment["MOTE_ATTACH_STALL_MS"] = str(self.stall_ms)
        self.choose_log()
        self.choose_container()
        if not self.waits and sum(map(len, self.expected.values())) > 4000:
            # At the end the journal gets three seconds for all that there is. It may be slow, on a
            # busy machine.
            self.loses_entries = True
        if self.jumps:
            self.choose_clocks()
        if self.mode not in ("fails", "early", "timeout"):
            self.choose_company()
        self.events.sort(key=lambda event: event[0])

    def choose_log(self):
        draw, start = self.draw, self.start
        self.log = draw.choices(["plain", "none", "renamed", "limited", "rotated", "global", "full",
                                 "journal", "both"], [32, 6, 14, 11, 11, 5, 11, 5, 5])[0]
        if self.few_descriptors and self.log in ("journal", "both"):
            self.log = "plain"  # a journal is connected to when there is something for it
        if self.little_memory:
            # cgroup v1 kills for pages of a log that are on their way to the disk, whoever has them.
            self.log = draw.choice(["none", "limited", "global"])
        self.has_journal = self.log in ("journal", "both")
        self.note.append(self.log)
        self.record_max = draw.choice([256, 1000, 65536]) if draw.happens(10) else 16384
        if self.record_max != 16384:
            start.environment["MOTE_LOG_RECORD_MAX"] = str(self.record_max)
        if self.has_journal:
            self.choose_journal()
        elif self.log == "none":
            start.options["-l"] = "none"
        elif self.log == "limited":
            sizes = [9000] if self.little_memory else [9000, 30_000, 200_000]
            start.options["--log-size-max"] = str(draw.choice(sizes))
        elif self.log == "rotated":
            start.options["--log-size-max"] = str(draw.choice([9000, 30000, 200_000]))
            self.backups = draw.choice([1, 3, 20])
            start.words += ["--log-rotate", "--log-max-files", str(self.backups)]
        elif self.log == "global":
            start.options["--log-global-size-max"] = str(draw.choice(
                [100, 20_000] if self.little_memory else [100, 20_000, 300_000]))
        elif self.log == "full":
            self.disk = start.path("disk")
            os.mkdir(self.disk)
            engine.mount_tmpfs(self.disk, f"size={draw.choice([16, 64, 256])}k")
            start.log = f"{self.disk}/ctr.log"
            start.options["-l"] = f"k8s-file:{start.log}"

    def choose_journal(self):
        draw, start = self.draw, self.start
        if self.log == "journal":
            start.options["-l"] = "journald"
        else:
            start.words += ["-l", "journald"]
        tag = draw.choice(["", "", "a tag", "t"])
        labels = draw.choice([[], ["A=b"], ["LABEL_1=some words", "B="]])
        if self.log == "both":
            tag, labels = "", []  # which a k8s-file refuses
        if tag:
            start.words += ["--log-tag", tag]
        for label in labels:
            start.words += ["--log-label", label]
        self.expectation = journal.Expectation(start.cid, "t", tag, labels, self.record_max)

    def choose_clocks(self):
        """How far ahead the monotonic clock is, where the machine is, and when its clocks jump."""
        draw = self.draw
        ahead_s = 0
        if draw.happens(60):
            now_ms = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 10 ** 6
            ahead_s = (draw.choice(UPTIMES_MS) - now_ms) // 1000 + draw.randrange(2)
        self.clocks = clocks.JumpingClocks(max(0, ahead_s))
        self.zone = draw.choice(ZONES)
        self.start.environment["TZ"] = self.zone
        for _ in range(draw.choice([1, 3, 20])):
            when = draw.uniform(0.0, 0.5)
            kind = draw.choice(["to", "by", "by", "sleep"])
            if kind == "to":
                seconds = draw.choice(TIMES_S) - draw.choice([0.0, 0.1])
                self.at(when, lambda seconds=seconds: self.clocks.jump_to(seconds))
            elif kind == "by":
                seconds = draw.choice(JUMPS_S)
                self.at(when, lambda seconds=seconds: self.jump(seconds))
            elif not self.has_journal:
                # A journal that takes nothing is given up after so many seconds.
                seconds = draw.choice([1, 3600, 86_400 * 40])
                self.at(when, lambda seconds=seconds: self.clocks.sleep(seconds))
        self.note.append("jumps")

    def jump(self, seconds):
        """Not to before 1970, where no clock can be set to."""
        if self.clocks.now_ns(time.CLOCK_REALTIME) / 10 ** 9 + seconds > 0:
            self.clocks.jump(seconds)

    def choose_container(self):
        """Its script, and what it prints."""
        draw, start = self.draw, self.start
        words = []
        if self.mode == "sync":
            for option in ("--api-version", "-b", "-u", "--full-attach", "--socket-dir-path",
                           "--conmon-pidfile"):
                start.options.pop(option, None)
            start.words += ["--sync"]
        if self.mode in ("exec", "sync"):
            start.exec()
        if self.has_stdin:
            start.words += ["-i"]
            packets = [draw.randbytes(draw.choice([1, 10, 1000, 8192, 32768]))
                       for _ in range(draw.randrange(1, 12))]
            if self.tty:
                # A terminal in raw mode still takes a few kilobytes at a time only.
                packets = [draw.randbytes(draw.randrange(1, 500)) for _ in packets]
            self.packets = packets
            self.typed = b"".join(packets)
            # Without this, any client that leaves ends the container's input, as with conmon.
            self.stays_open = self.tty or draw.happens(50)
            if self.stays_open:
                start.words += ["--leave-stdin-open"]
            taker = f"head -c {len(self.typed)}" if self.stays_open else "cat"
            words.append(f"{{ {taker} <&3 >received & taker=$!; }}")
        words.append(": <go" if self.mode not in ("early", "timeout") else ":")
        for number in range(draw.choice([0, 1, 1, 2, 3, 6])):
            stream = draw.choice([STDOUT, STDOUT, STDERR])
            size = draw.choice([10, 500, 4000, 30_000, 70_000, 300_000, 1_500_000])
            most = 40_000 if self.mode == "early" or self.has_journal else size
            text = draw.text(min(size, most), ["priority"] if self.has_journal else [])
            if self.has_journal:
                # So that the stream of an entry can be told by its priority.
                text = text.replace(b"<", b"(") if stream == STDERR and not self.tty else \
                    text.replace(b"<3>", b"<2>")
            with open(f"{start.bundle}/c{number}", "wb") as file:
                file.write(text)
            words.append(f"cat c{number}" + (" >&2" if stream == STDERR else ""))
            if draw.happens(40):
                words.append(f"sleep 0.0{draw.randrange(1, 10)}")
            if self.tty:
                self.expected[STDOUT] += text.replace(b"\n", b"\r\n")
            else:
                self.expected[stream] += text
        if self.has_stdin:
            words.append("wait $taker")
        if self.mode == "timeout":
            words.append("sleep 60")
            start.words += ["-T", "1"]
            self.code = -1
        self.waits = self.mode in ("create", "exec") and draw.happens(60)
        if self.waits:
            words.append(": >written; : <end")
            start.gate("end")
        start.gate("go")
        if self.is_real:
            self.choose_real(words)
            return
        container = "exec 3<&0; " + "; ".join(words + [self.dies])
        if self.tty:
            start.environment["TMPDIR"] = start.directory
            start.words += ["-t"]
            start.script("console", "container-tty stty raw -echo opost onlcr; " + container,
                         "pidfile", "exit 0")
        elif self.mode == "fails":
            self.words = draw.choice(["no such image\\n", "", "x" * 3000])
            start.script("container " + container, f"stderr {self.words}" if self.words else "",
                         f"exit {draw.randrange(1, 100)}")
        elif self.mode == "early":
            start.script("container " + container, "wait-container", "pidfile", "exit 0")
        else:
            start.script("container " + container, "pidfile", "exit 0")
        if self.has_exit_command:
            start.exit_command("mark ran")

    def choose_real(self, words):
        """The same container, of runc's."""
        draw, start = self.draw, self.start
        self.container = real.Container(self.tools.runc, start, self.number)
        dies = self.dies
        self.is_killed = False
        if self.mode == "create":
            # The first process of a pid namespace does not die of signals from within.
            self.wants_oom = draw.happens(25)
            if self.wants_oom:
                self.code, dies = 137, "exec dd if=/dev/zero of=/dev/null bs=200M count=1"
                self.note.append("oom")
            elif dies.startswith("kill") or draw.happens(20):
                self.code, dies, self.is_killed = 137, ": >written; exec sleep 1000", True
                self.note.append("killed")
        script = ("stty raw -echo opost onlcr; " if self.tty else "") + "exec 3<&0; " + \
            "; ".join(words + [dies])
        if self.tty:
            start.environment["TMPDIR"] = start.directory
            start.words += ["-t"]
        if self.mode == "exec":
            self.container.write_exec(script, self.tty)
        else:
            self.container.write(script, self.tty, self.wants_oom)
        if self.has_exit_command:
            start.exit_command("mark ran")

    def choose_company(self):
        """Who attaches when, and what else happens to the monitor."""
        draw = self.draw
        has_sockets = self.mode != "sync"
        count = draw.choice([0, 0, 1, 1, 2, 4]) if has_sockets else 0
        for _ in range(count):
            kind = draw.choice(["reader", "reader", "slow", "staller", "vanisher"])
            if kind == "vanisher" and self.has_stdin and not self.stays_open:
                kind = "reader"
            when = -1.0 if draw.happens(60) else draw.uniform(0.0, 0.4)
            self.at(when, lambda kind=kind: self.attach(kind))
        if self.has_stdin:
            self.at(-1.0 if draw.happens(50) else draw.uniform(0.0, 0.3),
                    lambda: self.attach("typist", self.packets))
        if self.few_descriptors and not self.has_stdin:
            self.at(draw.uniform(0.0, 0.2), self.attach_crowd)
            self.note.append("64-fds")
        if self.little_memory:
            self.note.append("1-MB")
        if draw.happens(15):
            pause = draw.uniform(0.05, 0.4)
            when = draw.uniform(0.0, 0.3)
            self.at(when, lambda: self.signal(signal.SIGSTOP))
            self.at(when + pause, lambda: self.signal(signal.SIGCONT))
            self.note.append("stopped")
        for _ in range(draw.choice([0, 0, 0, 5])):
            number = draw.choice([signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE,
                                  signal.SIGCHLD, signal.SIGWINCH])
            self.asks_account = self.asks_account or number == signal.SIGUSR1
            self.at(draw.uniform(0.0, 0.4), lambda number=number: self.signal(number))
        if has_sockets and draw.happens(30):
            lines = "".join(draw.choice([
                f"1 {draw.randrange(1200)} {draw.randrange(1200)}\n", "1 24 80\n", "9 0 0\n", "\n",
                "nonsense\n", "x" * 300 + "\n"]) for _ in range(draw.choice([1, 30, 2000])))
            for _ in range(draw.choice([1, 5])):
                self.at(draw.uniform(0.0, 0.3), lambda: self.flood(lines.encode()))
            self.note.append("flood")
        if self.has_journal and draw.happens(40):
            when = draw.uniform(0.0, 0.3)
            self.at(when, lambda: self.journal.stand_still())
            self.at(when + draw.uniform(0.05, 1.0), lambda: self.journal.go_on())
            # At the end of a container the journal is not waited for as long as it may take.
            self.loses_entries = not self.waits
            self.note.append("still")
        if self.has_journal and draw.happens(25):
            self.at(draw.uniform(0.0, 0.4), lambda: self.journal.restart())
            self.loses_entries = True
            self.note.append("restarted")
        if self.log == "renamed":
            for _ in range(draw.randrange(1, 6)):
                by_signal = draw.happens(40) or not has_sockets
                self.at(draw.uniform(0.0, 0.4), lambda by=by_signal: self.rename_log(by))

    def at(self, when, what):
        self.events.append((when, what))

    # ------------------------------------------------------------------------------ what is done

    def attach(self, kind, typed=()):
        try:
            self.clients.append(Client(self, kind, typed))
        except OSError as error:
            if error.errno == errno.EAGAIN and self.few_descriptors:
                return  # nor is there room to wait in, behind the crowd
            # The socket goes shortly before the monitor does, if that is not stopped.
            self.signal(signal.SIGCONT)
            if not until(self.is_over, 5.0):
                raise Wrong(f"cannot attach: {error}") from error
            return
        client = self.clients[-1]
        if kind == "vanisher":
            self.later(self.draw.uniform(0.0, 0.3), client.close)
        elif kind == "staller":
            def resume():
                client.reads = True
            self.later(self.draw.uniform(0.1, 0.8), resume)

    def later(self, seconds, what):
        self.pending.append((time.monotonic() + seconds, what))

    def attach_crowd(self):
        """More clients than there are descriptors; they leave together. Who waits is let in then."""
        for _ in range(CROWD):
            try:
                client = Client(self, "idler")
            except OSError:
                break
            client.reads = True
            self.clients.append(client)
            self.later(0.3, client.close)

    def signal(self, number):
        if self.pid and not self.is_over():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def flood(self, lines):
        for _ in range(20):
            if not self.start.control(lines[:4000]):
                return

    def rename_log(self, by_signal):
        """As the kubelet does it: away with the file, and the word to make a new one. Not before the
        word given last has been obeyed, or the order of the files is lost."""
        log = self.start.log
        if not os.path.exists(log) or self.is_over():
            return
        name = f"{log}-{len(self.renamed)}"
        os.rename(log, name)
        self.renamed.append(name)
        if by_signal:
            self.signal(signal.SIGHUP)
        else:
            self.start.control(b"2 0 0\n")

    # ----------------------------------------------------------------------------------- the life

    def is_over(self):
        """Whether the monitor has ended; takes its status."""
        self.reap()
        return self.status is not None

    def reap(self):
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            pid, status = os.waitpid(info.si_pid, 0)
            code = os.waitstatus_to_exitcode(status)
            if pid == self.start.first.pid:
                self.start.first.returncode = code
            if pid == self.pid:
                self.status = code

    def live(self):
        start = self.start
        def before_exec():
            if self.few_descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            if self.clocks:
                self.clocks.before_exec()
        start.before_exec = before_exec
        if self.has_journal:
            self.journal = journal.Journal()
        if self.container and self.mode == "exec" and not self.container.hold():
            raise Wrong("runc does not run a container to execute in")
        start.start()
        if self.clocks:
            self.clocks.serve()
        self.pending = []
        if start.has_start_pipe:
            start.go()
        if self.mode == "sync":
            self.pid = start.first.pid
        else:
            if start.first_status(DEADLINE_S) != 0:
                raise Wrong(f"the first process ended with {start.first.returncode}: "
                            f"{start.read_errors()[:300]!r}")
            text = read_bytes(f"{start.bundle}/conmon.pid")
            self.pid = int(text)
            line = start.sync.line(DEADLINE_S)
            if line is None:
                raise Wrong("nothing on the sync pipe")
            self.values.append(engine.value_of(line))
        if self.mode == "fails":
            if self.values[0][0] != -1:
                raise Wrong(f"a failing runtime is told as {self.values}")
        elif self.mode != "sync" and self.values[0][0] <= 0:
            raise Wrong(f"no container: {self.values}")
        self.run_events()
        self.await_end()

    def run_events(self):
        """The life between the first message and the monitor's end."""
        if self.mode in ("fails", "early", "timeout"):
            return
        early = [what for when, what in self.events if when < 0]
        late = [event for event in self.events if event[0] >= 0]
        for what in early:
            what()
        if self.container and self.mode == "create" and not self.container.run():
            raise Wrong("runc does not start the container")
        if self.few_descriptors or self.little_memory:
            self.settle()
        if self.little_memory:
            self.limit_memory()
        # Clients that have connected are served from the monitor's next turn on; it must have come
        # before the container prints.
        self.settle()
        base = self.count_fds()
        self.is_open = True
        if not self.start.open_gate("go", DEADLINE_S, self.is_over):
            raise Wrong("the container does not come to its start")
        opened = time.monotonic()
        while late or self.pending:
            now = time.monotonic()
            if late and late[0][0] <= now - opened:
                late.pop(0)[1]()
                continue
            for each in [each for each in self.pending if each[0] <= now]:
                self.pending.remove(each)
                each[1]()
            self.serve(0.02)
        end = time.monotonic() + DEADLINE_S
        if self.waits:
            while not os.path.exists(f"{self.start.bundle}/written") and not self.is_over():
                self.serve(0.02)
                if time.monotonic() > end:
                    raise Wrong("hang: the container cannot write all that it has")
            if self.has_journal and not self.loses_entries:
                self.await_entries()
            self.check_quiet(base)
            self.start.open_gate("end", DEADLINE_S, self.is_over)
        if self.container and self.is_killed:
            def has_written():
                self.serve(0.02)
                return os.path.exists(f"{self.start.bundle}/written")
            if not until(has_written, DEADLINE_S):
                raise Wrong("hang: the container does not come to its last word")
            self.container.kill()

    def await_entries(self):
        """Until the journal has what is whole lines: at the end it gets a short time only."""
        wanted = sum(not is_part for stream, text in self.expected.items()
                     for _, _, is_part in journal.entries_of(text, stream, self.record_max))

        def has_all():
            self.serve(0.02)
            return len(self.journal.datagrams) >= wanted or self.is_over()
        if not until(has_all, DEADLINE_S):
            raise Wrong(f"hang: {len(self.journal.datagrams)} of {wanted} entries have come")

    def settle(self):
        """Wait until the monitor sleeps in epoll_wait with nothing to do."""
        def sleeps():
            fields = engine.stat_fields(self.pid)
            return fields is None or fields[1] == "S"
        for _ in range(3):
            until(sleeps, 1.0)
            time.sleep(0.004)

    def limit_memory(self):
        self.group = f"{MEMORY_CGROUP}/mote-chaos-{os.getpid()}"
        os.makedirs(self.group, exist_ok=True)
        for name, value in (("memory.limit_in_bytes", MEMORY_LIMIT), ("cgroup.procs", self.pid)):
            with open(f"{self.group}/{name}", "w", encoding="ascii") as file:
                file.write(str(value))

    def count_fds(self):
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        except OSError:
            return 0

    def check_quiet(self, base):
        """All has been written. Once the clients that leave have left, no descriptor is too many, and
        no CPU is used."""
        for client in self.clients:
            if client.kind in ("vanisher", "idler"):
                client.close()
        attached = [client for client in self.clients
                    if not client.closed and not client.packets.ended]
        late = [client for client in attached if not client.sees_all]
        most = base + len(late) + 1  # a log that is full is watched by a descriptor more
        if self.has_journal:
            most += 1

        def quiet():
            self.serve(0.01)
            return self.is_over() or self.count_fds() <= most
        if not until(quiet, 5.0):
            names = collections.Counter(os.readlink(f"/proc/{self.pid}/fd/{fd}").split(":")[0]
                                        for fd in os.listdir(f"/proc/{self.pid}/fd"))
            raise Wrong(f"descriptors: {self.count_fds()}, at most {most} of them in use: {names}")
        if self.draw.happens(30):
            if not until(self.is_idle, 5.0):
                raise Wrong(f"spin: no {IDLE_S} s of quiet")

    def is_idle(self):
        """Whether the monitor uses no CPU while nothing happens. (What the container has written may
        still be on its way to a log.)"""
        used = engine.ticks(self.pid)
        end = time.monotonic() + IDLE_S
        while time.monotonic() < end:
            self.serve(0.05)
        return engine.ticks(self.pid) - used <= IDLE_TICKS

    def serve(self, seconds):
        """Let clients read and type for a moment."""
        now = time.monotonic()
        readers = {client.packets.socket: client for client in self.clients
                   if client.wants_to_read(now)}
        typists = {client.packets.socket: client for client in self.clients
                   if client.wants_to_type()}
        if not readers and not typists:
            time.sleep(seconds)
            return
        can_read, can_type, _ = select.select(list(readers), list(typists), [], seconds)
        for sock in can_type:
            typists[sock].type()
        for sock in can_read:
            client = readers[sock]
            for _ in range(16):
                if not client.packets.receive(0.0):
                    break
            if client.kind == "slow":
                client.read_again_at = now + self.draw.uniform(0.0, 0.02)
        for client in self.clients:
            # What has been typed is ended once, where somebody waits for the end.
            if client.kind == "typist" and not client.to_type and not client.closed and \
                    not getattr(client, "has_ended_input", False):
                client.has_ended_input = True
                if not self.tty:
                    client.packets.end_input()

    def await_end(self):
        end = time.monotonic() + DEADLINE_S
        while True:
            now = time.monotonic()
            for each in [each for each in self.pending if each[0] <= now]:
                self.pending.remove(each)
                each[1]()
            self.serve(0.02)
            if self.is_over() and not self.pending and \
                    all(client.closed or client.packets.ended for client in self.clients):
                break
            if now > end:
                left = [client.kind for client in self.clients
                        if not client.closed and not client.packets.ended]
                raise Wrong(f"hang: the monitor has ended: {self.status}, clients left: {left}")
        self.values += [engine.value_of(line) for line in self.start.sync.rest(DEADLINE_S)]

    # ----------------------------------------------------------------------------------- the model

    def check(self):
        start = self.start
        failed = self.mode == "fails"
        status = 1 if failed else self.code & 0xff
        if self.status == -signal.SIGKILL and self.was_killed_for_memory():
            # Without the right to an oom_score_adj of -1000 a monitor is as good a victim as any.
            self.note.append("killed-by-the-kernel")
            return
        if self.status != status:
            raise Wrong(f"the monitor ended with {self.status}, not {status}")
        code = None if failed else b"%d" % self.code
        for place in (f"{start.persist}/exit", f"{start.exits}/{start.cid}"):
            if read_bytes(place) != code:
                raise Wrong(f"{place}: {read_bytes(place)!r}, not {code!r}")
        self.check_messages()
        if self.has_exit_command and not os.path.exists(f"{start.bundle}/ran"):
            # It has no more memory than the monitor.
            if not self.was_killed_for_memory():
                raise Wrong("the exit command was not run")
            self.note.append("exit-command-killed-by-the-kernel")
        if self.container and self.wants_oom != os.path.exists(f"{start.persist}/oom"):
            raise Wrong(f"{'no' if self.wants_oom else 'an'} oom file")
        if not failed:
            self.check_log()
            self.check_stamps()
            self.check_journal()
            self.check_clients()
            if self.typed and read_bytes(f"{start.bundle}/received") != self.typed:
                got = read_bytes(f"{start.bundle}/received") or b""
                raise Wrong(f"the container got {len(got)} of {len(self.typed)} bytes of input, "
                            f"{'as typed' if self.typed.startswith(got) else 'wrong ones'}")
        self.check_leavings()

    def was_killed_for_memory(self):
        text = read_bytes(f"{self.group}/memory.oom_control") if self.group else None
        return text is not None and b"oom_kill 0" not in text and b"oom_kill " in text

    def check_messages(self):
        told = "command timed out" if self.mode == "timeout" else ""
        if self.mode == "fails":
            words = self.words.replace("\\n", "\n")
            if len(self.values) != 1 or (words and self.values[0][1] != words) or \
                    not self.values[0][1]:
                raise Wrong(f"the runtime's words {words!r} are told as {self.values}")
        elif self.mode == "sync":
            if self.values != [(self.code, "")]:
                raise Wrong(f"messages: {self.values}")
        elif self.mode == "exec":
            if self.values[1:] != [(self.code, told)]:
                raise Wrong(f"messages: {self.values}")
        elif len(self.values) != 1:
            raise Wrong(f"messages: {self.values}")

    def log_files(self):
        """The contents of all files of the log, the oldest first."""
        names = [self.start.log] if self.log == "full" else self.renamed + self.start.log_files()
        return [read_bytes(name) or b"" for name in names]

    def check_stamps(self):
        """Each is what the clock has told at some time, in the order of the records, and is local."""
        if self.clocks is None or self.log in ("none", "journal"):
            return
        if self.clocks.problem:
            raise Wrong(f"the clocks: {self.clocks.problem}")
        zone = zoneinfo.ZoneInfo(self.zone)
        told = iter(self.clocks.told)
        last = None
        for line in b"".join(self.log_files()).split(b"\n")[:-1]:
            stamp = line[:35].decode()
            if stamp == last:
                continue
            last = stamp
            moment = datetime.datetime.fromisoformat(stamp[:19] + stamp[29:])
            if moment.astimezone(zone).utcoffset() != moment.utcoffset():
                raise Wrong(f"the time of another place than {self.zone}: {stamp}")
            wanted = int(moment.timestamp()) * 10 ** 9 + int(stamp[20:29])
            if not any(each == wanted for each in told):
                raise Wrong(f"a stamp that no clock has told then: {stamp}")

    def check_journal(self):
        if not self.has_journal:
            return
        taken, self.journal = self.journal, None
        datagrams = taken.close()
        if self.mode == "timeout":
            for datagram in datagrams:
                self.expectation.entry(datagram)
            return
        self.expectation.check(datagrams, self.expected, self.loses_entries)

    def check_log(self):
        if self.log in ("none", "journal"):
            if os.path.exists(self.start.log):
                raise Wrong("there is a log")
            return
        records = [record for data in self.log_files() for record in engine.parse_k8s(data)]
        for _, _, content in records:
            if len(content) > self.record_max:
                raise Wrong(f"a record of {len(content)} bytes")
        for stream, name in STREAMS.items():
            got, all_of_it = engine.joined(records, name), self.expected[stream]
            if self.mode == "timeout":
                good = got in all_of_it
            elif self.log in ("limited", "rotated"):
                good = all_of_it.endswith(got)
            elif self.log == "global":
                good = all_of_it.startswith(got) or self.may_be_cut(all_of_it, got)
            elif self.log == "full":
                good = self.is_part(records, name, all_of_it)
            else:
                good = got == all_of_it
            if not good:
                at = next((i for i, (one, other) in enumerate(zip(got, all_of_it)) if one != other),
                          min(len(got), len(all_of_it)))
                raise Wrong(f"{name} in the log: {len(got)} bytes of {len(all_of_it)}, differing "
                            f"from {at} on: {got[at - 20:at + 40]!r}, {all_of_it[at - 20:at + 40]!r}")

    @staticmethod
    def may_be_cut(all_of_it, got):
        """A last record that ends in the middle of a line counts as a line that was cut."""
        return got.endswith(b"\n") and all_of_it.startswith(got[:-1])

    @staticmethod
    def is_part(records, name, all_of_it):
        """Whether the records are pieces of what was written, in order."""
        at = 0
        for stream, tag, content in records:
            if stream != name:
                continue
            found = all_of_it.find(content + (b"\n" if tag == "F" else b""), at)
            if found < 0:
                return False
            at = found + len(content)
        return True

    def check_clients(self):
        for client in self.clients:
            if client.kind == "idler":
                continue
            for stream, all_of_it in self.expected.items():
                got = bytes(client.packets.bytes[stream])
                leaves = client.kind == "vanisher" or \
                    self.stall_ms != 0
                if client.sees_all:
                    good = all_of_it.startswith(got) if leaves else got == all_of_it
                else:
                    good = got in all_of_it if leaves else all_of_it.endswith(got)
                if self.little_memory and not good:
                    good = got in all_of_it  # dropped, for lack of memory to send with
                if not good:
                    raise Wrong(f"a {client.kind} that sees {'all' if client.sees_all else 'the end'} "
                                f"of {STREAMS[stream]} got {len(got)} bytes of {len(all_of_it)}"
                                f" ({client.packets.error or 'then its end'})")

    def check_leavings(self):
        start = self.start
        until(lambda: not self.left_monitors(), 2.0)
        if self.left_monitors():
            raise Wrong(f"monitors are left: {self.left_monitors()}")
        accounts = {"monitor.json", "exec.json"} if self.asks_account else set()
        for name in accounts & set(os.listdir(start.persist)):
            with open(f"{start.persist}/{name}", encoding="utf-8") as account:
                json.load(account)
        for directory, wanted in ((start.persist, {"exit", "oom"} | accounts),
                                  (start.exits, {start.cid}), (start.sockets, set())):
            odd = set(os.listdir(directory)) - wanted
            if odd and not (self.mode == "fails" and directory == start.sockets):
                raise Wrong(f"left in {directory}: {odd}")
        odd = [name for name in os.listdir(start.bundle)
               if name == "attach" and self.mode != "fails" or name.endswith((".new", ".tmp")) or
               name.startswith("conmon.pid.")]
        if odd:
            raise Wrong(f"left in the bundle: {odd}")
        if self.tty and [name for name in os.listdir(start.directory) if "conmon-term" in name]:
            raise Wrong("the console socket is left")

    @staticmethod
    def left_monitors():
        return [pid for pid in engine.children()
                if (engine.stat_fields(pid) or ["", ""])[0] == "conmon"
                and engine.stat_fields(pid)[1] != "Z"]

    def end(self):
        for client in self.clients:
            client.close()
        if self.pid and self.status is None:
            try:
                os.kill(self.pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        if self.container:
            self.container.delete()
        engine.reap_all(10.0)
        if self.clocks:
            self.clocks.close()
        if self.journal:
            try:
                self.journal.close()
            except Wrong:
                pass  # something else has gone wrong before
        if self.group:
            until(lambda: remove_group(self.group), 2.0)
        if self.disk:
            engine.unmount(self.disk)
        self.start.close()


def remove_group(path):
    try:
        os.rmdir(path)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        return False


# ----------------------------------------------------------------------------------------- workers

class Tools:
    def __init__(self, monitor, runtime, directory):
        self.monitor = monitor
        self.runtime = runtime
        self.runc = real.Runc(directory) if real.Runc.is_here() else None
        self.can_jump = clocks.can_jump()
        self.has_memory_cgroup = os.access(f"{MEMORY_CGROUP}/memory.limit_in_bytes", os.W_OK) or \
            os.access(f"{MEMORY_CGROUP}/memory.usage_in_bytes", os.R_OK)


def live_one(tools, seed, number):
    """(what went wrong or "", the life's kind, bytes that it printed)"""
    life = Life(tools, seed, number)
    wrong = ""
    try:
        life.live()
        life.check()
    except Wrong as error:
        wrong = str(error)
    except Exception:  # pylint: disable=broad-except
        wrong = traceback.format_exc()
    if wrong and os.environ.get("CHAOS_KEEP"):
        shutil.copytree(life.start.directory, f"{os.environ['CHAOS_KEEP']}/{number}",
                        ignore=lambda directory, names: [
                            name for name in names
                            if not os.path.isfile(os.path.join(directory, name)) and
                            not os.path.isdir(os.path.join(directory, name))])
    try:
        life.end()
    except Wrong as error:
        wrong = wrong or str(error)
    note = " ".join(word for word in life.note if word)
    return wrong, note, sum(map(len, life.expected.values()))


def work(tools, seed, numbers, end, out):
    engine.become_subreaper()
    engine.leave_mount_namespace()
    journal.prepare()
    for number in numbers:
        if time.monotonic() > end:
            return
        wrong, note, size = live_one(tools, seed, number)
        out.write(json.dumps([number, wrong, note, size]) + "\n")
        out.flush()


def start_worker(function):
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        status = 1
        try:
            with os.fdopen(write_end, "w", encoding="utf-8") as out:
                function(out)
            status = 0
        except BaseException:  # pylint: disable=broad-except
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(write_end)
    return pid, read_end


def counting(first, step):
    while True:
        yield first
        first += step


def gather(workers):
    """Lines of JSON of all workers, as they come."""
    buffers = {read_end: b"" for _, read_end in workers}
    while buffers:
        for read_end in select.select(list(buffers), [], [])[0]:
            data = os.read(read_end, 65536)
            if not data:
                del buffers[read_end]
                continue
            *lines, buffers[read_end] = (buffers[read_end] + data).split(b"\n")
            yield from map(json.loads, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--seconds", type=float, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--life", default="")
    options = parser.parse_args()
    monitor = os.environ.get("MOTE_CONMON", "")
    if not os.access(monitor, os.X_OK) or os.path.basename(monitor) != "conmon":
        raise SystemExit("MOTE_CONMON names no program called conmon")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="mote-chaos-") as directory:
        return live_all(options, Tools(monitor, os.path.abspath(options.runtime), directory))


def live_all(options, tools):
    """Print what comes of the lives, in TAP's form; the status."""
    if not tools.runc:
        print("# no runc and busybox here: no real containers")
    if not tools.can_jump:
        print("# no clocks that could jump here")
    end = time.monotonic() + options.seconds
    chosen = [int(number) for number in options.life.split(",") if number]
    print(f"# seed {options.seed}" + (f", lives {chosen}" if chosen else f", {options.seconds:.0f} s"),
          flush=True)
    workers = []
    for number in range(options.jobs):
        numbers = chosen[number::options.jobs] if chosen else counting(number, options.jobs)
        workers.append(start_worker(
            lambda out, numbers=numbers: work(tools, options.seed, numbers,
                                              float("inf") if chosen else end, out)))
    lives, total, wrongs, kinds = 0, 0, [], collections.Counter()
    for number, wrong, note, size in gather(workers):
        lives += 1
        total += size
        kinds.update(note.split())
        if wrong:
            wrongs.append(number)
            print(f"# life {number} ({note}): {wrong.strip()}", flush=True)
            print(f"#   MOTE_CONMON={tools.monitor} {sys.argv[0]} --runtime {options.runtime} --seed "
                  f"{options.seed} --life {number}", flush=True)
    for pid, _ in workers:
        if os.waitpid(pid, 0)[1] != 0:
            wrongs.append("a worker has died")
    print("# " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    print("1..1")
    print(f"{'not ' if wrongs or not lives else ''}ok 1 - {lives} random lives with {total >> 20} MiB of "
          f"output end as the model says (seed {options.seed}, {len(wrongs)} did not)")
    return 1 if wrongs or not lives else 0


sys.exit(main())
