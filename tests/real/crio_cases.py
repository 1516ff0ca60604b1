#!/usr/bin/env python3
"""Cases of the stand-in for CRI-O (crio.py): what CRI-O relies on. Each is a function below; crio.bats
runs them.

    crio_cases.py MONITOR ROOTFS CASE...
    crio_cases.py --list

Prints the cases that failed, each with its reason, and ends with their number. A case that asks for more
than Debian's conmon 2.1.6 can do asks for the version first.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

from crio import DEADLINE_S, Crio, Failure, eventually, log_lines, start_time, stream_of

CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}")


def failure_of(action):
    """The text of the Failure that `action` ends with."""
    try:
        result = action()
    except Failure as failure:
        return str(failure)
    raise AssertionError(f"it did not fail: {result!r}")


def received(client, until):
    """What a client gets, without the stream bytes, until `until` is in it or the stream ends."""
    text = b""
    while until not in text:
        packet = client.recv(8193)
        if not packet:
            break
        if packet[0] not in (2, 3):
            raise AssertionError(f"a packet of stream {packet[0]}")
        text += packet[1:]
    return text


SLEEP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@case
def version(crio):
    """The version is strict, and high enough for what CRI-O does with it."""
    expect("--sync", crio.has_sync, True)
    expect("--log-global-size-max", crio.has_global_size, True)
    help_text = subprocess.run([crio.monitor_program, "--help"], check=True, timeout=DEADLINE_S,
                               stdout=subprocess.PIPE).stdout
    expect("the option in --help", b"--log-global-size-max" in help_text, True)
    # What CRI-O's own tests ask, to learn whether the monitor can write to journald.
    subprocess.run([crio.monitor_program, "-l", "journald:42", "--cid", "1234567890123", "--cuuid", "42",
                    "--runtime", "/bin/true"], cwd=crio.work, check=True, timeout=DEADLINE_S,
                   stdin=subprocess.DEVNULL)


@case
def life(crio):
    """Create, start and exit: pids, sockets, log, exit files."""
    container = crio.create("life", "echo out; echo err >&2; printf rest; exit 42")
    expect("the runtime's pid file", int(open(f"{container.bundle}/pidfile", encoding="ascii").read()),
           container.pid)
    expect("the link of the attach socket", os.readlink(os.path.dirname(container.attach_socket)),
           container.bundle)
    expect("the attach socket", stat.S_ISSOCK(os.stat(container.attach_socket).st_mode), True)
    expect("the control fifo", stat.S_ISFIFO(os.stat(container.control).st_mode), True)
    expect("the monitor's name", open(f"/proc/{container.monitor}/comm", encoding="ascii").read(), "conmon\n")
    expect("the monitor is alive", container.monitor_is_alive(), True)
    container.start()
    expect("exit code", container.await_exit(), 42)
    expect("exit file to stay", open(f"{container.bundle}/exit", encoding="ascii").read(), "42")
    expect("stdout", [record[1:] for record in log_lines(container.log) if record[0] == "stdout"],
           [("F", b"out"), ("P", b"rest")])
    expect("stderr", stream_of(container.log, "stderr"), b"err\n")
    eventually(lambda: not container.monitor_is_alive(), "the monitor's end")
    expect("no oom file", os.path.exists(f"{container.bundle}/oom"), False)
    if crio.version >= (2, 1, 7): # older ones leak it
        expect("the link is gone", os.path.lexists(os.path.dirname(container.attach_socket)), False)


@case
def start_pipe(crio):
    """Nothing is started before CRI-O has moved the monitor to its cgroup."""
    def look(container, process):
        time.sleep(0.3)
        expect("the process waits", process.poll(), None)
        children = open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii").read()
        expect("its children", children, "")
        expect("control fifo", os.path.exists(container.control), False)
        expect("log", os.path.exists(container.log), True)

    crio.create("waiting", "exit 0", before_start=look)


@case
def no_command(crio):
    """A container without its command fails, and CRI-O learns what the runtime said."""
    def change(config):
        config["process"]["args"] = ["/no/such/program"]

    for terminal in (False, True):
        name = f"none-{terminal}"
        said = failure_of(lambda name=name, terminal=terminal: crio.create(
            name, "", terminal=terminal, change=change))
        expect("the runtime's words", "/no/such/program" in said, True)
    expect("exit files", os.listdir(crio.exits), [])


@case
def log_cannot_be_made(crio):
    """A log that cannot be opened is told on stderr, before anything runs."""
    def change(_):
        shutil.rmtree(os.path.dirname(crio.containers[-1].log))

    said = failure_of(lambda: crio.create("no-log", "exit 0", terminal=True, change=change))
    expect("the reason", "ended with 1" in said and "log file" in said, True)


@case
def exec_status(crio):
    """ExecSync has the status and both streams of the command."""
    container = crio.create("exec", SLEEP)
    container.start()
    for code in (0, 3, 127):
        got = crio.exec_sync(container, ["/bin/sh", "-c", f"echo out; echo err >&2; exit {code}"])
        expect("the result", got, (code, b"out\n", b"err\n"))
    got = crio.exec_sync(container, ["/bin/sh", "-c", "kill -9 $$"])
    expect("killed", got, (137, b"", b""))
    expect("the container's log", log_lines(container.log), [])


@case
def exec_often(crio):
    """Thirty quick commands in a row all tell their output and their status."""
    container = crio.create("often", SLEEP)
    container.start()
    for number in range(30):
        got = crio.exec_sync(container, ["/bin/sh", "-c", f"echo {number}; exit {number}"])
        expect("the result", got, (number, b"%d\n" % number, b""))


@case
def exec_no_command(crio):
    """ExecSync of a command that is not there fails with the runtime's words."""
    container = crio.create("exec-none", SLEEP)
    container.start()
    said = failure_of(lambda: crio.exec_sync(container, ["/no/such/program"]))
    expect("the runtime's words", "/no/such/program" in said, True)
    said = failure_of(lambda: crio.exec_sync(container, ["/no/such/program"], terminal=True))
    expect("the runtime's words, with a terminal", "/no/such/program" in said, True)


