#!/usr/bin/env python3
"""Run a command on a terminal of its own, type at it, and print what it shows.

    on_terminal.py ROWS COLUMNS [-e TEXT | -t TEXT | -s ROWSxCOLUMNS | -w MS]... -- COMMAND...

The steps are done in their order: -e waits until TEXT has been shown since the last step, -t types
TEXT (with \\n, \\r and \\xNN as in Python), -s changes the window's size, -w waits, for
where nothing is shown (Podman takes its detach keys only from reads of their own). The status is
the command's, or 99 when a step did not come true in 30 seconds (or STEP_LIMIT_S).
"""

import codecs
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

STEP_LIMIT_S = int(os.environ.get("STEP_LIMIT_S", "30"))


def set_size(terminal, rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def main():
    arguments = sys.argv[1:]
    split = arguments.index("--")
    before, command = arguments[:split], arguments[split + 1 :]
    size = (int(before[0]), int(before[1]))
    steps = list(zip(before[2::2], before[3::2]))

    pid, terminal = pty.fork()
    if pid == 0:
        set_size(0, *size)
        os.execvp(command[0], command)

    shown = b""
    deadline = time.monotonic() + STEP_LIMIT_S
    ended = False
    while not ended:
        while steps:
            kind, text = steps[0]
            if kind == "-e":
                at = shown.find(text.encode())
                if at < 0:
                    break
                shown = shown[at + len(text) :]
            elif kind == "-t":
                os.write(terminal, codecs.decode(text, "unicode_escape").encode("latin-1"))
            elif kind == "-s":
                rows, columns = text.split("x")
                set_size(terminal, int(rows), int(columns))
                os.kill(pid, signal.SIGWINCH)
            elif kind == "-w":
                time.sleep(int(text) / 1000)
            steps.pop(0)
            deadline = time.monotonic() + STEP_LIMIT_S
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            sys.stderr.write(f"nothing more came; steps left: {steps}\n")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 99
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            piece = b""
        ended = not piece
        shown += piece
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if steps:
        sys.stderr.write(f"ended too early; steps left: {steps}\n")
        return 99
    return status if status >= 0 else 128 - status


sys.exit(main())
