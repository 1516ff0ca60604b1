#!/usr/bin/env python3
"""Check what the product is made of: no C++ runtime, no allocator, no stdio; a hardened static-pie.

    symbols.py SOURCE_DIRECTORY SCRATCH_DIRECTORY

The product is the program that MOTE_CONMON names, in its meson build directory. Its objects are linked
once more without stripping and with a map, by the very command that linked it; then the whole is built
and linked without optimisation in SCRATCH_DIRECTORY, since it must not be the optimiser that removes what
is forbidden. The results are TAP.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile

# What our own objects may not leave to a library: anything of C++, and these of C.
FORBIDDEN_UNDEFINED = re.compile(
    r"^(_Z|__cxa|__gxx|_Unwind|__dynamic_cast|"
    r"(malloc|calloc|realloc|reallocarray|free|memalign|posix_memalign|aligned_alloc|strdup|strndup|"
    r"v?f?printf|v?sn?printf|v?dprintf|v?asprintf|puts|fputs|putchar|fopen|fdopen|fclose|fread|fwrite|"
    r"fflush|perror|getline|v?f?scanf|v?sscanf|stdin|stdout|stderr|setenv|putenv|opendir|realpath|syslog|"
    r"localtime|localtime_r|tzset|atexit)$)")

# Members of the C library that may not be in the link. Names of its files, so that the weak stand-ins that
# musl has for what is absent do not count.
FORBIDDEN_MEMBERS = {
    "an allocator": r"^(malloc|lite_malloc|free|calloc|realloc|reallocarray|memalign|posix_memalign|"
                    r"aligned_alloc|donate|malloc_usable_size|expand_heap|strn?dup)$",
    "stdio": r"^(v?f?w?printf|v?s?n?printf|v?dprintf|v?asprintf|v?f?w?scanf|v?sscanf|__std.*|std(in|out|err)|"
             r"f(open|dopen|close|read|write|puts|putc|gets|getc|flush|seek|tell)|puts|putchar|perror|ofl|"
             r"ofl_add|__to(read|write)|__overflow|__uflow|getline|getdelim|vsyslog|syslog)$",
    "__cxa_ code": r"^(atexit|cxa_.*|__cxa.*|at_quick_exit)$",
}


class Checks:
    """TAP, one line per check; what is wrong is said in comment lines before it."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def check(self, name, wrong):
        """One check that fails when there is anything in `wrong`, a list of lines."""
        self.count += 1
        for line in wrong[:20]:
            print(f"# {line}")
        print(f"{'not ok' if wrong else 'ok'} {self.count} - {name}", flush=True)
        self.failed += bool(wrong)

    def end(self):
        print(f"1..{self.count}")
        return 1 if self.failed else 0


def output(command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command[:4])} ...: {done.stdout[-2000:]}")
    return done.stdout


def link_command(build):
    """The words of the command by which ninja links conmon in `build`."""
    lines = output(["ninja", "-C", build, "-t", "commands", "conmon"]).splitlines()
    words = shlex.split(lines[-1])
    if "-o" not in words or words[words.index("-o") + 1] != "conmon":
        raise RuntimeError(f"not a link command: {lines[-1]}")
    return words


def own_objects(build, words):
    """Our objects and archives of the link command, as paths."""
    return [os.path.join(build, word) for word in words
            if word.endswith((".o", ".a")) and not os.path.isabs(word)]


def link_again(build, words, target):
    """Link to `target` without stripping; returns the members of the C library that are in it."""
    words = [word for word in words if word not in ("-Wl,-s", "-s")]
    words[words.index("-o") + 1] = target
    output([*words, f"-Wl,-Map={target}.map"], cwd=build)
    with open(f"{target}.map", encoding="utf-8", errors="replace") as file:
        return sorted(set(re.findall(r"libc\.a\(([^)]+)\.(?:l?o)\)", file.read())))


def undefined_of_all(build, words, target):
    """Undefined symbols of all our objects linked into one."""
    archives = own_objects(build, words)
    output(["ld.lld-19", "-r", "-o", target, "--whole-archive", *archives])
    return [line.split()[-1] for line in output(["nm", "-u", target]).splitlines() if line.strip()]


