#!/usr/bin/env python3
"""Measure the monitor against its budgets, beside a reference conmon and the floor program.

    measure.py [--quick] [--tap] [--readme FILE] [--json FILE] [--tools DIRECTORY] [--only PART,...]

Everything is measured in one run on one machine. The monitor is the program that MOTE_CONMON names,
the reference is the conmon on the PATH (or in REFERENCE_CONMON). --quick is the form of the test suite,
about a minute; without it each part takes longer and is steadier. The status is 1 when an enforced
budget is exceeded or an enforced row could not be measured. Needs root for the memory cgroups.

What each part does, and with which processes, is said at its function. Times are in seconds and memory
in kB of 1,024 bytes unless a name says otherwise.
"""

import argparse
import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

LINE_LENGTHS = [16, 80, 1000, 8000]

# The budgets: what they are of, the limit, and whether exceeding it is a failure already. The design
# notes say where the limits come from. A row that is not enforced is measured and printed all the same.
#
#      key                  what                                                unit   limit  enforced
BUDGETS = [
    ("size",               "stripped static binary",                            "B",   98304, True),
    ("rss",                "RSS, idle",                                         "kB",     96, True),
    ("private_dirty",      "private dirty, idle",                               "kB",     40, True),
    ("pss",                "PSS, idle, three of them running",                  "kB",   None, False),
    ("charge",             "memory charge of one more container",               "kB",    180, True),
    ("charge_bare",        "  a bare static process, for comparison",           "kB",   None, False),
    ("start",              "exec of monitor to exec of runtime, by the floor",  "x",     1.6, True),
    ("start_us",           "  the same, median",                                "us",   None, False),
    ("start_floor_us",     "  the floor's, median",                             "us",   None, False),
    ("switches",           "context switches in 10 s, idle",                    "",        0, True),
    ("ticks",              "CPU ticks in 10 s, idle",                           "",        0, True),
    ("fds",                "open descriptors, idle",                            "",       16, True),
    ("burst_over_idle",    "RSS 1 s after a burst, above idle",                 "kB",      8, False),
    ("burst_peak",         "RSS in a burst with 4 clients",                     "kB",    384, False),
    ("through_16",         "throughput, 16-byte lines, by conmon's",            "x",     5.0, False),
    ("through_80",         "throughput, 80-byte lines, by conmon's",            "x",     2.5, False),
    ("through_1000",       "throughput, 1000-byte lines, by conmon's",          "x",     2.0, False),
    ("through_8000",       "throughput, 8000-byte lines, by conmon's",          "x",     2.0, False),
    ("mbps_16",            "  MB/s of 16-byte lines",                           "MB/s", None, False),
    ("mbps_80",            "  MB/s of 80-byte lines",                           "MB/s", None, False),
    ("mbps_1000",          "  MB/s of 1000-byte lines",                         "MB/s", None, False),
    ("mbps_8000",          "  MB/s of 8000-byte lines",                         "MB/s", None, False),
    ("cpu_1000",           "CPU of 1000-byte lines, by a plain copy's",         "x",     1.5, False),
    ("cpu_8000",           "CPU of 8000-byte lines, by a plain copy's",         "x",     1.5, False),
    ("cpu_s_1000",         "  CPU seconds per GB of 1000-byte lines",           "s",    None, False),
    ("leavings",           "things wrong after starts and ends in a row",       "",        0, True),
]
AT_LEAST = {"through_16", "through_80", "through_1000", "through_8000"}


