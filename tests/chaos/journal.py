"""A stand-in for journald, in the worker's own mount namespace: takes every datagram, stands still or
is restarted when it is told to, and knows which entries a container's output must become.
"""

import fcntl
import os
import re
import select
import socket
import struct
import threading

import engine
from engine import Wrong

DIRECTORY = "/run/systemd/journal"
SOCKET = f"{DIRECTORY}/socket"
PRIORITY = re.compile(rb"<([0-7])>")
DEFAULTS = {2: 6, 3: 3}  # of the standard output and error

F_GET_SEALS, ALL_SEALS = 1034, 0xF


def prepare():
    """Once in each mount namespace."""
    os.makedirs("/run/systemd", exist_ok=True)
    engine.mount_tmpfs("/run/systemd")
    os.mkdir(DIRECTORY)


def fields_of(data):
    """[(name, value)] of one datagram, strictly."""
    fields = []
    while data:
        line, newline, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not newline:
            raise Wrong(f"a field without an end: {line[:80]!r}")
        if not equals:
            if len(rest) < 8:
                raise Wrong(f"a field without its length: {line[:80]!r}")
            size = struct.unpack_from("<Q", rest)[0]
            value, rest = rest[8:8 + size], rest[8 + size:]
            if len(value) != size or rest[:1] != b"\n":
                raise Wrong(f"a field of another length than it says: {line[:80]!r}")
            rest = rest[1:]
        fields.append((name.decode(), value))
        data = rest
    return fields


def entries_of(text, stream, record_max):
    """[(priority, message, whether it is a part)] that one stream's output is to become."""
    entries = []
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        is_last = number + 1 == len(lines)
        if is_last and not line:
            break
        pieces = [line[at:at + record_max] for at in range(0, len(line), record_max)] or [b""]
        match = PRIORITY.match(pieces[0])
        priority = int(match.group(1)) if match else DEFAULTS[stream]
        if match:
            pieces[0] = pieces[0][3:]
        for piece in pieces[:-1]:
            entries.append((priority, piece, True))
        entries.append((priority, pieces[-1] + (b"" if is_last else b"\n"), is_last))
    return entries


class Journal:
    """Takes entries from its construction to close()."""

    def __init__(self):
        self.datagrams = []
        self.problem = ""
        self.is_still = False
        self.sockets = []
        self.retired = []         # to be closed by the thread, which may be waiting for them
        self.lock = threading.Lock()
        self.wake, self.woken = os.pipe()
        self.ends = False
        self._bind()
        self.thread = threading.Thread(target=self._take_all, daemon=True)
        self.thread.start()

    def stand_still(self):
        self.is_still = True
        self._tell()

    def go_on(self):
        self.is_still = False
        self._tell()

    def restart(self):
        """Somebody else has the name; what is on its way to the old one may be lost."""
        with self.lock:
            self.retired += self.sockets
            self.sockets = []
            self._bind()
        self._tell()

    def close(self):
        """The datagrams. Wrong if one of them was none."""
        self.go_on()
        self.ends = True
        self._tell()
        self.thread.join(10.0)
        for each in self.sockets + self.retired:
            each.close()
        os.close(self.wake)
        os.close(self.woken)
        try:
            os.unlink(SOCKET)
        except FileNotFoundError:
            pass
        if self.problem:
            raise Wrong(self.problem)
        return self.datagrams

    def _bind(self):
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        fresh.bind(SOCKET + ".new")
        os.rename(SOCKET + ".new", SOCKET)
        fresh.setblocking(False)
        self.sockets.append(fresh)

    def _tell(self):
        os.write(self.woken, b"x")

    def _take_all(self):
        try:
            while True:
                with self.lock:
                    while self.retired:
                        self.retired.pop().close()
                    sockets = list(self.sockets) if not self.is_still else []
                readable = select.select([self.wake, *sockets], [], [], 0 if self.ends else None)[0]
                if self.wake in readable:
                    os.read(self.wake, 4096)
                with self.lock:
                    # At the end, until there is nothing more.
                    took = [self._take(each) for each in self.sockets if not self.is_still]
                if self.ends and not any(took):
                    return
        except Exception as error:  # pylint: disable=broad-except
            self.problem = self.problem or f"{error}"

    def _take(self, from_socket):
        taken = 0
        while taken < 256:
            try:
                data, fds, _, _ = socket.recv_fds(from_socket, 1 << 18, 4)
            except (BlockingIOError, OSError):
                return taken
            for fd in fds:
                with os.fdopen(fd, "rb") as file:
                    if data or len(fds) != 1:
                        self.problem = f"{len(fds)} descriptors beside {len(data)} bytes"
                    elif fcntl.fcntl(fd, F_GET_SEALS) != ALL_SEALS:
                        self.problem = "an entry in a file that can still be changed"
                    data = os.pread(fd, 1 << 24, 0)
            self.datagrams.append(data)
            taken += 1
        return taken


class Expectation:
    """What each datagram of one container must be, and all of them together."""

    def __init__(self, cid, name, tag, labels, record_max):
        tag_fields = [("CONTAINER_TAG", tag.encode())] if tag else []
        self.behind_priority = [("CONTAINER_ID", cid[:12].encode()), *tag_fields,
                                ("CONTAINER_NAME", name.encode()),
                                ("SYSLOG_IDENTIFIER", (tag or name).encode())]
        self.cid = cid.encode()
        self.labels = [(label.partition("=")[0], label.partition("=")[2].encode())
                       for label in labels]
        self.record_max = record_max

    def entry(self, datagram):
        """(priority, message, whether it is a part)"""
        fields = fields_of(datagram)
        if len(fields) < 3 or [name for name, _ in fields[:3]] != \
                ["MESSAGE", "CONTAINER_ID_FULL", "PRIORITY"]:
            raise Wrong(f"an entry of {[name for name, _ in fields]}")
        message, priority = fields[0][1], fields[2][1]
        mark = [("CONTAINER_PARTIAL_MESSAGE", b"true")]
        rest = fields[3:]
        is_part = rest == self.behind_priority + mark + self.labels
        if fields[1][1] != self.cid or not re.fullmatch(rb"[0-7]", priority) or \
                not is_part and rest != self.behind_priority + self.labels:
            raise Wrong(f"an entry with other fields: {fields[1:]}")
        return int(priority), message, is_part

    def check(self, datagrams, expected, may_lack):
        """`expected`: the bytes of each stream, of which only the standard error has entries of
        priority 3. `may_lack`: some entries may be missing."""
        entries = [self.entry(datagram) for datagram in datagrams]
        for stream, text in expected.items():
            got = [entry for entry in entries if (entry[0] == DEFAULTS[3]) == (stream == 3)]
            wanted = entries_of(text, stream, self.record_max)
            if got == wanted:
                continue
            if not may_lack:
                at = next((i for i, (one, other) in enumerate(zip(got, wanted)) if one != other),
                          min(len(got), len(wanted)))
                raise Wrong(f"in the journal: {len(got)} entries of {len(wanted)}, differing from "
                            f"{at} on: {str(got[at:at + 1])[:120]}, {str(wanted[at:at + 1])[:120]}")
            left = iter(wanted)
            for entry in got:
                if not any(entry == each for each in left):
                    raise Wrong(f"in the journal, but never written, or not there: "
                                f"{str(entry)[:120]}")
