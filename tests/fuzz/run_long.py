#!/usr/bin/env python3
"""Run every fuzz target for a while, with new inputs in a folder of their own.

    run_long.py [--build DIR] [--seconds N] [--jobs N] [--keep DIR] [TARGET...]

Starts from the kept corpora (tests/fuzz/corpus) and the libFuzzer programs of a host build (default:
build-host). --keep: what covers something new is minimised into DIR/TARGET, to be looked at and added.
An input that finds a fault is left in the current directory, and the command that repeats it printed.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def run(command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, text=True, errors="replace")


def fuzz(program, seconds, keep):
    """(name, good, a line about it)"""
    name = os.path.basename(program).removesuffix("_fuzz")
    corpus = f"{HERE}/corpus/{name}"
    with tempfile.TemporaryDirectory() as fresh:
        done = run([program, f"-max_total_time={seconds}", f"-artifact_prefix={os.getcwd()}/{name}-",
                    "-print_final_stats=1", "-rss_limit_mb=1024", "-timeout=10", fresh, corpus])
        runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
        covered = re.findall(r"cov: (\d+)", done.stdout)
        if keep and done.returncode == 0:
            os.makedirs(f"{keep}/{name}", exist_ok=True)
            run([program, "-merge=1", f"{keep}/{name}", corpus, fresh])
        line = (f"{name}: {runs.group(1) if runs else '?'} runs in {seconds} s, "
                f"{covered[-1] if covered else '?'} edges, {len(os.listdir(fresh))} new inputs")
    if done.returncode != 0 or not runs:
        line += "\n# " + "\n# ".join(done.stdout.splitlines()[-40:])
        for found in re.findall(r"Test unit written to (\S+)", done.stdout):
            line += f"\n#   {program} {found}"
        return name, False, line
    return name, True, line


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=f"{ROOT}/build-host")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", default="")
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()
    sources = {os.path.basename(path).removesuffix("_fuzz.cpp") for path in glob.glob(f"{HERE}/*_fuzz.cpp")}
    names = options.targets or sorted(sources)
    programs = [f"{os.path.abspath(options.build)}/tests/fuzz/{name}_fuzz" for name in names]
    print(f"1..{len(names)}", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        tasks = [pool.submit(fuzz, program, options.seconds, options.keep) if os.path.exists(program)
                 else None for program in programs]
        for number, (name, task) in enumerate(zip(names, tasks), 1):
            good, line = task.result()[1:] if task else (False, f"{name}: not built")
            failed += not good
            print(f"{'' if good else 'not '}ok {number} - {line}", flush=True)
    return 1 if failed else 0


sys.exit(main())
