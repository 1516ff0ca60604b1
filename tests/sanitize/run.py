#!/usr/bin/env python3
"""Build with AddressSanitizer and UndefinedBehaviorSanitizer; run the unit tests, and the program.

    run.py --source DIR --flow DIR --runtime FILE [--whole]

The build directory is build-sanitize in the source directory. The flow tests are those of the ordinary
build (in --flow), which start the sanitized program; then random lives (tests/chaos) do. --whole runs
all of the flow tests and more lives. A report of the program's is a file (tests/sanitize/options.cpp).
Output is TAP, a line for each test program.
"""

import argparse
import glob
import json
import os
import re
import signal
import subprocess
import sys
import time

# What takes long and has no code of its own in the monitor.
FLOW_LONG = {"exec", "many", "side", "load"}
FLOW_NEVER = {"memory"}  # what weighs the monitor

CHAOS_S, CHAOS_WHOLE_S = 25, 300


def run(command, **more):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, text=True, errors="replace", **more)


def must(command):
    done = run(command)
    if done.returncode != 0:
        print("\n".join("# " + line for line in done.stdout.splitlines()[-30:]))
        print("1..1\nnot ok 1 - the sanitized build", flush=True)
        sys.exit(1)
    return done.stdout


def unit_programs(build):
    """[(name, program, arguments)] of the suite `unit`."""
    tests = json.loads(must(["meson", "introspect", "--tests", build]))
    return [(f"unit {test['name']}", test["cmd"]) for test in tests
            if "unit" in (suite.rpartition(":")[2] for suite in test["suite"])]


def flow_programs(directory, whole):
    found = []
    for path in sorted(glob.glob(f"{directory}/flow_*")):
        name = os.path.basename(path).removeprefix("flow_")
        if os.access(path, os.X_OK) and os.path.isfile(path) and name not in FLOW_NEVER and \
                (whole or name not in FLOW_LONG):
            found.append((f"flow {name}", [path]))
    return found


def reports(build):
    """The texts of what sanitizers have found wrong since the last call. A warning of ASan's that it
    does not know the stack of a process that has just been cloned is none."""
    texts = []
    for path in glob.glob(f"{build}/sanitizer-log.*"):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        os.remove(path)
        if re.search(r"ERROR: |runtime error: ", text):
            texts.append(text)
    return texts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", required=True)
    parser.add_argument("--flow", required=True)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    # nohup, and a shell's "&", leave signals ignored, which every child would inherit.
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_DFL)
    build = os.path.realpath(os.path.join(options.source, "build-sanitize"))
    started = time.monotonic()
    if not os.path.exists(f"{build}/build.ninja"):
        must(["meson", "setup", build, options.source, "--native-file",
              f"{options.source}/scripts/host.ini", "-Db_sanitize=address,undefined",
              "-Doptimization=1"])
    programs = unit_programs(build)
    must(["ninja", "-C", build, "-k", "0", "conmon",
          *(os.path.relpath(command[0], build) for _, command in programs)])
    print(f"# built in {time.monotonic() - started:.0f} s", flush=True)

    environment = dict(os.environ, MOTE_CONMON=f"{build}/conmon",
                       MOTE_TOP=f"{options.source}/scripts/mote-top")
    programs += flow_programs(options.flow, options.whole)
    chaos_s = CHAOS_WHOLE_S if options.whole else CHAOS_S
    programs.append(("random lives", [f"{options.source}/tests/chaos/run.py", "--runtime",
                                      options.runtime, "--seconds", str(chaos_s)]))
    print(f"1..{len(programs)}")
    reports(build)
    failed = 0
    for number, (name, command) in enumerate(programs, 1):
        start = time.monotonic()
        done = run(command, env=environment)
        found = reports(build)
        good = done.returncode == 0 and not found
        failed += not good
        print(f"{'' if good else 'not '}ok {number} - {name} with sanitizers "
              f"({time.monotonic() - start:.1f} s)", flush=True)
        if not good:
            for line in done.stdout.splitlines()[-40:] + "\n".join(found).splitlines()[:60]:
                print("# " + line)
    print(f"# {time.monotonic() - started:.0f} s in all")
    return 1 if failed else 0


sys.exit(main())
