#!/usr/bin/env python3
"""Measure the monitor against its budgets, beside a reference conmon and the floor program.

    measure.py [--quick] [--tap] [--readme FILE] [--json FILE] [--tools DIRECTORY] [--only PART,...]
               [--keep FILE]

Everything is measured in one run on one machine. The monitor is the program that MOTE_CONMON names,
the reference is the conmon on the PATH (or in REFERENCE_CONMON). --quick is the form of the test suite,
about a minute; without it each part takes longer and is steadier, and some parts are measured only then.
The status is 1 when an enforced budget is exceeded or an enforced row could not be measured. Needs root
for the memory cgroups.

--json writes the result to a file. --keep takes the rows that are not measured now from such a file:
`--keep FILE --only none --readme README.md` measures nothing and only fills in the tables.

What each part does, and with which processes, is said at its function. Times are in seconds and memory
in kB of 1,024 bytes unless a name says otherwise.
"""

import argparse
import json
import os
import subprocess
import sys
import time

from bench import ROOT, Bench, Trouble, become_subreaper, read_text
from leavings import measure_leavings
from memory import (measure_charge, measure_charge_runc, measure_idle, measure_idle_runc,
                    measure_scale, measure_size)
from throughput import (measure_burst, measure_journal, measure_rate, measure_throughput,
                        measure_throughput_on_disk, measure_trickle)
from times import measure_calls, measure_end, measure_exec, measure_start

