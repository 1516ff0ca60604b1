#!/usr/bin/env python3
"""Print every resident page of a monitor that waits: its mapping, its section, and what lies on it.

    pages.py [--build DIRECTORY] [--tools DIRECTORY] [--symbols N] [PID]

Without a PID a monitor is started as the budget suite starts one, left alone until it has given back
what it does not need, and ended afterwards. The product has no symbol table, so it is linked once more
without -s (from DIRECTORY, build by default); the second link must have the first one's sections, or
no symbol is shown. The columns of a page:

    address      where the page begins in the process
    in program   the same by the addresses of the program file, for its own mappings
    kind         file: a page of the page cache, shared by all monitors; anon: this process's own.
                 "only" if no other process maps it now
    on it        sections, and the largest symbols, with the bytes that they have on this page;
                 on the stack: what the kernel put there, and the frames in use

Needs root, for the physical page numbers. See MEMORY.md for what follows from it.
"""

import argparse
import os
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import time

import bench as b

PAGE = os.sysconf("SC_PAGE_SIZE")


class Mapping:
    """A line of /proc/PID/maps."""

    def __init__(self, line):
        fields = line.split(maxsplit=5)
        self.begin, self.end = (int(word, 16) for word in fields[0].split("-"))
        self.rights = fields[1]
        self.offset = int(fields[2], 16)
        self.name = fields[5].strip() if len(fields) > 5 else ""


class Page:
    """One present page."""

    def __init__(self, mapping, address, entry):
        self.mapping = mapping
        self.address = address
        self.is_file = bool(entry >> 61 & 1)
        self.is_exclusive = bool(entry >> 56 & 1)


def pages_of(pid):
    """The present pages of a process in the order of their addresses, without the kernel's own."""
    found = []
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for line in b.read_text(f"/proc/{pid}/maps").splitlines():
            mapping = Mapping(line)
            if mapping.name in ("[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]"):
                continue
            pagemap.seek(mapping.begin // PAGE * 8)
            entries = pagemap.read((mapping.end - mapping.begin) // PAGE * 8)
            for n, (entry,) in enumerate(struct.iter_unpack("<Q", entries)):
                if entry >> 63:
                    found.append(Page(mapping, mapping.begin + n * PAGE, entry))
    return found


def sections_of(program):
    """[(name, begin, end)] of the sections that take room in memory, in order."""
    text = subprocess.run(["readelf", "-SW", program], capture_output=True, text=True,
                          check=True).stdout
    found = []
    for match in re.finditer(r"^ *\[ *\d+\] (\S+) +(\S+) +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+)"
                             r" +[0-9a-f]+ +(\S*)", text, re.M):
        name, _, address, size, flags = match.groups()
        if "A" in flags and int(size, 16) > 0:
            found.append((name, int(address, 16), int(address, 16) + int(size, 16)))
    return found


def symbols_of(program, build):
    """[(name, begin, end)] of the product's symbols, from a second link without -s."""
    links = subprocess.run(["ninja", "-C", build, "-t", "commands", "conmon"],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    link = shlex.split(links[-1])
    with tempfile.TemporaryDirectory() as place:
        twin = os.path.join(place, "conmon")
        link[link.index("-o") + 1] = twin
        link.remove("-Wl,-s")
        subprocess.run(link, cwd=build, check=True)
        if sections_of(twin) != sections_of(program):
            print("(the second link is not the same as the program: no symbols)")
            return []
        text = subprocess.run(["nm", "-CSn", "--defined-only", twin], capture_output=True, text=True,
                              check=True).stdout
    found = []
    for match in re.finditer(r"^([0-9a-f]+) ([0-9a-f]+) \w (.*)$", text, re.M):
        begin, size, name = int(match.group(1), 16), int(match.group(2), 16), match.group(3)
        found.append((name, begin, begin + size))
    return found


def short(name):
    """A C++ name without its arguments, or as much of it as fits."""
    name = name.replace("(anonymous namespace)::", "").replace("std::__1::", "std::")
    depth, kept = 0, ""
    for letter in name:
        depth += letter in "(<"
        if depth == 0:
            kept += letter
        depth -= letter in ")>"
    return kept.removesuffix(" const").strip()[:60] or name[:60]


def shares(parts, begin, end):
    """[(name, bytes)] of what lies on [begin, end), largest first."""
    on = [(name, min(to, end) - max(at, begin)) for name, at, to in parts if at < end and to > begin]
    return sorted(on, key=lambda part: -part[1])


def stack_parts(pid):
    """[(name, begin, end)]: what the stack of a process holds, by /proc/PID/stat and .../syscall."""
    fields = b.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    start_stack = int(fields[25])
    arguments = int(fields[45]), int(fields[46])
    environment = int(fields[47]), int(fields[48])
    pointer = int(b.read_text(f"/proc/{pid}/syscall").split()[-2], 16)
    return [("frames in use", pointer, start_stack),
            ("argc, argv, envp, auxv", start_stack, arguments[0]),
            ("arguments", *arguments), ("environment", *environment),
            ("program's name", environment[1], environment[1] + 64)]


def report(pid, program, build, symbol_count):
    pages = pages_of(pid)
    sections = sections_of(program)
    symbols = symbols_of(program, build) if build else []
    real = os.path.realpath(program)
    own = [page.mapping for page in pages if page.mapping.name == real]
    # The heap's zeroed part follows the program's last mapping and has no name.
    maps = [Mapping(line) for line in b.read_text(f"/proc/{pid}/maps").splitlines()]
    base = min(m.begin for m in maps if m.name == real) if own else None
    top = sections[-1][2]

    kinds = {}
    print(f"{'address':<14}{'in program':<12}{'rights':<8}{'kind':<11}on it")
    for page in pages:
        kind = ("file" if page.is_file else "anon") + (" only" if page.is_exclusive else "")
        key = "file" if page.is_file else "anon"
        kinds[key] = kinds.get(key, 0) + 1
        link, on = "", page.mapping.name
        if base is not None and base <= page.address < base + top + PAGE:
            at = page.address - base
            link = f"{at:#x}"
            on = ", ".join(f"{name} {size}" for name, size in shares(sections, at, at + PAGE))
            lying = shares(symbols, at, at + PAGE)
            names = ", ".join(f"{short(name)} {size}" for name, size in lying[:symbol_count])
            if names:
                on += ": " + names
            if len(lying) > symbol_count:
                on += f", and {len(lying) - symbol_count} more"
        elif page.mapping.name == "[stack]":
            on = "stack: " + ", ".join(
                f"{name} {size}"
                for name, size in shares(stack_parts(pid), page.address, page.address + PAGE))
        print(f"{page.address:<14x}{link:<12}{page.mapping.rights:<8}{kind:<11}{on}")
    told = b.smaps(pid)
    print(f"{len(pages)} pages: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items())
          + f"; the kernel says RSS {told['Rss']} kB, private dirty {told['Private_Dirty']} kB, "
          f"PSS {told['Pss']} kB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=f"{b.ROOT}/build")
    parser.add_argument("--tools", default=f"{b.ROOT}/build-budget")
    parser.add_argument("--symbols", type=int, default=6)
    parser.add_argument("pid", nargs="?", type=int)
    options = parser.parse_args()
    if options.pid is not None:
        report(options.pid, os.readlink(f"/proc/{options.pid}/exe"), options.build, options.symbols)
        return 0
    with b.Bench(options.tools) as bench:
        b.become_subreaper()
        running = b.Running(bench, bench.mote).await_container()
        time.sleep(2.5)
        report(running.pid, bench.mote, options.build, options.symbols)
        running.end()
    return 0


sys.exit(main())
