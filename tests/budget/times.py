"""How long things take that a caller waits for, and how many system calls: the start, an exec session,
the end."""

import os
import re
import statistics
import shutil
import subprocess

from bench import Running, Trouble

# System calls that make a process, by strace's names.
MAKING = ("clone", "clone3", "fork", "vfork")


def run_tool(bench, name, *words):
    """Lines "INDEX NUMBER NUMBER" of a tool: {index: [(number, number)]} in microseconds."""
    done = subprocess.run([bench.tool(name), *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise Trouble(done.stderr.strip() or f"{name} ended with {done.returncode}")
    found = {}
    for line in done.stdout.splitlines():
        index, *numbers = (int(word) for word in line.split())
        found.setdefault(index, []).append(tuple(number / 1000 for number in numbers))
    return found


def medians(lines):
    return tuple(statistics.median(column) for column in zip(*lines))


def measure_start(bench):
    """From the exec of the monitor to the first act of the runtime, --sync, over the floor's time.

    Medians of interleaved starts. Neighbours on the machine can only make a ratio look worse, and only
    for a while: when the budget is exceeded, the measurement is taken up to twice more, and the best
    counts.
    """
    rounds = "200" if bench.quick else "2000"
    names = ["floor", *bench.programs]
    paths = [bench.tool("floor"), *bench.programs.values()]
    best = None
    for _ in range(3):
        bench.await_quiet(10)
        found = run_tool(bench, "starts", "create", rounds, bench.work, bench.tool("runtime"), *paths)
        took = {name: medians(found[index])[0] for index, name in enumerate(names)}
        if best is None or took["mote"] / took["floor"] < best["mote"] / best["floor"]:
            best = took
        if best["mote"] / best["floor"] <= bench.limits["start"]:
            break
    for program in bench.programs:
        bench.put("start", program, best[program] / best["floor"])
        bench.put("start_us", program, best[program])
    bench.put("start_floor_us", "mote", best["floor"])


def measure_exec(bench):
    """An exec session, as a health check is one: from the exec of the monitor to the runtime's first
    act, and to the monitor's end, with a process that ends at once."""
    rounds = "100" if bench.quick else "1000"
    found = run_tool(bench, "starts", "exec", rounds, bench.work, bench.tool("runtime"),
                     *bench.programs.values())
    for index, program in enumerate(bench.programs):
        to_runtime, to_end = medians(found[index])
        bench.put("exec_us", program, to_runtime)
        bench.put("exec_end_us", program, to_end)
    if "conmon" in bench.programs:
        for program in bench.programs:
            bench.put("exec_end", program, bench.values["exec_end_us"][program]
                      / bench.values["exec_end_us"]["conmon"])


def measure_end(bench):
    """From the end of the container to the exit file, and to the first act of the exit command."""
    rounds = "40" if bench.quick else "400"
    found = run_tool(bench, "ends", rounds, bench.work, bench.tool("runtime"),
                     *bench.programs.values())
    for index, program in enumerate(bench.programs):
        to_file, to_command = medians(found[index])
        bench.put("end_file_us", program, to_file)
        bench.put("end_command_us", program, to_command)
    if "conmon" in bench.programs:
        for key in ("end_file", "end_command"):
            for program in bench.programs:
                bench.put(key, program, bench.values[f"{key}_us"][program]
                          / bench.values[f"{key}_us"]["conmon"])


def traced(bench, program, **how):
    """[(pid, system call, the rest of the line)] of a monitor from its own exec on, in order. Its
    container ends at once, since strace ends only with all that it follows."""
    if not shutil.which("strace"):
        raise Trouble("strace is not installed")
    record = os.path.join(bench.work, "trace")
    wrapper = os.path.join(bench.work, "traced")
    with open(wrapper, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec strace -f -qq -e signal=none -o {record} {program} "$@"\n')
    os.chmod(wrapper, 0o755)
    running = Running(bench, wrapper, do="exit 0", exit_command=False, **how)
    status = running.await_container().end(kill=False)
    if status != 0:
        raise Trouble(f"{program} under strace ended with {status}")
    running.remove()
    calls = []
    with open(record, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = re.match(r"(\d+) +(\w+)\((.*)", line)
            if match and "resumed>" not in line:
                calls.append((int(match.group(1)), match.group(2), match.group(3)))
    return calls


def way_to_runtime(calls, runtime):
    """Those of the calls that lie between the exec of the monitor and that of the runtime: of every
    process on the way from one to the other, what it does until it has made the next."""
    parents = {}
    executed = next((n for n, (_, name, rest) in enumerate(calls)
                     if name == "execve" and rest.startswith(f'"{runtime[:30]}')), None)
    if executed is None:
        raise Trouble("the runtime was not seen to be executed")
    # A new process does something only after its maker's call has begun.
    makers = []
    for n, (pid, name, _) in enumerate(calls[:executed + 1]):
        if pid not in parents:
            parents[pid] = makers[-1] if makers else None
        if name in MAKING:
            makers.append((n, pid))
    on_the_way = []
    last, process = executed, calls[executed][0]
    while True:
        on_the_way = [call for call in calls[:last + 1] if call[0] == process] + on_the_way
        if parents[process] is None:
            return on_the_way[1:]  # without the exec of the monitor itself
        last, process = parents[process]


def measure_calls(bench):
    """System calls from the exec of the monitor to that of the runtime: with --sync, as the time of
    the start is measured, with the fork into the background, and of an exec session."""
    runtime = bench.tool("runtime")
    for program, path in bench.programs.items():
        bench.put("calls", program, len(way_to_runtime(traced(bench, path, sync=True), runtime)))
        bench.put("calls_fork", program, len(way_to_runtime(traced(bench, path), runtime)))
        bench.put("calls_exec", program,
                  len(way_to_runtime(traced(bench, path, exec_session=True), runtime)))