# The budgets: what they are of, the limit, and whether exceeding it is a failure already. The design
# notes say where the limits come from. A row that is not enforced is measured and printed all the same,
# and is no test.
#
#      key                  what                                                unit   limit  enforced
BUDGETS = [
    ("size",               "stripped static binary",                            "B",   98304, True),
    ("rss",                "RSS, idle",                                         "kB",     96, True),
    ("private_dirty",      "private dirty, idle",                               "kB",     40, True),
    ("pss",                "PSS, idle, some of them running",                   "kB",   None, False),
    ("rss_runc",           "RSS, idle, under runc",                             "kB",     96, True),
    ("private_dirty_runc", "private dirty, idle, under runc",                   "kB",     40, True),
    ("charge",             "memory charge of one more container",               "kB",    180, True),
    ("charge_runc",        "memory charge of one more container, under runc",   "kB",    180, True),
    ("charge_bare",        "  a bare static process, for comparison",           "kB",   None, False),
    ("start",              "exec of monitor to exec of runtime, by the floor",  "x",     1.6, True),
    ("start_us",           "  the same, median",                                "us",   None, False),
    ("start_floor_us",     "  the floor's, median",                             "us",   None, False),
    ("calls",              "system calls until the exec of the runtime",        "",       60, True),
    ("calls_fork",         "  the same with the fork into the background",      "",     None, False),
    ("calls_exec",         "  the same of an exec session",                     "",     None, False),
    ("exec_end",           "exec session, whole, by conmon's",                  "x",    None, False),
    ("exec_end_us",        "  the same, median",                                "us",   None, False),
    ("exec_us",            "  its exec to the exec of the runtime, median",     "us",   None, False),
    ("end_file",           "end of container to exit file, by conmon's",        "x",    None, False),
    ("end_file_us",        "  the same, median",                                "us",   None, False),
    ("end_command",        "end of container to exit command, by conmon's",     "x",    None, False),
    ("end_command_us",     "  the same, median",                                "us",   None, False),
    ("switches",           "context switches in 10 s, idle",                    "",        0, True),
    ("ticks",              "CPU ticks in 10 s, idle",                           "",        0, True),
    ("fds",                "open descriptors, idle",                            "",       16, True),
    ("burst_over_idle",    "RSS 1 s after a burst, above idle",                 "kB",      8, True),
    ("burst_peak",         "RSS in a burst with 4 clients",                     "kB",    384, True),
    ("through_16",         "throughput, 16-byte lines, by conmon's",            "x",     5.0, False),
    ("through_80",         "throughput, 80-byte lines, by conmon's",            "x",     2.5, True),
    ("through_1000",       "throughput, 1000-byte lines, by conmon's",          "x",     2.0, False),
    ("through_8000",       "throughput, 8000-byte lines, by conmon's",          "x",     2.0, True),
    ("disk_16",            "throughput, 16-byte lines, on a disk, by conmon's",   "x",    5.0, False),
    ("disk_cpu_16",        "  CPU for that, by conmon's",                       "x",    None, False),
    ("disk_80",            "throughput, 80-byte lines, on a disk, by conmon's",   "x",    2.5, False),
    ("disk_cpu_80",        "  CPU for that, by conmon's",                       "x",    None, False),
    ("disk_1000",          "throughput, 1000-byte lines, on a disk, by conmon's", "x",    2.0, False),
    ("disk_cpu_1000",      "  CPU for that, by conmon's",                       "x",    None, False),
    ("disk_8000",          "throughput, 8000-byte lines, on a disk, by conmon's", "x",    2.0, False),
    ("disk_cpu_8000",      "  CPU for that, by conmon's",                       "x",    None, False),
    ("cpu_1000",           "CPU of 1000-byte lines, by a plain copy's",         "x",     1.5, True),
    ("cpu_8000",           "CPU of 8000-byte lines, by a plain copy's",         "x",     1.5, True),
    ("cpu_s_1000",         "  CPU seconds per GB of 1000-byte lines",           "s",    None, False),
    ("trickle_line",       "CPU of a line a hundred times a second, by conmon's", "x",   None, False),
    ("trickle_line_us",    "  the same, per second, median",                    "us",   None, False),
    ("trickle_batch",      "CPU of 60 lines ten times a second, by conmon's",   "x",    None, False),
    ("trickle_batch_us",   "  the same, per second, median",                    "us",   None, False),
    ("rate_none",          "log of 2 s of a flood, on a disk",                  "MB",   None, False),
    ("rate_wait",          "  with MOTE_LOG_RATE=100000, wait",                 "MB",   None, False),
    ("rate_drop",          "  the same, drop",                                  "MB",   None, False),
    ("journal_sink",       "journal messages, nobody else slow, by conmon's",   "x",    None, False),
    ("journal_sink_per_s", "  the same, per second",                            "",     None, False),
    ("journal_journald",   "messages through a journald, by conmon's",          "x",    None, False),
    ("journal_journald_per_s", "  the same, per second",                        "",     None, False),
    ("many_charge",        "memory charge of 1,000 monitors",                   "MB",   None, False),
    ("many_start",         "start of 1,000 containers",                         "s",    None, False),
    ("many_switches",      "context switches of 1,000 in a minute, idle",       "",        0, True),
    ("leavings",           "things wrong after starts and ends in a row",       "",        0, True),
]
AT_LEAST = {f"{what}_{length}" for what in ("through", "disk") for length in (16, 80, 1000, 8000)}

# In this order: what needs quiet first. Each part names the rows that it fills, and says whether it is
# for the long form only.
PARTS = {
    "size": (measure_size, ["size"], False),
    "idle": (measure_idle, ["rss", "private_dirty", "pss", "fds", "switches", "ticks"], False),
    "runc": (measure_idle_runc, ["rss_runc", "private_dirty_runc"], False),
    "start": (measure_start, ["start", "start_us", "start_floor_us"], False),
    "calls": (measure_calls, ["calls", "calls_fork", "calls_exec"], False),
    "exec": (measure_exec, ["exec_end", "exec_end_us", "exec_us"], False),
    "end": (measure_end, ["end_file", "end_file_us", "end_command", "end_command_us"], False),
    "charge": (measure_charge, ["charge", "charge_bare"], False),
    "charge-runc": (measure_charge_runc, ["charge_runc"], True),
    "leavings": (measure_leavings, ["leavings"], False),
    "burst": (measure_burst, ["burst_over_idle", "burst_peak"], False),
    "throughput": (measure_throughput,
                   ["through_16", "through_80", "through_1000", "through_8000", "cpu_1000", "cpu_8000",
                    "cpu_s_1000"], False),
    "disk": (measure_throughput_on_disk,
             [f"{what}_{length}" for length in (16, 80, 1000, 8000) for what in ("disk", "disk_cpu")],
             True),
    "trickle": (measure_trickle, [f"trickle_{row}" for row in ("line", "line_us", "batch", "batch_us")], True),
    "rate": (measure_rate, ["rate_none", "rate_wait", "rate_drop"], True),
    "journal": (measure_journal, ["journal_sink", "journal_sink_per_s", "journal_journald",
                                  "journal_journald_per_s"], True),
    "scale": (measure_scale, ["many_charge", "many_start", "many_switches"], True),
}


