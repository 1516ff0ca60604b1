"""What an idle monitor costs: memory, descriptors, wake-ups; one, a few, and a thousand of them."""

import os
import re
import shutil
import statistics
import subprocess
import time

from bench import MemoryCgroup, Runc, Running, Trouble, cpu_s, read_text, smaps, switches, ticks


def measure_size(bench):
    """Bytes of the binaries on disk (the reference has its shared libraries besides)."""
    for program, path in bench.programs.items():
        bench.put("size", program, os.path.getsize(path))


def measure_idle(bench):
    """Some of each, all running and idle for 2.5 s: memory, descriptors; then 10 s of doing nothing.

    The kernel puts the stack of each process at a random place, on a page more or less. The memory
    is the median, the PSS the mean.
    """
    count = 5 if bench.quick else 25
    running = {program: [Running(bench, path).await_container() for _ in range(count)]
               for program, path in bench.programs.items()}
    time.sleep(2.5)
    before = {}
    for program, monitors in running.items():
        memory = [smaps(m.pid) for m in monitors]
        bench.put("rss", program, statistics.median(m["Rss"] for m in memory))
        bench.put("private_dirty", program, statistics.median(m["Private_Dirty"] for m in memory))
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


def measure_idle_runc(bench):
    """The memory once more with containers of a real runtime."""
    runc = Runc(bench)
    running = {program: [Running(bench, path, runc=runc).await_container() for _ in range(3)]
               for program, path in bench.programs.items()}
    time.sleep(2.5)
    for program, monitors in running.items():
        memory = [smaps(m.pid) for m in monitors]
        bench.put("rss_runc", program, statistics.median(m["Rss"] for m in memory))
        bench.put("private_dirty_runc", program,
                  statistics.median(m["Private_Dirty"] for m in memory))
        for m in monitors:
            m.end()
            m.remove()


def slope(group, first, more, start):
    """What each of `more` things that start() makes adds to the charge of a cgroup, in kB.

    The kernel charges ahead in lots of 64 pages per CPU, so the slope over many is taken, after some
    that are not counted.
    """
    made = [start() for _ in range(first)]
    time.sleep(2.5)
    before = group.usage_kb()
    made += [start() for _ in range(more)]
    time.sleep(2.5)
    return (group.usage_kb() - before) / more, made


def measure_charge(bench):
    """What one more monitor with its container adds to the charge of the monitors' memory cgroup.

    Monitors are added to a cgroup; the container and the runtime move out of it, so that what the
    monitor and the kernel hold for it is left. A bare static process that only sleeps, and that was
    forked inside the cgroup as a monitor is, is measured the same way.
    """
    first, more = (10, 50) if bench.quick else (20, 200)
    outside = MemoryCgroup("outside")
    places = {"BUDGET_CGROUP": f"{outside.path}/cgroup.procs"}
    try:
        for program, path in bench.programs.items():
            group = MemoryCgroup(program)
            charge, running = slope(
                group, first, more, lambda path=path, group=group: Running(
                    bench, path, cgroup=group.path, environment=places).await_container())
            bench.put("charge", program, charge)
            for m in running:
                m.end()
                m.remove()
            group.remove()

        group = MemoryCgroup("bare")

        def enter():
            with open(f"{group.path}/cgroup.procs", "w", encoding="ascii") as procs:
                procs.write("0")

        charge, _ = slope(group, first, more, lambda: subprocess.run(
            [bench.tool("runtime"), "fork-pause"], preexec_fn=enter, stdin=subprocess.DEVNULL,
            check=True))
        bench.put("charge_bare", "mote", charge)
        for pid in read_text(f"{group.path}/cgroup.procs").split():
            os.kill(int(pid), 9)
            os.waitpid(int(pid), 0)
        group.remove()
    finally:
        outside.remove()


