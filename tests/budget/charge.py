#!/usr/bin/env python3
"""Say what the kernel charges a memory cgroup for one more monitor, item by item.

    charge.py [--tools DIRECTORY] [--count N] [--program PATH]

Three accounts of the same sum, since the kernel keeps no single one:

    pages    N monitors in a cgroup of their own, whose charged pages are then looked up one by one
             (/proc/kpagecgroup, kpageflags): anonymous, page tables, page cache, and the rest
    slabs    what /proc/slabinfo has more of after N monitors than after N bare processes, by cache.
             The machine's other processes are in it too, so small numbers mean nothing
    prices   what each kind of object that a monitor holds is charged: a thousand of it in one process,
             through the cgroup's own counter, against the same process without

The container and the runtime leave the cgroup. Needs root and a kernel with those files.
"""

import argparse
import array
import os
import re
import subprocess
import sys
import time

import bench as b

# Bits of /proc/kpageflags.
ANON, SLAB, PGTABLE, MAPPED, LRU = 12, 7, 26, 11, 5

PRICES = ["open", "pipe", "used-pipe", "small-pipe", "fifo", "small-fifo", "file", "directory",
          "socket-pair", "listener", "eventfd", "signalfd", "timerfd", "pidfd", "inotify", "epoll",
          "watched", "mapping", "fork"]


def charged_pages(cgroup):
    """{kind: count} of the pages that are charged to the cgroup directory."""
    number = os.stat(cgroup).st_ino
    counts = {}
    at = 0
    with open("/proc/kpagecgroup", "rb") as owners, open("/proc/kpageflags", "rb") as flags:
        while block := owners.read(1 << 20):
            owner = array.array("Q", block)
            if number in owner:
                for n, each in enumerate(owner):
                    if each == number:
                        flags.seek((at + n) * 8)
                        bits = int.from_bytes(flags.read(8), "little")
                        kind = ("slab" if bits >> SLAB & 1 else
                                "page tables" if bits >> PGTABLE & 1 else
                                "anonymous" if bits >> ANON & 1 else
                                "page cache" if bits >> LRU & 1 or bits >> MAPPED & 1 else
                                "other of the kernel (stacks, pipes' pages)")
                        counts[kind] = counts.get(kind, 0) + 1
            at += len(owner)
    return counts


def slabs():
    """{cache: bytes in use} of all slab caches, after what is free in them has been given back."""
    for cache in os.listdir("/sys/kernel/slab"):
        with open(f"/sys/kernel/slab/{cache}/shrink", "w", encoding="ascii") as shrink:
            shrink.write("1")
    found = {}
    for line in b.read_text("/proc/slabinfo").splitlines()[2:]:
        fields = line.split()
        found[fields[0]] = int(fields[1]) * int(fields[3])
    return found


def enter(group):
    def move():
        with open(f"{group.path}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")
    return move


def bare_processes(bench, group, count):
    return [subprocess.Popen([bench.tool("runtime"), "pause"], preexec_fn=enter(group),
                             stdin=subprocess.DEVNULL) for _ in range(count)]


def show_pages(what, group, count):
    kmem = f"{group.path}/memory.kmem.usage_in_bytes"
    print(f"{count} x {what}, kB each: charge {group.usage_kb() / count:.2f}", end="")
    if os.path.exists(kmem):
        print(f", of it kernel memory {int(b.read_text(kmem)) / 1024 / count:.2f}", end="")
    print()
    rest = group.usage_kb()
    for kind, pages in sorted(charged_pages(group.path).items(), key=lambda item: -item[1]):
        print(f"  {pages * 4 / count:8.2f}  {kind}")
        rest -= pages * 4
    print(f"  {rest / count:8.2f}  the rest: slab objects")


def page_tables_kb(pid):
    """Without the topmost one."""
    return int(re.search(r"VmPTE:\s+(\d+)", b.read_text(f"/proc/{pid}/status")).group(1))


def show_monitors(bench, program, count):
    outside, group, bare_group = (b.MemoryCgroup(name) for name in ("outside", "inside", "bare"))
    places = {"BUDGET_CGROUP": f"{outside.path}/cgroup.procs"}
    before = slabs()
    bare = bare_processes(bench, bare_group, count)
    time.sleep(1)
    middle = slabs()
    running = [b.Running(bench, program, cgroup=group.path, environment=places).await_container()
               for _ in range(count)]
    time.sleep(2.5)
    after = slabs()
    show_pages("bare process", bare_group, count)
    print(f"  ({page_tables_kb(bare[0].pid)} kB page tables by VmPTE, which leaves out the topmost)")
    show_pages(program, group, count)
    tables = sum(page_tables_kb(m.pid) for m in running) / count
    print(f"  ({tables:.2f} kB page tables by VmPTE, which leaves out the topmost)")
    print("slab caches, bytes per monitor with its container (per bare process):")
    rows = [(cache, (after[cache] - middle[cache]) / count,
             (middle[cache] - before.get(cache, 0)) / count) for cache in after if cache in middle]
    for cache, monitor, process in sorted(rows, key=lambda row: -row[1]):
        if monitor >= 32:
            print(f"  {monitor:8.0f}  {cache:<28}({process:.0f})")
    for m in running:
        m.end()
        m.remove()
    for process in bare:
        process.kill()
        process.wait()
    for each in (group, bare_group, outside):
        each.remove()


def price(bench, kind, count):
    """Bytes that one object of the kind is charged."""
    charges = {}
    for what in ("nothing", kind):
        group = b.MemoryCgroup("price")
        place = os.path.join(bench.work, "held")
        os.mkdir(place)
        holder = subprocess.Popen([bench.tool("hold"), what, str(count), place],
                                  preexec_fn=enter(group), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, start_new_session=True)
        if holder.stdout.readline() != b"held\n":
            raise b.Trouble(f"{kind} cannot be held")
        charges[what] = group.usage_kb()
        os.killpg(holder.pid, 9)
        holder.communicate()
        for name in os.listdir(place):
            path = os.path.join(place, name)
            (os.rmdir if os.path.isdir(path) else os.unlink)(path)
        os.rmdir(place)
        b.until(lambda: not b.read_text(f"{group.path}/cgroup.procs").strip(), "the end of the holder")
        group.remove()
    return (charges[kind] - charges["nothing"]) * 1024 / count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tools", default=f"{b.ROOT}/build-budget")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--program")
    options = parser.parse_args()
    with b.Bench(options.tools) as bench:
        b.become_subreaper()
        show_monitors(bench, options.program or bench.mote, options.count)
        print("prices, bytes each:")
        for kind in PRICES:
            # A user may have 128 inotify instances.
            print(f"  {price(bench, kind, 100 if kind == 'inotify' else 1000):8.0f}  {kind}")
    return 0


sys.exit(main())