def shown(value):
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}"


def is_within(key, value, limit):
    return value >= limit if key in AT_LEAST else value <= limit


def judge(bench, rows):
    """The table's rows. The verdict of an enforced row is ok, OVER or FAILED; of another one that has a
    limit, it is words in brackets; of the rest it is empty."""
    table = []
    for key, what, unit, limit, enforced in BUDGETS:
        if key not in rows:
            continue
        mote = bench.values.get(key, {}).get("mote")
        trouble = bench.troubles.get(key)
        if limit is None:
            verdict = ""
        elif mote is None or (trouble and key != "leavings"):
            verdict = "FAILED" if enforced else "(not measured)"
        elif is_within(key, mote, limit):
            verdict = "ok" if enforced else "(within, not enforced)"
        else:
            verdict = "OVER" if enforced else "(over, not enforced)"
        table.append({"key": key, "what": what, "unit": unit, "measured": mote, "budget": limit,
                      "enforced": enforced, "conmon": bench.values.get(key, {}).get("conmon"),
                      "verdict": verdict, "trouble": trouble})
    return table


def version(path):
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["?"])[0]


def result_of(bench, rows):
    """All that was measured, as --json writes it."""
    reference = bench.programs.get("conmon")
    return {"mote": version(bench.mote), "conmon": version(reference) if reference else None,
            "kernel": os.uname().release, "machine": os.uname().machine, "cpus": os.cpu_count(),
            "quick": bench.quick, "rows": judge(bench, rows), **bench.details}


def merge(kept, result):
    """`result`, with what only `kept` has, in the order of the budgets."""
    rows = {row["key"]: row for row in kept["rows"] + result["rows"]}
    merged = {**kept, **result}
    merged["rows"] = [rows[key] for key, *_ in BUDGETS if key in rows]
    return merged


def print_table(result, prefix):
    print(f"{prefix}measured: mote, as {result['mote']}; beside it: {result['conmon']}")
    print(f"{prefix}{'what':<52}{'measured':>11}{'budget':>11}{'conmon':>11}")
    for row in result["rows"]:
        at_least = ">" if row["key"] in AT_LEAST else ""
        budget = "" if row["budget"] is None else at_least + shown(row["budget"])
        what = f"{row['what']}, {row['unit']}" if row["unit"] else row["what"]
        print(f"{prefix}{what:<52}{shown(row['measured']):>11}{budget:>11}{shown(row['conmon']):>11}"
              f"  {row['verdict']}".rstrip())
        if row["trouble"]:
            for line in row["trouble"].splitlines():
                print(f"{prefix}    {line}")


def what_is_written(case):
    if case == "0":
        return "no newline at all"
    if case == "both":
        return "80-byte lines, both streams"
    if case == "client":
        return "80-byte lines, one client"
    return f"{int(case):,}-byte lines" if case != "1" else "1-byte lines"


def throughput_lines(found):
    """A table of the throughput in Markdown."""
    if not found:
        return
    yield ""
    yield "| MB/s written | mote | conmon | plain copy | by conmon's | by the copy's | CPU s/GB | conmon's |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for case, programs in found.items():
        mote, conmon, floor = (programs.get(name) for name in ("mote", "conmon", "floor"))

        def ratio(other, mote=mote):
            return shown(mote["mbps"] / other["mbps"]) if other else "-"
        cells = [what_is_written(case), shown(mote["mbps"]), shown(conmon["mbps"]) if conmon else "-",
                 shown(floor["mbps"]) if floor else "-", ratio(conmon), ratio(floor),
                 shown(mote["cpu"]), shown(conmon["cpu"]) if conmon else "-"]
        yield "| " + " | ".join(cells) + " |"


