"""Monitors with their stand-in containers, started as Podman starts them, and what the kernel says of them.

Used by the other programs of this folder. Times are in seconds and memory in kB of 1,024 bytes unless a
name says otherwise.
"""

import ctypes
import glob
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


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
    """CPU time that the process and the children that it has waited for have used, in seconds; its own
    is exact to the switch where the kernel keeps it. mote writes much of a log by such children."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    children = sum(int(field) for field in fields[13:15]) / os.sysconf("SC_CLK_TCK")
    try:
        return children + sum(int(read_text(f"/proc/{pid}/task/{task}/schedstat").split()[0])
                              for task in os.listdir(f"/proc/{pid}/task")) / 1e9
    except OSError:
        return children + ticks(pid) / os.sysconf("SC_CLK_TCK")


def idle_share(seconds):
    """How much of all CPU time is idle, looked at for so long."""
    def times():
        fields = [int(word) for word in read_text("/proc/stat").split("\n", 1)[0].split()[1:]]
        return fields[3] + fields[4], sum(fields[:8])
    idle, total = times()
    time.sleep(seconds)
    idle_after, total_after = times()
    return (idle_after - idle) / max(1, total_after - total)


class Running:
    """A monitor with its stand-in container, started as Podman starts one."""

    count = 0

    def __init__(self, bench, monitor, do="pause", cgroup=None, sync=False, full_attach=True,
                 environment=None, stamp=False, exit_command=True, driver="k8s-file", runc=None,
                 exec_session=False):
        Running.count += 1
        self.id = f"container-{Running.count}-of-{os.getpid()}"
        self.bundle = os.path.join(bench.work, self.id)
        self.log = os.path.join(self.bundle, "ctr.log")
        self.exit_file = os.path.join(self.bundle, "exits", self.id)
        self.link_dir = os.path.join(self.bundle, "links")
        for directory in ("exits", "links"):
            os.makedirs(os.path.join(self.bundle, directory))
        self.runc = runc
        if runc:
            runc.prepare(self)

        command = [monitor, "--api-version", "1", "-c", self.id, "-u", self.id, "-n", self.id,
                   "-r", runc.path if runc else bench.tool("runtime"), "-b", self.bundle, "-p", f"{self.bundle}/pidfile",
                   "-P", f"{self.bundle}/conmon.pid", "--exit-dir", f"{self.bundle}/exits",
                   "-l", driver + (f":{self.log}" if driver == "k8s-file" else ""),
                   "--log-level", "error", "--no-sync-log"]
        command += ["--full-attach"] if full_attach else ["--socket-dir-path", self.link_dir]
        # The words stay in the monitor's memory, so there are as many as Podman passes.
        command += ["--runtime-arg", "--log-format=json", "--runtime-arg", "--log",
                    f"--runtime-arg={self.bundle}/oci-log"]
        command += ["--runtime-arg", f"--root={runc.state}"] if runc else []
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
        if exec_session:
            command += ["--exec", "--exec-process-spec", "/dev/null"]

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
        if self.runc:
            self.runc.run("start", self.id)
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
        if self.runc:
            self.runc.run("delete", "-f", self.id)
        return status

    def remove(self):
        shutil.rmtree(self.bundle)


class Runc:
    """The real runtime, with busybox for a container that sleeps."""

    def __init__(self, bench):
        self.path = shutil.which("runc")
        busybox = shutil.which("busybox")
        if not self.path or not busybox:
            raise Trouble("runc or busybox is not installed")
        self.state = os.path.join(bench.work, "runc")
        self.rootfs = os.path.join(bench.work, "rootfs")
        for directory in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
            os.makedirs(os.path.join(self.rootfs, directory), exist_ok=True)
        shutil.copy(busybox, f"{self.rootfs}/bin/busybox")

    def run(self, *words):
        done = subprocess.run([self.path, f"--root={self.state}", *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              timeout=60)
        if done.returncode != 0:
            raise Trouble(f"runc {' '.join(words)}: {done.stdout.decode(errors='replace').strip()}")

    def prepare(self, running):
        """Write the bundle's configuration."""
        self.run("spec", "--bundle", running.bundle)
        path = f"{running.bundle}/config.json"
        config = json.loads(read_text(path))
        config["process"].update(terminal=False, args=["/bin/busybox", "sleep", "100000"])
        config["root"] = {"path": self.rootfs, "readonly": True}
        config["linux"]["cgroupsPath"] = f"/mote-budget-{os.getpid()}-{running.id}"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)