@case
def exec_timeout(crio):
    """A command that takes too long is killed with its children, and CRI-O knows why."""
    container = crio.create("exec-timeout", SLEEP)
    container.start()
    begin = time.monotonic()
    seconds = 900000 + os.getpid() # which nobody else sleeps
    got = crio.exec_sync(container, ["/bin/sh", "-c", f"sleep {seconds} & sleep {seconds}"], timeout_s=1)
    took = time.monotonic() - begin
    expect("the result", got, (-1, b"", b"command timed out"))
    # Debian's conmon has GLib's timer for whole seconds, which may come most of one too early.
    least = 0.9 if crio.version >= (2, 2) else 0
    expect("about a second", least <= took < 10, True)

    def sleeps(pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return str(seconds).encode() in file.read() and start_time(pid) is not None
        except OSError: # it is gone
            return False

    def sleepers():
        return any(sleeps(pid) for pid in os.listdir("/proc") if pid.isdigit())

    eventually(lambda: not sleepers(), "the end of the command's children")
    got = crio.exec_sync(container, ["/bin/echo", "in time"], timeout_s=20)
    expect("in time", got, (0, b"in time\n", b""))


@case
def exec_terminal(crio):
    """ExecSync with a terminal: both streams are one, lines end as a terminal ends them."""
    container = crio.create("exec-terminal", SLEEP)
    container.start()
    got = crio.exec_sync(container, ["/bin/sh", "-c", "test -t 0 && echo tty; exit 4"], terminal=True)
    expect("the result", got, (4, b"tty\r\n", b""))


@case
def exec_output_limit(crio):
    """Of a command's output CRI-O gets 16 MiB, and the command can end."""
    container = crio.create("exec-limit", SLEEP)
    container.start()
    code, stdout, _ = crio.exec_sync(
        container, ["/bin/sh", "-c", "yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde | "
                                     "head -n 400000"])
    expect("exit code", code, 0)
    expect("of 25.6 MB there are at most 16 MiB", 8 * 1024 * 1024 < len(stdout) <= 16 * 1024 * 1024, True)
    expect("whole lines", set(stdout.split(b"\n")) - {b""},
           {b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"})


@case
def attach(crio):
    """Attached clients get the output, and what they send is the container's input."""
    container = crio.create("attach", "read a; echo got $a; read b; echo then $b; exit 5", stdin=True)
    client = container.attach()
    container.start()
    client.sendall(b"one\n")
    expect("the answer", received(client, b"got one\n"), b"got one\n")
    # It leaves, and with --leave-stdin-open another one goes on.
    client.close()
    second = container.attach()
    second.sendall(b"two\n")
    expect("the second answer", received(second, b"then two\n"), b"then two\n")
    expect("the end of the stream", received(second, b"never"), b"")
    expect("exit code", container.await_exit(), 5)
    expect("log", stream_of(container.log, "stdout"), b"got one\nthen two\n")


@case
def attach_once(crio):
    """With stdinOnce the container sees the end of its input when the client ends its own."""
    container = crio.create("once", "cat; echo end", stdin=True, stdin_once=True)
    client = container.attach()
    container.start()
    client.sendall(b"text\n")
    client.shutdown(1)
    expect("the output", received(client, b"end\n"), b"text\nend\n")
    expect("exit code", container.await_exit(), 0)


@case
def resize(crio):
    """A size that is given before the start is the terminal's first, and may change."""
    container = crio.create(
        "resize", "stty size; read a; stty size", terminal=True,
        change=lambda config: config["process"].update(consoleSize={"height": 24, "width": 80}))
    container.resize(40, 120)
    client = container.attach()
    time.sleep(0.2)
    container.start()
    received(client, b"40 120")
    container.resize(50, 132)
    time.sleep(0.2)
    client.sendall(b"\n")
    received(client, b"50 132")
    expect("exit code", container.await_exit(), 0)
    lines = stream_of(container.log, "stdout").split()
    expect("the sizes", [line for line in lines if line.isdigit()], [b"40", b"120", b"50", b"132"])


@case
def reopen(crio):
    """After a rename the new log appears when CRI-O says so, and the old one stays as it was."""
    container = crio.create("reopen", "echo before; read a; echo after", stdin=True)
    client = container.attach()
    container.start()
    received(client, b"before\n")
    eventually(lambda: stream_of(container.log, "stdout") == b"before\n", "the first line")
    old = f"{container.log}.20260101"
    for number in range(3): # the kubelet may do so again
        os.rename(container.log, f"{old}-{number}")
        container.reopen_log()
        expect("a new log", os.stat(container.log).st_size, 0)
    client.sendall(b"\n")
    expect("exit code", container.await_exit(), 0)
    expect("the old log", stream_of(f"{old}-0", "stdout"), b"before\n")
    expect("the new log", stream_of(container.log, "stdout"), b"after\n")


@case
def log_size(crio):
    """The log does not grow over its limit, and has the newest lines."""
    container = crio.create("log-size", "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i + 1)); done",
                            log_size_max=8192)
    container.start()
    expect("exit code", container.await_exit(), 0)
    expect("its size", 0 < os.stat(container.log).st_size <= 8192, True)
    expect("its last line", stream_of(container.log, "stdout").splitlines()[-1], b"line 999")


@case
def scope_stop(crio):
    """SIGPIPE, with which systemd stops the monitor's scope, does nothing; the exit is told after it."""
    container = crio.create("scope", SLEEP.replace("exit 0", "exit 9") + "; :")
    container.start()
    crio.exec_sync(container, ["/bin/true"])
    for _ in range(3):
        crio.stop_scope(container)
    time.sleep(0.2)
    expect("the monitor is alive", container.monitor_is_alive(), True)
    crio.run_runtime("kill", container.id, "TERM")
    expect("exit code", container.await_exit(), 9)


@case
def kill(crio):
    """A container that is killed has 128 and the signal as its code."""
    container = crio.create("kill", "sleep 1000")
    container.start()
    crio.run_runtime("kill", container.id, "KILL")
    expect("exit code", container.await_exit(), 128 + signal.SIGKILL)


@case
def oom(crio):
    """When the container is out of memory, the oom file is in the bundle before the exit is told."""
    def limit(config):
        config["linux"]["resources"]["memory"] = {"limit": 16 * 1024 * 1024, "swap": 16 * 1024 * 1024}

    container = crio.create("oom", "tail /dev/zero; exit 1", change=limit)
    container.start()
    container.await_exit()
    expect("the oom file", os.path.exists(f"{container.bundle}/oom"), True)


@case
def leftovers(crio):
    """In the node's pid namespace what the container leaves behind holds the monitor up no more."""
    def share(config):
        config["linux"]["namespaces"] = [
            each for each in config["linux"]["namespaces"] if each["type"] != "pid"]

    container = crio.create("leftovers", "sleep 300 >/dev/null 2>&1 & exit 6", change=share)
    container.start()
    expect("exit code", container.await_exit(), 6)
    eventually(lambda: not container.monitor_is_alive(), "the monitor's end")
    crio.run_runtime("delete", "--force", container.id)


def run(name, monitor, rootfs):
    work = tempfile.mkdtemp(prefix="mote-crio-")
    crio = None
    try:
        crio = Crio(monitor, shutil.which("runc"), rootfs, work)
        CASES[name](crio)
        return True
    except Exception: # whatever it is, the case has failed
        print(f"{name}: {CASES[name].__doc__}")
        traceback.print_exc(file=sys.stdout)
        return False
    finally:
        if crio:
            crio.clean_up()
        shutil.rmtree(work, ignore_errors=True)


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(CASES))
        return 0
    monitor, rootfs, *names = sys.argv[1:]
    return sum(not run(name, monitor, rootfs) for name in names)


if __name__ == "__main__":
    sys.exit(main())