def scale_lines(found):
    """A table of many containers in Markdown."""
    if not found:
        return
    yield ""
    yield ("| containers | monitor | PSS of all, MB | memory charge, MB | MemAvailable less, containers too, MB "
           "| started in, s | CPU in a minute, ms | switches in a minute |")
    yield "|---:|---|---:|---:|---:|---:|---:|---:|"
    for count, programs in found.items():
        for name, numbers in programs.items():
            cells = [f"{int(count):,}", name] + [shown(numbers[key]) for key in (
                "pss_mb", "charge_mb", "available_mb", "start_s", "cpu_ms_per_minute",
                "switches_per_minute")]
            yield "| " + " | ".join(cells) + " |"


def write_readme(result, path):
    """Put the tables between the two marks for them in the file at `path`."""
    name = (result["conmon"] or "conmon").replace(" version", "")
    lines = [f"| what | mote | budget | {name} |", "|---|---:|---:|---:|"]
    for row in result["rows"]:
        what = row["what"].replace("  ", "… ", 1) + (f", {row['unit']}" if row["unit"] else "")
        budget = "" if row["budget"] is None else (
            ("at least " if row["key"] in AT_LEAST else "") + shown(row["budget"]))
        lines.append(f"| {what} | {shown(row['measured'])} | {budget} | {shown(row['conmon'])} |")
    lines += throughput_lines(result.get("throughput", {}))
    lines += scale_lines(result.get("scale", {}))
    shares = list(result.get("idle_before", {}).values())
    busy = " Other work kept the CPUs busy meanwhile." if shares and sum(shares) < len(shares) / 2 else ""
    lines.append(f"\nLinux {result['kernel'].split('-')[0]}, {result['cpus']} CPUs, {result['machine']}.{busy}")
    begin, end = "<!-- numbers:begin -->", "<!-- numbers:end -->"
    before, _, rest = read_text(path).partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no place for the numbers: {begin} ... {end}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")


def print_tap(table):
    """A row without a limit, or with one that is not enforced, is no test: it is in the table only."""
    judged = [row for row in table if row["enforced"]]
    print(f"1..{len(judged)}")
    for number, row in enumerate(judged, 1):
        good = row["verdict"] == "ok"
        print(f"{'ok' if good else 'not ok'} {number} - {row['what']}: {shown(row['measured'])}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("--readme")
    parser.add_argument("--json")
    parser.add_argument("--tools", default=f"{ROOT}/build-budget")
    parser.add_argument("--only")
    parser.add_argument("--keep")
    options = parser.parse_args()
    wanted = [name for name in options.only.split(",") if name != "none"] if options.only else [
        name for name, (_, _, long_only) in PARTS.items() if not (options.quick and long_only)]

    prefix = "# " if options.tap else ""
    rows = []
    with Bench(options.tools, options.quick) as bench:
        become_subreaper()
        bench.limits = {key: limit for key, _, _, limit, _ in BUDGETS}
        for name in wanted:
            part, keys, _ = PARTS[name]
            rows += keys
            idle = bench.await_quiet(20)
            if idle is not None:
                bench.details.setdefault("idle_before", {})[name] = round(idle, 2)
            start = time.monotonic()
            try:
                part(bench)
            except (Trouble, OSError, ValueError, KeyError, subprocess.SubprocessError) as trouble:
                for key in keys:
                    bench.troubles[key] = f"{type(trouble).__name__}: {trouble}"
            print(f"{prefix}{name}: {time.monotonic() - start:.1f} s"
                  + ("" if idle is None else f", the CPUs were {idle:.0%} idle before"),
                  file=sys.stderr, flush=True)

    result = result_of(bench, rows)
    if options.keep:
        result = merge(json.loads(read_text(options.keep)), result)
    print_table(result, prefix)
    if options.readme:
        write_readme(result, options.readme)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    if options.tap:
        print_tap(result["rows"])
    return 1 if any(row["verdict"] in ("OVER", "FAILED") for row in result["rows"]) else 0


sys.exit(main())