class Bench:
    """The programs that are measured, our own tools, a directory to work in that goes at the end, and
    what was measured: a value for each row and program, and what does not fit into rows."""

    def __init__(self, tools, quick=False, work=None):
        self.quick = quick
        self.values = {}  # {row: {program: value}}
        self.troubles = {}  # {row: why it could not be measured}
        self.details = {}  # {"throughput" or "scale": ...}, for the chart
        self.limits = {}  # {row: its budget}, for the parts that try again
        self.mote = os.path.realpath(os.environ.get("MOTE_CONMON", f"{ROOT}/build/conmon"))
        reference = os.environ.get("REFERENCE_CONMON") or shutil.which("conmon")
        self.programs = {"mote": self.mote}
        if reference:
            self.programs["conmon"] = reference
        self.tools = os.path.abspath(tools)
        # Logs go to memory, so that the monitor is measured and not a disk.
        self.work = work or tempfile.mkdtemp(
            prefix="mote-budget-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)

    def __enter__(self):
        # A test runner ends us with SIGTERM when we take too long; the clean-up runs all the same.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            self.build_tools()
            self.sync_programs()
        except Trouble as trouble:
            shutil.rmtree(self.work, ignore_errors=True)
            raise SystemExit(str(trouble)) from trouble
        return self

    def __exit__(self, *_):
        kill_leftovers(self)
        shutil.rmtree(self.work, ignore_errors=True)

    def await_quiet(self, limit_s):
        """Wait, in the long form and for `limit_s` at most, until others leave the CPUs alone. The share
        of CPU time that was idle at last is returned, None in the quick form."""
        if self.quick:
            return None
        end = time.monotonic() + limit_s
        while True:
            share = idle_share(0.25)
            if share > 0.85 or time.monotonic() > end:
                return share

    def put(self, key, program, value):
        self.values.setdefault(key, {})[program] = value

    def tool(self, name):
        return os.path.join(self.tools, name)

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

    def sync_programs(self):
        """Bring the programs to disk: the pages of a file that is not there yet count as dirty."""
        for path in self.programs.values():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


class Cgroup:
    """A cgroup of our own below `top`."""

    def __init__(self, top, name):
        self.top = top
        self.path = f"{top}/mote-budget-{os.getpid()}-{name}"
        os.mkdir(self.path)

    def read(self, file):
        return read_text(f"{self.path}/{file}")

    def remove(self):
        def removed():
            try:
                os.rmdir(self.path)
                return True
            except OSError:
                return False
        until(removed, f"the end of {self.path}")


class MemoryCgroup(Cgroup):
    """What memory its processes are charged, version 1 or 2."""

    def __init__(self, name):
        if os.path.isdir("/sys/fs/cgroup/memory"):
            super().__init__("/sys/fs/cgroup/memory", name)
            self.usage_file = "memory.usage_in_bytes"
        elif "memory" in read_text("/sys/fs/cgroup/cgroup.subtree_control").split():
            super().__init__("/sys/fs/cgroup", name)
            self.usage_file = "memory.current"
        else:
            raise Trouble("there is no memory cgroup to be had")

    def usage_kb(self):
        return int(self.read(self.usage_file)) / 1024


class CpuCgroup(Cgroup):
    """What CPU time its processes use, to the nanosecond, those that have ended too; version 1 or 2."""

    def __init__(self, name):
        self.is_first = os.path.isdir("/sys/fs/cgroup/cpuacct")
        super().__init__("/sys/fs/cgroup/cpuacct" if self.is_first else "/sys/fs/cgroup", name)

    def move(self, pid):
        with open(f"{self.path}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write(str(pid))

    def usage_us(self):
        if self.is_first:
            return int(self.read("cpuacct.usage")) / 1000
        return int(re.search(r"^usage_usec (\d+)$", self.read("cpu.stat"), re.M).group(1))


def kill_leftovers(bench):
    """End what a failed part has left: what names our directory on its command line or is in a cgroup
    of ours. The cgroups go too."""
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
    ours = f"mote-budget-{os.getpid()}-*"
    end = time.monotonic() + 5
    while groups := glob.glob(f"/sys/fs/cgroup/{ours}") + glob.glob(f"/sys/fs/cgroup/*/{ours}"):
        for group in groups:
            try:
                for pid in read_text(f"{group}/cgroup.procs").split():
                    os.kill(int(pid), signal.SIGKILL)
                os.rmdir(group)
            except OSError:
                pass  # Its processes are about to go.
        if time.monotonic() > end:
            return
        time.sleep(0.01)