class Trouble(Exception):
    """A part of the measurement could not be done; the text says why."""


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def until(condition, what, limit_s=30.0):
    """Wait until `condition()` holds; its value is returned. Trouble after `limit_s`."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Trouble(f"{what} did not happen in {limit_s:.0f} s")
        time.sleep(0.002)


def become_subreaper():
    """Make monitors that daemonise our children, so that their ends can be waited for."""
    pr_set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
        raise Trouble("cannot become a subreaper")


def smaps(pid):
    """Rss, Pss and Private_Dirty of a process in kB, counted page by page by the kernel.

    VmRSS of /proc/PID/status is no use here: it is kept per CPU and wrong by up to 128 kB each.
    """
    text = read_text(f"/proc/{pid}/smaps_rollup")
    return {key: int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1))
            for key in ("Rss", "Pss", "Private_Dirty")}


def switches(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        text = read_text(f"/proc/{pid}/task/{task}/status")
        total += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", text))
    return total


def ticks(pid):
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def cpu_s(pid):
    """CPU time that the process has used, in seconds, exact to the switch where the kernel keeps it."""
    try:
        return sum(int(read_text(f"/proc/{pid}/task/{task}/schedstat").split()[0])
                   for task in os.listdir(f"/proc/{pid}/task")) / 1e9
    except OSError:
        return ticks(pid) / os.sysconf("SC_CLK_TCK")


class Running:
    """A monitor with its stand-in container, started as Podman starts one."""

    count = 0

    def __init__(self, bench, monitor, do="pause", cgroup=None, sync=False, full_attach=True,
                 environment=None, stamp=False, exit_command=True):
        Running.count += 1
        self.id = f"c{Running.count}"
        self.bundle = os.path.join(bench.work, self.id)
        self.log = os.path.join(self.bundle, "ctr.log")
        self.exit_file = os.path.join(self.bundle, "exits", self.id)
        self.link_dir = os.path.join(self.bundle, "links")
        for directory in ("exits", "links"):
            os.makedirs(os.path.join(self.bundle, directory))

        command = [monitor, "--api-version", "1", "-c", self.id, "-u", self.id, "-n", self.id,
                   "-r", bench.tool("runtime"), "-b", self.bundle, "-p", f"{self.bundle}/pidfile",
                   "-P", f"{self.bundle}/conmon.pid", "--exit-dir", f"{self.bundle}/exits",
                   "-l", f"k8s-file:{self.log}", "--log-level", "error", "--no-sync-log"]
        command += ["--full-attach"] if full_attach else ["--socket-dir-path", self.link_dir]
        # The words stay in the monitor's memory, so there are as many as Podman passes.
        command += ["--runtime-arg", "--log-format=json", "--runtime-arg", "--log",
                    f"--runtime-arg={self.bundle}/oci-log"]
        if exit_command:
            command += ["--exit-command", "/bin/true"]
            for word in ("--root", "/var/lib/containers/storage", "--runroot",
                         "/run/containers/storage", "--log-level", "warning", "--cgroup-manager",
                         "cgroupfs", "--tmpdir", "/run/libpod", "--runtime", "runc",
                         "--storage-driver", "overlay", "--events-backend", "file",
                         "container", "cleanup", self.id * 16):
                command += ["--exit-command-arg", word]
        if sync:
            command += ["--sync"]

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        start_ours, start_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        passed = [theirs.fileno(), start_theirs.fileno()]
        variables = {"PATH": "/usr/bin:/bin", "HOME": "/root", "XDG_RUNTIME_DIR": "",
                     "_CONTAINERS_USERNS_CONFIGURED": "", "_CONTAINERS_ROOTLESS_UID": "",
                     "_OCI_SYNCPIPE": str(theirs.fileno()),
                     "_OCI_STARTPIPE": str(start_theirs.fileno()), "BUDGET_DO": do}
        variables.update(environment or {})
        self.stamps = None
        if stamp:
            self.stamps, stamp_theirs = os.pipe()
            passed.append(stamp_theirs)
            variables["BUDGET_STAMP_FD"] = str(stamp_theirs)

        def enter_cgroup():
            if cgroup:
                with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as procs:
                    procs.write("0")

        self.first = subprocess.Popen(
            command, env=variables, pass_fds=passed, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=enter_cgroup, cwd="/")
        if stamp:
            os.close(stamp_theirs)
        theirs.close()
        start_theirs.close()
        try:
            start_ours.send(b"\0")
        except OSError:
            pass  # The floor closed nothing, but a monitor that has failed may be gone already.
        start_ours.close()
        self.sync = ours
        self.is_sync = sync
        self.pid = self.first.pid
        self.container = None
        if not sync:
            said = self.first.stderr.read()
            status = self.first.wait()
            if status != 0:
                raise Trouble(f"{monitor} ended with {status}: {said.decode(errors='replace').strip()}")
            self.pid = int(read_text(f"{self.bundle}/conmon.pid"))

    def await_container(self):
        """Wait for the message that the container is there."""
        self.sync.settimeout(20)
        try:
            line = self.sync.recv(8192).decode(errors="replace")
        except OSError as error:
            raise Trouble(f"no word from the monitor: {error}") from error
        match = re.fullmatch(r'\{"data": (\d+)\}\n', line)
        if not match:
            raise Trouble(f"the monitor said {line!r}")
        self.container = int(match.group(1))
        return self

    def has_stamp(self):
        """True when read_stamp() would not wait."""
        return bool(select.select([self.stamps], [], [], 0)[0])

    def read_stamp(self):
        """The next time in ns that the runtime or the container sends; waits for it."""
        if not select.select([self.stamps], [], [], 120)[0]:
            raise Trouble("no word from the container for 120 s")
        return int.from_bytes(os.read(self.stamps, 8), "little")

    def end(self, kill=True):
        """Kill the container if told to, wait for the monitor, return its status (as exit code)."""
        if kill:
            os.kill(self.container or int(read_text(f"{self.bundle}/pidfile")), signal.SIGKILL)
        if self.is_sync:
            self.first.stderr.close()
            status = self.first.wait(timeout=30)
        else:
            def ended():
                pid, wait_status = os.waitpid(self.pid, os.WNOHANG)
                return (wait_status,) if pid else None
            status = os.waitstatus_to_exitcode(until(ended, "the end of the monitor")[0])
        self.sync.close()
        if self.stamps is not None:
            os.close(self.stamps)
        return status

    def remove(self):
        shutil.rmtree(self.bundle)


class Bench:
    """The programs, the directory to work in, and what was measured: {row: {program: value}}."""

    def __init__(self, options):
        self.quick = options.quick
        self.mote = os.path.realpath(os.environ.get("MOTE_CONMON", f"{ROOT}/build/conmon"))
        reference = os.environ.get("REFERENCE_CONMON") or shutil.which("conmon")
        self.programs = {"mote": self.mote}
        if reference:
            self.programs["conmon"] = reference
        self.tools = options.tools
        self.values = {}
        self.troubles = {}
        # Logs go to memory, so that the monitor is measured and not a disk.
        self.work = tempfile.mkdtemp(
            prefix="mote-budget-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)

    def tool(self, name):
        return os.path.join(self.tools, name)

    def put(self, key, program, value):
        self.values.setdefault(key, {})[program] = value

    def build_tools(self):
        for command in (
                ["meson", "setup", self.tools, f"{HERE}/tools", "--native-file",
                 f"{ROOT}/scripts/musl.ini"],
                ["ninja", "-C", self.tools]):
            if command[1] == "setup" and os.path.exists(f"{self.tools}/build.ninja"):
                continue
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=False)
            if done.returncode != 0:
                raise Trouble(done.stdout.decode(errors="replace"))


# ------------------------------------------------------------------------------- the parts


def measure_size(bench):
    """Bytes of the binaries on disk (the reference has its shared libraries besides)."""
    for program, path in bench.programs.items():
        bench.put("size", program, os.path.getsize(path))


def settle(bench):
    """Bring the programs to disk: the pages of a file that is not there yet count as dirty."""
    for path in bench.programs.values():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def measure_idle(bench):
    """Three of each, all running and idle for 1.5 s: memory, descriptors; then 10 s of doing nothing.

    The memory is the largest of the three, the PSS their mean.
    """
    running = {program: [Running(bench, path).await_container() for _ in range(3)]
               for program, path in bench.programs.items()}
    time.sleep(1.5)
    before = {}
    for program, monitors in running.items():
        memory = [smaps(m.pid) for m in monitors]
        bench.put("rss", program, max(m["Rss"] for m in memory))
        bench.put("private_dirty", program, max(m["Private_Dirty"] for m in memory))
        bench.put("pss", program, round(statistics.mean(m["Pss"] for m in memory)))
        bench.put("fds", program, max(len(os.listdir(f"/proc/{m.pid}/fd")) for m in monitors))
        for m in monitors:
            before[m.pid] = (switches(m.pid), ticks(m.pid))
    time.sleep(10)
    for program, monitors in running.items():
        bench.put("switches", program, max(switches(m.pid) - before[m.pid][0] for m in monitors))
        bench.put("ticks", program, max(ticks(m.pid) - before[m.pid][1] for m in monitors))
    for monitors in running.values():
        for m in monitors:
            m.end()
            m.remove()


class MemoryCgroup:
    """A memory cgroup of our own, version 1 or 2."""

    def __init__(self, name):
        if os.path.isdir("/sys/fs/cgroup/memory"):
            top, self.usage_file = "/sys/fs/cgroup/memory", "memory.usage_in_bytes"
        elif "memory" in read_text("/sys/fs/cgroup/cgroup.subtree_control").split():
            top, self.usage_file = "/sys/fs/cgroup", "memory.current"
        else:
            raise Trouble("there is no memory cgroup to be had")
        self.top = top
        self.path = f"{top}/mote-budget-{os.getpid()}-{name}"
        os.mkdir(self.path)

    def usage_kb(self):
        return int(read_text(f"{self.path}/{self.usage_file}")) / 1024

    def remove(self):
        def removed():
            try:
                os.rmdir(self.path)
                return True
            except OSError:
                return False
        until(removed, f"the end of {self.path}")


def measure_charge(bench):
    """What one more monitor with its container adds to the charge of the monitors' memory cgroup.

    Monitors are added to a cgroup; the container and the runtime move out of it, so that what the
    monitor and the kernel hold for it is left. The kernel charges ahead in lots of 64 pages per CPU, so
    the slope over many is taken. A bare static process that only sleeps is measured the same way.
    """
    first, more = (10, 50) if bench.quick else (20, 200)
    outside = MemoryCgroup("outside")
    places = {"BUDGET_CGROUP": f"{outside.path}/cgroup.procs"}
    try:
        for program, path in bench.programs.items():
            group = MemoryCgroup(program)
            running = []
            for n in range(first + more):
                if n == first:
                    time.sleep(1.5)
                    before = group.usage_kb()
                running.append(Running(bench, path, cgroup=group.path, environment=places)
                               .await_container())
            time.sleep(1.5)
            bench.put("charge", program, (group.usage_kb() - before) / more)
            for m in running:
                m.end()
                m.remove()
            group.remove()

        group = MemoryCgroup("bare")

        def enter():
            with open(f"{group.path}/cgroup.procs", "w", encoding="ascii") as procs:
                procs.write("0")

        bare = []
        for n in range(first + more):
            if n == first:
                time.sleep(0.5)
                before = group.usage_kb()
            bare.append(subprocess.Popen([bench.tool("runtime"), "pause"], preexec_fn=enter,
                                         stdin=subprocess.DEVNULL))
        time.sleep(0.5)
        bench.put("charge_bare", "mote", (group.usage_kb() - before) / more)
        for process in bare:
            process.kill()
            process.wait()
        group.remove()
    finally:
        outside.remove()


def measure_start(bench):
    """From the exec of the monitor to the first act of the runtime, --sync, over the floor's time.

    Medians of interleaved starts. Neighbours on the machine can only make a ratio look worse, and only
    for a while: when the budget is exceeded, the measurement is taken up to twice more, and the best
    counts.
    """
    rounds = 200 if bench.quick else 2000
    limit = next(row[3] for row in BUDGETS if row[0] == "start")
    names = ["floor", *bench.programs]
    paths = [bench.tool("floor"), *bench.programs.values()]
    place = os.path.join(bench.work, "starts")
    os.mkdir(place)
    best = None
    for _ in range(3):
        done = subprocess.run([bench.tool("starts"), str(rounds), place, bench.tool("runtime"), *paths],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=300)
        if done.returncode != 0:
            raise Trouble(done.stderr.strip())
        times = {name: [] for name in names}
        for line in done.stdout.splitlines():
            index, took = line.split()
            times[names[int(index)]].append(int(took) / 1000)
        medians = {name: statistics.median(values) for name, values in times.items()}
        if best is None or medians["mote"] / medians["floor"] < best["mote"] / best["floor"]:
            best = medians
        if best["mote"] / best["floor"] <= limit:
            break
    for program in bench.programs:
        bench.put("start", program, best[program] / best["floor"])
        bench.put("start_us", program, best[program])
    bench.put("start_floor_us", "mote", best["floor"])
    shutil.rmtree(place)


def flood(bench, program, length, total):
    """Let a container write `total` bytes in lines of `length`; return (MB/s, CPU seconds per GB).

    The time is the generator's, from its first write to its last: when that is done, all but a pipe of
    it is in the log. The CPU time is the monitor's alone, read after it has become quiet.
    """
    running = Running(bench, program, do=f"generate {length} {total}", sync=True, stamp=True,
                      exit_command=False,
                      environment={"BUDGET_GO": os.path.join(bench.work, "go")})
    running.read_stamp()
    before = cpu_s(running.pid)
    with open(os.path.join(bench.work, "go"), "wb"):
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
    running.remove()
    return total / 1e6 / seconds, cpu / (total / 1e9)


def measure_throughput(bench):
    """Lines of each length through each program in turn; the best of some rounds counts for each."""
    os.mkfifo(os.path.join(bench.work, "go"))
    rounds, scale = (2, 1) if bench.quick else (5, 4)
    totals = {16: 24_000_000, 80: 100_000_000, 1000: 200_000_000, 8000: 200_000_000}
    programs = {"floor": bench.tool("floor"), **bench.programs}
    for length in LINE_LENGTHS:
        speed = dict.fromkeys(programs, 0.0)
        cpu = dict.fromkeys(programs, float("inf"))
        for _ in range(rounds):
            for name, path in programs.items():
                mbps, seconds = flood(bench, path, length, totals[length] * scale)
                speed[name] = max(speed[name], mbps)
                cpu[name] = min(cpu[name], seconds)
        for name in bench.programs:
            bench.put(f"mbps_{length}", name, speed[name])
            if "conmon" in speed:
                bench.put(f"through_{length}", name, speed[name] / speed["conmon"])
            if length >= 1000:
                bench.put(f"cpu_{length}", name, cpu[name] / cpu["floor"])
            if length == 1000:
                bench.put("cpu_s_1000", name, cpu[name])


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
        descriptors = f"/proc/{running.pid}/fd"
        accepted = len(os.listdir(descriptors)) + 4
        readers = [subprocess.Popen([bench.tool("reader"), f"{running.bundle}/attach"],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
                   for _ in range(4)]
        try:
            for reader in readers:
                if reader.stdout.readline() != b"connected\n":
                    raise Trouble("a client could not attach")
            until(lambda: len(os.listdir(descriptors)) >= accepted, "the attaching of four clients")
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


def measure_leavings(bench):
    """Containers that start and end, one after the other; everything about each end is checked.

    Counts what is wrong: a log, an exit file or a status that is not right, a file, link, socket,
    process or zombie that stays. Half of them have their attach socket behind a link.
    """
    rounds = 200 if bench.quick else 1000
    wrong = []
    for n in range(rounds):
        code = n % 256
        running = Running(bench, bench.mote, do=f"exit {code}", full_attach=n % 2 == 0)
        running.await_container()
        status = running.end(kill=False)
        if status != code:
            wrong.append(f"{n}: the monitor ended with {status}")
        if not os.path.exists(running.exit_file) or read_text(running.exit_file) != str(code):
            wrong.append(f"{n}: the exit file is not right")
        lines = sorted(line.split(" ", 1)[1] for line in read_text(running.log).splitlines())
        if lines != [f"stderr F error {code}", f"stdout F container {code}"]:
            wrong.append(f"{n}: the log has {lines}")
        left = set(os.listdir(running.bundle)) | {
            f"{directory}/{name}" for directory in ("exits", "links")
            for name in os.listdir(os.path.join(running.bundle, directory))}
        # What the caller removes: contract of the files.
        left -= {"exits", "links", f"exits/{running.id}", "ctr.log", "pidfile", "conmon.pid",
                 "ctl", "winsz"}
        if left:
            wrong.append(f"{n}: left behind: {sorted(left)}")
        running.remove()
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        wrong.append(f"a process is left: {pid or 'still running'}")
    except ChildProcessError:
        pass  # None is left.
    bench.put("leavings", "mote", len(wrong))
    if wrong:
        bench.troubles["leavings"] = "; ".join(wrong[:5])


# In this order: what needs quiet first. Each part names the rows that it fills.
PARTS = {
    "size": (measure_size, ["size"]),
    "idle": (measure_idle, ["rss", "private_dirty", "pss", "fds", "switches", "ticks"]),
    "start": (measure_start, ["start", "start_us", "start_floor_us"]),
    "charge": (measure_charge, ["charge", "charge_bare"]),
    "leavings": (measure_leavings, ["leavings"]),
    "burst": (measure_burst, ["burst_over_idle", "burst_peak"]),
    "throughput": (measure_throughput,
                   ["through_16", "through_80", "through_1000", "through_8000", "mbps_16", "mbps_80",
                    "mbps_1000", "mbps_8000", "cpu_1000", "cpu_8000", "cpu_s_1000"]),
}


# ------------------------------------------------------------------------------- the report


def shown(value):
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}"


def judge(bench, rows):
    """The table's rows: (key, what, measured, budget, conmon, verdict); verdict is ok, OVER, ..."""
    table = []
    for key, what, unit, limit, enforced in BUDGETS:
        if key not in rows:
            continue
        mote = bench.values.get(key, {}).get("mote")
        trouble = bench.troubles.get(key)
        if limit is None:
            verdict = ""
        elif mote is None or (trouble and key != "leavings"):
            verdict = "FAILED" if enforced else "failed (not enforced)"
        elif (mote >= limit) if key in AT_LEAST else (mote <= limit):
            verdict = "ok"
        else:
            verdict = "OVER" if enforced else "over (not enforced)"
        table.append({"key": key, "what": what, "unit": unit, "measured": mote, "budget": limit,
                      "conmon": bench.values.get(key, {}).get("conmon"), "verdict": verdict,
                      "trouble": trouble})
    return table


