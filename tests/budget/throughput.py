"""How fast output is recorded, and what it costs: k8s-file at several lengths of a line, the journal, and
the memory of a burst."""

import copy
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from bench import CpuCgroup, Running, Trouble, cpu_s, smaps, until

# Bytes of a line without its newline; 0: no newline at all. And how much is written in a round.
LENGTHS = {1: 4_000_000, 16: 24_000_000, 80: 80_000_000, 200: 120_000_000, 1000: 160_000_000,
           8000: 160_000_000, 60000: 160_000_000, 0: 160_000_000}
QUICK_LENGTHS = [16, 80, 1000, 8000]


def attach(bench, running, count):
    """`count` clients that read as fast as they can, once the monitor has accepted them."""
    descriptors = f"/proc/{running.pid}/fd"
    accepted = len(os.listdir(descriptors)) + count
    readers = [subprocess.Popen([bench.tool("reader"), f"{running.bundle}/attach"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
               for _ in range(count)]
    for reader in readers:
        if reader.stdout.readline() != b"connected\n":
            raise Trouble("a client could not attach")
    until(lambda: len(os.listdir(descriptors)) >= accepted, "the attaching of the clients")
    return readers


def flood(bench, program, do, total, clients=0):
    """Let a container write `total` bytes by `do`; return (MB/s, CPU seconds per GB).

    The time is the generator's, from its first write to its last: when that is done, all but a pipe of
    it is in the log. The CPU time is the monitor's alone, read after it has become quiet.
    """
    go = os.path.join(bench.work, "go")
    if not os.path.exists(go):
        os.mkfifo(go)
    running = Running(bench, program, do=f"{do} {total}", sync=True, stamp=True, exit_command=False,
                      environment={"BUDGET_GO": go})
    running.read_stamp()
    readers = attach(bench, running, clients) if clients else []
    before = cpu_s(running.pid)
    with open(go, "wb"):
        pass
    started = running.read_stamp()
    seconds = (running.read_stamp() - started) / 1e9

    sizes = [-2, -1]

    def quiet():
        time.sleep(0.02)
        sizes.append(os.path.getsize(running.log))
        return sizes[-1] == sizes[-2] == sizes[-3]
    until(quiet, "the end of the log's growth")
    cpu = cpu_s(running.pid) - before
    if sizes[-1] < total:
        raise Trouble(f"only {sizes[-1]} of {total} bytes came to the log of {program}")
    running.end()
    for reader in readers:
        said, _ = reader.communicate(timeout=30)
        if sum(int(word) for word in said.split()) != total:
            raise Trouble(f"{program}: a client got {said!r} of {total}")
    running.remove()
    return total / 1e6 / seconds, cpu / (total / 1e9)


def compare(bench, programs, do, total, rounds, clients=0):
    """{program: {"mbps", "cpu"}}, the medians of some rounds, in each of which every program has its
    turn: what else the machine does meets all alike."""
    found = {name: [] for name in programs}
    for _ in range(rounds):
        bench.await_quiet(2)
        for name, path in programs.items():
            found[name].append(flood(bench, path, do, total, clients))
    return {name: {"mbps": statistics.median(mbps for mbps, _ in values),
                   "cpu": statistics.median(cpu for _, cpu in values)}
            for name, values in found.items()}


def by(found, key, name, other):
    return found[name][key] / found[other][key] if other in found and name in found else None


def measure_throughput(bench):
    """Lines of each length, and none, to stdout; both streams at once; one client that reads along."""
    rounds, scale = (3, 0.5) if bench.quick else (9, 2)
    with_floor = {"floor": bench.tool("floor"), **bench.programs}
    cases = {}
    for length in QUICK_LENGTHS if bench.quick else LENGTHS:
        cases[str(length)] = (f"generate {length}", LENGTHS[length], with_floor, 0)
    if not bench.quick:
        cases["both"] = ("both 80", LENGTHS[80], with_floor, 0)
        cases["client"] = ("generate 80", LENGTHS[80], bench.programs, 1)
    details = bench.details["throughput"] = {}
    for case, (do, total, programs, clients) in cases.items():
        found = None
        # Neighbours on the machine slow down whom they meet: when the quick form is over budget, it is
        # taken up to four times more, and the best counts.
        for _ in range(5 if bench.quick else 1):
            one = compare(bench, programs, do, int(total * scale), rounds, clients)
            ratio = by(one, "mbps", "mote", "conmon") or 0
            if found is None or ratio > (by(found, "mbps", "mote", "conmon") or 0):
                found = one
            if ratio >= bench.limits.get(f"through_{case}", 0):
                break
        details[case] = found
        for name in bench.programs:
            bench.put(f"mbps_{case}", name, found[name]["mbps"])
            bench.put(f"through_{case}", name, by(found, "mbps", name, "conmon"))
            bench.put(f"floor_{case}", name, by(found, "mbps", name, "floor"))
            bench.put(f"cpu_{case}", name, by(found, "cpu", name, "floor"))
            bench.put(f"cpu_s_{case}", name, found[name]["cpu"])


def measure_throughput_on_disk(bench):
    """The same with the logs in /var/tmp: in the page cache of a disk's file system, as they mostly are.
    The kernel takes the pages of some file systems in larger pieces than those of a tmpfs."""
    disk = copy.copy(bench)
    disk.work = tempfile.mkdtemp(prefix="mote-budget-", dir="/var/tmp")
    try:
        for length in QUICK_LENGTHS:
            found = compare(disk, bench.programs, f"generate {length}", LENGTHS[length], 9)
            for name in bench.programs:
                bench.put(f"disk_{length}", name, by(found, "mbps", name, "conmon"))
                bench.put(f"disk_cpu_{length}", name, by(found, "cpu", name, "conmon"))
    finally:
        shutil.rmtree(disk.work, ignore_errors=True)


def trickle(bench, program, lines, period_ms):
    """Microseconds of CPU per second of a monitor whose container prints `lines` lines of 80 bytes at once,
    every so many milliseconds. The monitor alone moves to the cgroup, when the container is there."""
    group = CpuCgroup("trickle")
    running = Running(bench, program, do=f"trickle 79 {lines} {period_ms}", exit_command=False)
    try:
        running.await_container()
        group.move(running.pid)
        time.sleep(1)
        before = group.usage_us()
        began = time.monotonic()
        time.sleep(4)
        return (group.usage_us() - before) / (time.monotonic() - began)
    finally:
        running.end()
        running.remove()
        group.remove()


def measure_trickle(bench):
    """CPU of a container that prints now and then, as most do: a line a hundred times a second, and more than
    a page of records ten times a second."""
    for row, lines, period_ms in (("line", 1, 10), ("batch", 60, 100)):
        found = {name: [] for name in bench.programs}
        for _ in range(5):
            for name, path in bench.programs.items():
                found[name].append(trickle(bench, path, lines, period_ms))
        medians = {name: statistics.median(values) for name, values in found.items()}
        for name, median in medians.items():
            bench.put(f"trickle_{row}_us", name, median)
            if "conmon" in medians:
                bench.put(f"trickle_{row}", name, median / medians["conmon"])


def measure_rate(bench):
    """What a container that writes lines of 87 bytes as fast as it can puts into a log on a disk in 2 s,
    with and without a limit of 100,000 bytes a second; mote alone, as nobody else has one."""
    disk = copy.copy(bench)
    disk.work = tempfile.mkdtemp(prefix="mote-budget-", dir="/var/tmp")
    try:
        for row, excess in (("rate_none", None), ("rate_wait", "wait"), ("rate_drop", "drop")):
            limit = {"MOTE_LOG_RATE": "100000", "MOTE_LOG_EXCESS": excess} if excess else {}
            running = Running(disk, bench.mote, do="generate 87 100000000000", environment=limit)
            running.await_container()
            time.sleep(2)
            bench.put(row, "mote", os.path.getsize(running.log) / 1e6)
            running.end()
            running.remove()
    finally:
        shutil.rmtree(disk.work, ignore_errors=True)


def measure_burst(bench):
    """RSS while a container floods its log and four attached clients, and 1 s after the end of it."""
    total = 200_000_000 if bench.quick else 1_000_000_000
    go = os.path.join(bench.work, "go-burst")
    os.mkfifo(go)
    for program, path in bench.programs.items():
        running = Running(bench, path, do=f"generate 1000 {total}", stamp=True,
                          environment={"BUDGET_GO": go}).await_container()
        time.sleep(1.5)
        idle = smaps(running.pid)["Rss"]
        readers = []
        try:
            readers = attach(bench, running, 4)
            with open(go, "wb"):
                pass
            running.read_stamp()
            running.read_stamp()
            peak = 0
            limit = time.monotonic() + 120
            while not running.has_stamp():
                peak = max(peak, smaps(running.pid)["Rss"])
                if time.monotonic() > limit:
                    raise Trouble("the burst did not end in 120 s")
                time.sleep(0.005)
            time.sleep(1.3)
            bench.put("burst_peak", program, peak)
            bench.put("burst_over_idle", program, smaps(running.pid)["Rss"] - idle)
        finally:
            running.end()
            for reader in readers:
                said, _ = reader.communicate(timeout=30)
                if not said.rstrip().endswith(f"{total} 0".encode()):
                    bench.troubles["burst_peak"] = f"{program}: a client got {said!r} of {total}"
            running.remove()


def measure_journal(bench):
    """Messages per second to the journal: to a socket that takes whatever comes, so that the monitor is
    the bottleneck, and to a real systemd-journald with a volatile journal.

    Lines of 80 bytes. The journal's place is taken in a mount namespace that only we are in, and a
    network namespace, for a queue as long as systemd makes it: the measurement runs in a process of its
    own (the end of this file).
    """
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, os.path.abspath(__file__),
         bench.tools, "quick" if bench.quick else "long", bench.work],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode != 0:
        raise Trouble(done.stderr.strip() or f"the journal part ended with {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    bench.details["journal"] = found
    for where, programs in found.items():
        for name, rate in programs.items():
            bench.put(f"journal_{where}_per_s", name, rate)
            if programs.get("conmon"):
                bench.put(f"journal_{where}", name, rate / programs["conmon"])


# ------------------------------------------------------------ in the mount namespace of the journal


JOURNAL_SOCKET = "/run/systemd/journal/socket"

JOURNALD_SETTINGS = """[Journal]
Storage=volatile
RuntimeMaxUse=64M
RateLimitIntervalSec=0
RateLimitBurst=0
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToWall=no
"""


def take_run():
    """A /run of our own, with settings for a journald, and systemd's length for the queue of a socket."""
    with open("/proc/sys/net/unix/max_dgram_qlen", "w", encoding="ascii") as file:
        file.write("512")
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    os.makedirs(os.path.dirname(JOURNAL_SOCKET))
    os.makedirs("/run/log")
    for name, content, place in (
            ("machine-id", "0123456789abcdef0123456789abcdef\n", "/etc/machine-id"),
            ("journald.conf", JOURNALD_SETTINGS, "/etc/systemd/journald.conf")):
        with open(f"/run/{name}", "w", encoding="ascii") as file:
            file.write(content)
        if os.path.exists(place):
            subprocess.run(["mount", "--bind", f"/run/{name}", place], check=True)


def journal_round(bench, program, count, sink):
    """Messages per second of `count` lines of 80 bytes. With a `sink` until it has all of them;
    otherwise until the container has written all of them."""
    go = os.path.join(bench.work, "go-journal")
    if not os.path.exists(go):
        os.mkfifo(go)
    running = Running(bench, program, do=f"generate 80 {count * 81}", sync=True, stamp=True,
                      exit_command=False, driver="journald", environment={"BUDGET_GO": go})
    running.read_stamp()
    with open(go, "wb"):
        pass
    started = running.read_stamp()
    if sink:
        line = sink.stdout.readline().split()
        if len(line) != 2:
            raise Trouble(f"the sink did not get all of {program}")
        ended = int(line[0])
        running.read_stamp()
    else:
        ended = running.read_stamp()
    running.end()
    running.remove()
    return count / ((ended - started) / 1e9)


def start_sink(bench, count):
    if os.path.exists(JOURNAL_SOCKET):
        os.unlink(JOURNAL_SOCKET)
    sink = subprocess.Popen([bench.tool("sink"), JOURNAL_SOCKET, str(count)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if sink.stdout.readline() != b"bound\n":
        raise Trouble("the sink could not be bound")
    return sink


def main():
    from bench import Bench, become_subreaper
    tools, form, work = sys.argv[1:]
    rounds, count = (2, 40_000) if form == "quick" else (7, 100_000)
    become_subreaper()
    take_run()
    found = {"sink": {}, "journald": {}}
    bench = Bench(tools, work=work)
    rates = {name: [] for name in bench.programs}
    for _ in range(rounds):
        for name, path in bench.programs.items():
            sink = start_sink(bench, count)
            rates[name].append(journal_round(bench, path, count, sink))
            sink.wait(timeout=10)
    found["sink"] = {name: statistics.median(values) for name, values in rates.items()}

    journald = "/lib/systemd/systemd-journald"
    if form != "quick" and os.access(journald, os.X_OK):
        os.unlink(JOURNAL_SOCKET)
        daemon = subprocess.Popen([journald], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        try:
            until(lambda: os.path.exists(JOURNAL_SOCKET), "the journal's socket")
            rates = {name: [] for name in bench.programs}
            for _ in range(rounds):
                for name, path in bench.programs.items():
                    rates[name].append(journal_round(bench, path, count, None))
            found["journald"] = {name: statistics.median(values) for name, values in rates.items()}
        finally:
            daemon.terminate()
            daemon.wait(timeout=20)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
