#!/usr/bin/env python3
"""How much of each parser and framer the kept corpora reach.

    coverage.py [--build DIR] [--corpus DIR] [--missing]

Builds the fuzz targets once more with clang's source-based coverage (in build-coverage), runs each over
its corpus, and prints the lines and branches of our sources that all of them together have reached;
--missing: and the lines that none has.
Needs llvm-profdata-19 and llvm-cov-19 (Debian's package llvm-19).

What no input can reach: what stands behind a switch over all values of an enum; Ring::capacity, which
only tests ask for; a working directory that has gone; a lent descriptor's variable that is not set
(scan sets it); the machine's own /etc/localtime, and zone files that fail while they are read; the
second span of a ring in writer.cpp, unless a file stands still in the middle of a wrapped ring.
sys/child.cpp is not in the table: the target child is for what it makes of the kernel's answers, and
most of it starts processes.
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# What the targets are for. Other files are in them because these need them.
PARSERS = [
    "src/base/errno_text.cpp", "src/base/find.cpp", "src/base/json.cpp", "src/base/line_feed.h",
    "src/base/ring.h", "src/base/scan.h", "src/base/utf8.h", "src/cli/check.cpp", "src/cli/knobs.cpp",
    "src/cli/number.cpp", "src/cli/parse.cpp", "src/cli/runtime_argv.cpp", "src/monitor/control.cpp",
    "src/monitor/notify_relay.cpp", "src/monitor/parent.cpp", "src/record/journal.cpp",
    "src/record/k8s_file.cpp", "src/record/k8s_frame.cpp", "src/record/k8s_frame.h",
    "src/record/rotation.cpp", "src/record/writer.cpp", "src/sys/cgroup.cpp", "src/sys/socket.cpp", "src/sys/zone.cpp", "src/sys/zone_rule.cpp"]


def run(command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, text=True, errors="replace", **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-3000:]}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=f"{ROOT}/build-coverage")
    parser.add_argument("--corpus", default=f"{HERE}/corpus")
    parser.add_argument("--missing", action="store_true")
    options = parser.parse_args()
    if not os.path.exists(f"{options.build}/build.ninja"):
        run(["meson", "setup", options.build, ROOT, "--native-file", f"{ROOT}/scripts/host.ini",
             "-Dcpp_args=-stdlib=libc++ -fprofile-instr-generate -fcoverage-mapping",
             "-Dcpp_link_args=-stdlib=libc++ -fuse-ld=lld-19 -fprofile-instr-generate"])
    names = sorted(os.path.basename(path).removesuffix("_fuzz.cpp")
                   for path in glob.glob(f"{HERE}/*_fuzz.cpp"))
    programs = [f"tests/fuzz/{name}_fuzz" for name in names]
    run(["ninja", "-C", options.build, *programs])
    with tempfile.TemporaryDirectory() as directory:
        for name, program in zip(names, programs):
            run([f"{options.build}/{program}", "-runs=0", f"{options.corpus}/{name}"],
                env=dict(os.environ, LLVM_PROFILE_FILE=f"{directory}/{name}.profraw"))
        run(["llvm-profdata-19", "merge", "-o", f"{directory}/all",
             *glob.glob(f"{directory}/*.profraw")])
        objects = [word for program in programs[1:] for word in ("-object", f"{options.build}/{program}")]
        done = subprocess.run(
            ["llvm-cov-19", "export", "-summary-only", f"-instr-profile={directory}/all",
             f"{options.build}/{programs[0]}", *objects],
            stdin=subprocess.DEVNULL, capture_output=True, check=True)
        shown = run(["llvm-cov-19", "show", f"-instr-profile={directory}/all",
                     f"{options.build}/{programs[0]}", *objects,
                     *(f"{ROOT}/{path}" for path in PARSERS)]) if options.missing else ""
    files = json.loads(done.stdout)["data"][0]["files"]
    summaries = {os.path.relpath(os.path.realpath(each["filename"]), ROOT): each["summary"]
                 for each in files}
    print(f"{'':34}{'lines':>14}{'':>7}{'branches':>14}")
    sums = [0, 0, 0, 0]
    for path in PARSERS:
        if path not in summaries:
            sys.exit(f"no target reaches {path}")
        lines, branches = summaries[path]["lines"], summaries[path]["branches"]
        sums = [a + b for a, b in zip(sums, (lines["covered"], lines["count"],
                                             branches["covered"], branches["count"]))]
        show(path, lines["covered"], lines["count"], branches["covered"], branches["count"])
    show("all", *sums)
    name = ""
    for line in shown.splitlines():
        if line.startswith("/"):
            name = os.path.relpath(os.path.realpath(line.rstrip(":")), ROOT)
        number, count, text = [*line.split("|", 2), "", ""][:3]
        if count.strip() == "0" and text.strip(" }"):
            print(f"{name}:{number.strip()}: {text.strip()}")
    return 0


def show(name, lines, all_lines, branches, all_branches):
    def part(some, whole):
        return f"{some:>7} of {whole:<4}{100 * some / whole if whole else 100:5.1f} %"
    print(f"{name:34}{part(lines, all_lines)}{part(branches, all_branches)}")


sys.exit(main())
