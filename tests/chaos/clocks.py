"""The clocks of one program and its children, which jump when they are told to.

The monitor reads its clocks by system call. A seccomp filter hands those calls to us (kernel 5.0 on),
and the answer is the machine's clock and what it has jumped by. CLOCK_REALTIME jumps in both
directions, as when somebody sets it; CLOCK_MONOTONIC and CLOCK_BOOTTIME forwards only, as over a sleep
of the machine. Programs that read the clocks by the vDSO see the machine's own. Deadlines are the
kernel's affair: epoll_wait takes as long as it is told to.
"""

import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
import threading
import time

_SECCOMP, _CLOCK_GETTIME, _AUDIT_ARCH = 317, 228, 0xC000003E  # of x86_64
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_RET_ALLOW, _RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
_NOTIF_RECV, _NOTIF_SEND = 0xC0502100, 0xC0182101

_libc = ctypes.CDLL(None, use_errno=True)


def _filter():
    load, jump_if_equal, answer = 0x20, 0x15, 0x06
    return b"".join(struct.pack("=HBBI", *step) for step in (
        (load, 0, 0, 4), (jump_if_equal, 1, 0, _AUDIT_ARCH), (answer, 0, 0, _RET_ALLOW),
        (load, 0, 0, 0), (jump_if_equal, 0, 1, _CLOCK_GETTIME), (answer, 0, 0, _RET_USER_NOTIF),
        (answer, 0, 0, _RET_ALLOW)))


def install_filter():
    """Put this process under the filter; the descriptor of whoever answers."""
    steps = _filter()
    text = ctypes.create_string_buffer(steps, len(steps))
    program = struct.pack("@HP", len(steps) // 8, ctypes.addressof(text))
    listener = _libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER,
                             ctypes.create_string_buffer(program, len(program)))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def can_jump():
    """Whether this machine and kernel can do it; asked in a child, since a filter stays."""
    if platform.machine() != "x86_64":
        return False
    pid = os.fork()
    if pid == 0:
        try:
            install_filter()
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


class JumpingClocks:
    """Call before_exec() in the new process, and serve() when it has been started."""

    def __init__(self, monotonic_ahead_s=0):
        self.ours, self.theirs = socket.socketpair()
        self.ahead_ns = {time.CLOCK_REALTIME: 0,
                         time.CLOCK_MONOTONIC: monotonic_ahead_s * 10 ** 9,
                         time.CLOCK_BOOTTIME: monotonic_ahead_s * 10 ** 9}
        self.told = []            # every CLOCK_REALTIME that was told, in nanoseconds
        self.problem = None
        self.listener = None
        self.thread = None
        self.lock = threading.Lock()

    def before_exec(self):
        listener = install_filter()
        socket.send_fds(self.theirs, [b"x"], [listener])
        os.close(listener)

    def serve(self):
        self.theirs.close()
        _, (self.listener, *_), _, _ = socket.recv_fds(self.ours, 1, 1)
        self.ours.close()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def jump(self, by_s):
        """CLOCK_REALTIME, by any number of seconds."""
        with self.lock:
            self.ahead_ns[time.CLOCK_REALTIME] += int(by_s * 10 ** 9)

    def jump_to(self, seconds):
        self.jump(seconds - self.now_ns(time.CLOCK_REALTIME) / 10 ** 9)

    def sleep(self, for_s):
        """All clocks, forwards."""
        with self.lock:
            for clock in self.ahead_ns:
                self.ahead_ns[clock] += int(for_s * 10 ** 9)

    def now_ns(self, clock):
        return time.clock_gettime_ns(clock) + self.ahead_ns.get(clock, 0)

    def close(self):
        """To be called when all processes under the filter have ended."""
        if self.thread:
            self.thread.join(5.0)
            os.close(self.listener)

    def _serve(self):
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        try:
            while True:
                events = poll.poll()[0][1]
                if events & select.POLLIN:
                    self._answer()
                elif events & select.POLLHUP:
                    return  # nobody is under the filter any more
        except Exception as error:  # pylint: disable=broad-except
            self.problem = repr(error)

    def _answer(self):
        call = bytearray(80)
        try:
            fcntl.ioctl(self.listener, _NOTIF_RECV, call)
        except FileNotFoundError:
            return  # its process has been killed meanwhile
        call_id, pid, _, _, _, _, clock, place, *_ = struct.unpack("=QIIiIQ6Q", bytes(call))
        with self.lock:
            now = self.now_ns(clock)
            if clock == time.CLOCK_REALTIME:
                self.told.append(now)
        try:
            with open(f"/proc/{pid}/mem", "wb", buffering=0) as memory:
                memory.seek(place)
                memory.write(struct.pack("@qq", now // 10 ** 9, now % 10 ** 9))
            fcntl.ioctl(self.listener, _NOTIF_SEND, bytearray(struct.pack("=QqiI", call_id, 0, 0, 0)))
        except (FileNotFoundError, ProcessLookupError):
            pass  # the same