def check_build(checks, build, scratch, label):
    """The checks of symbols for one build directory. Returns the path of the unstripped program."""
    words = link_command(build)
    undefined = undefined_of_all(build, words, f"{scratch}/all.o")
    checks.check(f"our objects{label} leave nothing of C++, stdio or an allocator undefined",
                 [f"undefined: {name}" for name in undefined if FORBIDDEN_UNDEFINED.search(name)]
                 if undefined else ["no undefined symbol at all: this check looks at the wrong thing"])
    program = f"{scratch}/conmon.unstripped"
    members = link_again(build, words, program)
    checks.check(f"the link{label} takes its C library from an archive",
                 [] if members else ["no member of libc.a is in the map"])
    for what, pattern in FORBIDDEN_MEMBERS.items():
        checks.check(f"no member of the C library with {what} is in the link{label}",
                     [f"linked: {name}.o" for name in members if re.search(pattern, name)])
    # Strong functions only: musl's weak stand-ins bear the names of what is absent.
    defined = [line.split() for line in output(["nm", "--defined-only", program]).splitlines()]
    functions = {words[2] for words in defined if len(words) == 3 and words[1] in "Tt"}
    checks.check(f"no function of the link{label} is __cxa_ or an allocator's",
                 [f"defined: {name}" for name in sorted(functions)
                  if re.match(r"__cxa|__gxx|_Unwind|(__libc_)?(malloc|calloc|realloc|free)$|_Zn[wa]|_Zd[la]",
                              name)])
    return program, functions


def check_file(checks, program, functions):
    """The checks of the stripped program's shape and hardening."""
    header = output(["readelf", "-hW", program])
    segments = output(["readelf", "-lW", program])
    dynamic = output(["readelf", "-dW", program])
    sections = output(["readelf", "-SW", program])

    checks.check("the product is position independent",
                 [] if re.search(r"Type:\s+DYN", header) and re.search(r"FLAGS_1.*PIE", dynamic)
                 else [header, dynamic])
    checks.check("the product is static: no interpreter, no needed library",
                 re.findall(r".*\b(?:INTERP|NEEDED)\b.*", segments + dynamic))
    checks.check("relocations are read-only before main runs",
                 [] if "GNU_RELRO" in segments and re.search(r"BIND_NOW|FLAGS_1.*NOW", dynamic)
                 else [segments, dynamic])
    checks.check("no relocation is in the text", re.findall(r".*TEXTREL.*", dynamic))
    # A segment's line: type, offset, two addresses, two sizes, flags (as "R E"), alignment.
    flags = dict.fromkeys(re.findall(r"^\s+([A-Z_]+)\s+0x\S+ 0x\S+ 0x\S+ 0x\S+ 0x\S+ ([RWE ]{3}) ",
                                     segments, re.M))
    checks.check("no segment is writable and executable, nor is the stack",
                 [f"{kind}: {flag}" for kind, flag in flags if "W" in flag and "E" in flag]
                 + ([] if any(kind == "GNU_STACK" for kind, _ in flags) else ["no GNU_STACK"]))
    checks.check("the stack protector is there",
                 [] if "__stack_chk_fail" in functions else ["no __stack_chk_fail in the link"])
    checks.check("the product is stripped", re.findall(r".*\.symtab.*|.*\.debug_.*", sections))


def main():
    source, scratch = (os.path.abspath(path) for path in sys.argv[1:3])
    product = os.environ.get("MOTE_CONMON", f"{source}/build/conmon")
    checks = Checks()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            _, functions = check_build(checks, os.path.dirname(product), temporary, "")
        check_file(checks, product, functions)
    except (RuntimeError, OSError) as trouble:
        checks.check("the product can be looked at", str(trouble).splitlines())
    try:
        if not os.path.exists(f"{scratch}/build.ninja"):
            output(["meson", "setup", scratch, source, "--native-file", f"{source}/scripts/musl.ini",
                    "--optimization", "0"])
        output(["ninja", "-C", scratch, "conmon"])
        with tempfile.TemporaryDirectory() as temporary:
            check_build(checks, scratch, temporary, " at -O0")
    except (RuntimeError, OSError) as trouble:
        checks.check("the product can be built at -O0", str(trouble).splitlines())
    return checks.end()


sys.exit(main())
