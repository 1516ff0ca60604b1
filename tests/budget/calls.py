#!/usr/bin/env python3
"""Print the system calls of a monitor's start, in order: see START.md.

    calls.py [--tools DIRECTORY] [--exec] [--whole] [PROGRAM]

Those between the exec of the monitor and that of the runtime, of every process on the way, or with
--whole all that it and its container make. --exec starts an exec session.
"""

import argparse
import sys

import bench as b
from times import traced, way_to_runtime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tools", default=f"{b.ROOT}/build-budget")
    parser.add_argument("--exec", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("program", nargs="?")
    options = parser.parse_args()
    with b.Bench(options.tools) as bench:
        b.become_subreaper()
        calls = traced(bench, options.program or bench.mote, exec_session=options.exec)
        if not options.whole:
            calls = way_to_runtime(calls, bench.tool("runtime"))
        for number, (pid, name, rest) in enumerate(calls, 1):
            words = rest.replace(bench.work, "W").removesuffix(" <unfinished ...>")
            print(f"{number:4} {pid:6} {name}({words}"[:150])
    return 0


sys.exit(main())