def version(path):
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["?"])[0]


def print_table(bench, table, prefix):
    reference = bench.programs.get("conmon")
    print(f"{prefix}measured: {bench.mote}, {version(bench.mote)}")
    print(f"{prefix}conmon:   {reference}, {version(reference) if reference else 'none'}")
    print(f"{prefix}{'what':<52}{'measured':>11}{'budget':>11}{'conmon':>11}")
    for row in table:
        at_least = ">" if row["key"] in AT_LEAST else ""
        budget = "" if row["budget"] is None else at_least + shown(row["budget"])
        what = f"{row['what']}, {row['unit']}" if row["unit"] else row["what"]
        print(f"{prefix}{what:<52}{shown(row['measured']):>11}{budget:>11}{shown(row['conmon']):>11}"
              f"  {row['verdict']}".rstrip())
        if row["trouble"]:
            for line in row["trouble"].splitlines():
                print(f"{prefix}    {line}")


def write_readme(bench, table, path):
    """Put the table between the two marks for it in the file at `path`."""
    reference = bench.programs.get("conmon")
    name = version(reference).replace(" version", "") if reference else "conmon"
    lines = [f"| what | mote | budget | {name} |", "|---|---:|---:|---:|"]
    for row in table:
        what = f"{row['what'].strip()}, {row['unit']}" if row["unit"] else row["what"].strip()
        budget = "" if row["budget"] is None else (
            ("at least " if row["key"] in AT_LEAST else "") + shown(row["budget"]))
        lines.append(f"| {what} | {shown(row['measured'])} | {budget} | {shown(row['conmon'])} |")
    lines.append(f"\nLinux {os.uname().release.split('-')[0]}, {os.cpu_count()} CPUs, {os.uname().machine}.")
    begin, end = "<!-- numbers:begin -->", "<!-- numbers:end -->"
    before, _, rest = read_text(path).partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no place for the numbers: {begin} ... {end}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")