def measure_charge_runc(bench):
    """The same with containers of a real runtime, which leave the monitors' cgroup by themselves. What
    runc keeps of each in memory, its state on a tmpfs, is charged too: some 30 kB under any monitor."""
    runc = Runc(bench)
    for program, path in bench.programs.items():
        group = MemoryCgroup(program)
        charge, running = slope(
            group, 5, 40, lambda path=path, group=group: Running(
                bench, path, cgroup=group.path, runc=runc).await_container())
        bench.put("charge_runc", program, charge)
        for m in running:
            m.end()
            m.remove()
        group.remove()


def available_mb():
    return int(re.search(r"MemAvailable:\s+(\d+)", read_text("/proc/meminfo")).group(1)) / 1024


class Many:
    """`count` monitors with sleeping containers, started as fast as the machine allows."""

    def __init__(self, bench, program, count, group=None, outside=None):
        def enter():
            if group:
                with open(f"{group.path}/cgroup.procs", "w", encoding="ascii") as procs:
                    procs.write("0")

        self.place = os.path.join(bench.work, "many")
        os.mkdir(self.place)
        self.keeper = subprocess.Popen(
            [bench.tool("many"), str(count), self.place, bench.tool("runtime"), program],
            preexec_fn=enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={"BUDGET_CGROUP": f"{outside.path}/cgroup.procs"} if outside else {})
        words = self.keeper.stdout.readline().split()
        if len(words) != count + 1:
            self.end()
            raise Trouble(f"{count} containers under {program} did not all start")
        self.start_s = int(words[0]) / 1000
        self.pids = [int(word) for word in words[1:]]

    def end(self):
        self.keeper.stdin.close()
        self.keeper.stdout.read()
        self.keeper.wait(timeout=120)
        shutil.rmtree(self.place)


def time_many(bench, program, count):
    """Seconds of the start, and what MemAvailable sinks by, in MB: the mean of what it loses at the start
    and what it has again at the end."""
    before = available_mb()
    many = Many(bench, program, count)
    time.sleep(1.5)
    during = available_mb()
    many.end()
    time.sleep(1.5)
    return many.start_s, (before + available_mb()) / 2 - during


def weigh_many(bench, program, count):
    """What they need once they are idle, and for doing nothing for a minute. The containers are moved out
    of the monitors' cgroup, which takes so long that the start is not to be timed here."""
    group, outside = MemoryCgroup("many"), MemoryCgroup("outside")
    many = Many(bench, program, count, group, outside)
    try:
        time.sleep(3)
        charge, pss = group.usage_kb(), [smaps(pid)["Pss"] for pid in many.pids]
        before = [(cpu_s(pid), switches(pid)) for pid in many.pids]
        time.sleep(60)
        after = [(cpu_s(pid), switches(pid)) for pid in many.pids]
    finally:
        many.end()
    group.remove()
    outside.remove()
    return {"pss_mb": sum(pss) / 1024, "charge_mb": charge / 1024,
            "cpu_ms_per_minute": sum(b[0] - a[0] for a, b in zip(before, after)) * 1000,
            "switches_per_minute": sum(b[1] - a[1] for a, b in zip(before, after))}


def measure_scale(bench):
    """10, 100 and 1,000 sleeping containers under each program."""
    scale = bench.details["scale"] = {}
    for count in (10, 100, 1000):
        found = scale[str(count)] = {
            program: weigh_many(bench, path, count) for program, path in bench.programs.items()}
        rounds = []
        for _ in range(5):
            bench.await_quiet(5)
            rounds.append({program: time_many(bench, path, count)
                           for program, path in bench.programs.items()})
        for program in bench.programs:
            found[program]["start_s"] = statistics.median(r[program][0] for r in rounds)
            # For fewer it is lost in what else the machine does.
            found[program]["available_mb"] = (
                statistics.median(r[program][1] for r in rounds) if count == 1000 else None)
    for program, found in scale["1000"].items():
        bench.put("many_charge", program, found["charge_mb"])
        bench.put("many_start", program, found["start_s"])
        bench.put("many_switches", program, found["switches_per_minute"])