def print_tap(table):
    judged = [row for row in table if row["verdict"]]
    print(f"1..{len(judged)}")
    for number, row in enumerate(judged, 1):
        bad = row["verdict"] in ("OVER", "FAILED")
        line = f"{'not ok' if bad else 'ok'} {number} - {row['what']}: {shown(row['measured'])}"
        print(line + (" # SKIP not enforced" if "not enforced" in row["verdict"] else ""))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("--readme")
    parser.add_argument("--json")
    parser.add_argument("--tools", default=f"{ROOT}/build-budget")
    parser.add_argument("--only", default=",".join(PARTS))
    options = parser.parse_args()
    options.tools = os.path.abspath(options.tools)

    # A test runner ends us with SIGTERM when we take too long; the clean-up below runs all the same.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bench = Bench(options)
    prefix = "# " if options.tap else ""
    rows = []
    try:
        bench.build_tools()
        settle(bench)
        become_subreaper()
        for name in options.only.split(","):
            part, keys = PARTS[name]
            rows += keys
            start = time.monotonic()
            try:
                part(bench)
            except (Trouble, OSError, ValueError, subprocess.SubprocessError) as trouble:
                for key in keys:
                    bench.troubles[key] = f"{type(trouble).__name__}: {trouble}"
            print(f"{prefix}{name}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
    finally:
        kill_leftovers(bench)
        shutil.rmtree(bench.work, ignore_errors=True)

    table = judge(bench, rows)
    print_table(bench, table, prefix)
    if options.readme:
        write_readme(bench, table, options.readme)
    if options.tap:
        print_tap(table)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"mote": version(bench.mote), "kernel": os.uname().release,
                       "conmon": version(bench.programs["conmon"]) if "conmon" in bench.programs
                       else None, "quick": options.quick, "rows": table}, file, indent=1)
            file.write("\n")
    return 1 if any(row["verdict"] in ("OVER", "FAILED") for row in table) else 0


def kill_leftovers(bench):
    """End what a failed part has left: every process whose command line names our directory."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read()
            if bench.work.encode() in words:
                os.kill(int(entry), signal.SIGKILL)
        except OSError:
            continue
    for directory in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        for name in os.listdir(directory) if os.path.isdir(directory) else []:
            if name.startswith(f"mote-budget-{os.getpid()}-"):
                try:
                    os.rmdir(os.path.join(directory, name))
                except OSError:
                    pass


sys.exit(main())
