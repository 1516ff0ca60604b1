#!/usr/bin/env python3
"""Check the directions between the rooms of src/, and the words that may not be used where.

    rooms.py SOURCE_DIRECTORY
    rooms.py --self-test

Prints "file:line: what is wrong" for each finding and ends with 1 when there is one. Comments and
strings do not count, but for the strings of #include. The self-test shows each rule a line that breaks it
and a line that does not.
"""

import pathlib
import re
import sys

ROOMS = ["base", "sys", "cli", "record", "monitor"]

# Whom each room may include, beside itself. A file name instead of a room allows that file only:
# monitor sees of cli what was asked for and of record what keeps the output, not how it is done.
MAY_INCLUDE = {
    "base": [],
    "sys": ["base"],
    "cli": ["sys", "base"],
    "record": ["sys", "base"],
    "monitor": ["record/recorder.h", "record/stream.h", "cli/options.h", "sys", "base"],
    "main": ["monitor", "record", "cli", "sys", "base"],
}

# base is pure: no header that declares a system call.
BASE_MAY_NOT_INCLUDE = re.compile(
    r"<(unistd|fcntl|poll|signal|spawn|sched|termios|dirent|mqueue|pthread|csignal|"
    r"sys/[^>]*|linux/[^>]*|asm/[^>]*|netinet/[^>]*|net/[^>]*)(\.h)?>")

# Who may name what: (what the finding says, pattern, files or rooms that may).
# Only whoever makes the loop or runs it knows Poller; only the end of the program, and a child after its
# fork, end a process; base is pure.
RESERVED = [
    ("Poller belongs to the monitor", r"\bPoller\b", ["sys", "monitor", "main.cpp"]),
    ("only main, the epilogue and a child after fork end the process",
     r"\b_?_?exit(?:_group)?\s*\(|\b(?:abort|quick_exit|_Exit)\s*\(",
     ["main.cpp", "monitor/epilogue.cpp", "monitor/upgrade.cpp", "sys/child.cpp", "sys/calls.h",
      "sys/child.h", "sys/shield.cpp"]),
    ("base makes no system calls and reads no errno", r"\berrno\b",
     ["sys", "cli", "record", "monitor", "main.cpp"]),
]

# Headers with a reason: (file, header).
PERMITTED = {
    ("sys/calls.h", "stdio.h"),  # POSIX declares renameat() there.
}

# Not used anywhere: the style guide's list, and what brings an allocator, stdio or the C++ runtime.
BANNED = [
    ("a banned header", r"#\s*include\s*<(functional|variant|vector|string|map|unordered_map|set|list|"
     r"deque|memory|iostream|istream|ostream|sstream|fstream|format|print|thread|mutex|future|regex|"
     r"stdexcept|exception|cstdio|stdio\.h|syslog\.h|dirent\.h)>"),
    ("a banned type", r"\bstd::(function|move_only_function|variant|vector|(?:w|u8|u16|u32)?string|map|"
     r"unordered_map|set|list|deque|(?:unique|shared|weak)_ptr|make_(?:unique|shared)|format|print|"
     r"thread|mutex|regex|visit|sort|stable_sort|to_string)\b"),
    ("std::chrono::now", r"\b(?:steady|system|high_resolution)_clock\b"),
    (".at() and .value() call a C++ library that is not there", r"(?:\.|->)(?:at|value)\s*\("),
    ("stdio", r"\b(?:v?f?printf|v?sn?printf|v?dprintf|puts|fputs|fopen|fdopen|fclose|fread|fwrite|fflush|"
     r"getline|perror|sscanf|fscanf|stdin|stdout|stderr)\s*(?:\(|->)"),
    ("a call that brings malloc in", r"\b(?:setenv|putenv|unsetenv|opendir|readdir|realpath|syslog|openlog|"
     r"vsyslog|localtime|localtime_r|mktime|tzset|strdup|strndup|asprintf|getpwnam|getpwuid|scandir|glob|"
     r"malloc|calloc|realloc|free|atexit)\s*\("),
    ("virtual", r"\bvirtual\b"),
    ("new and delete", r"(?<!<)\bnew\b(?!\s*\()|\bdelete\s+\w|\bdelete\s*\["),
    ("exceptions and RTTI", r"\b(?:throw|try|catch|typeid|dynamic_cast)\b"),
]


def strip(text):
    """The text with comments and the insides of strings blanked, line breaks kept."""
    def blank(match):
        piece = match.group(0)
        if piece.startswith(("//", "/*")):
            return re.sub(r"[^\n]", " ", piece)
        return piece[0] + " " * (len(piece) - 2) + piece[-1]
    pattern = (r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"'
               r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*'")
    return re.sub(pattern, blank, text, flags=re.S)


def may(path, allowed):
    """True when the file at `path` (relative to src) is in one of the rooms or is one of the files."""
    return path in allowed or path.split("/")[0] in allowed


def check_include(path, included, exists):
    """What is wrong with `#include "included"` in `path`, or None. `exists` tells of paths in src."""
    room = path.split("/")[0] if "/" in path else "main"
    if room not in MAY_INCLUDE:
        return f"{room} is no room of the design"
    target = included.split("/")[0]
    if target not in ROOMS or ".." in included.split("/"):
        return f'"{included}" is not rooted at a room'
    if not exists(included):
        return f'"{included}" does not exist'
    if target == room or target in MAY_INCLUDE[room] or included in MAY_INCLUDE[room]:
        return None
    return f'{room} may not include "{included}"'


def check_text(path, text, exists):
    """Findings (line number, what) of one file. `path` is relative to src, with slashes."""
    findings = []
    raw_lines = text.splitlines()
    for number, line in enumerate(strip(text).splitlines(), 1):
        if re.match(r"\s*#\s*include\s*\"", line):
            included = re.search(r'"([^"]*)"', raw_lines[number - 1]).group(1)
            wrong = check_include(path, included, exists)
            if wrong:
                findings.append((number, wrong))
            continue
        if path.startswith("base/") and re.match(r"\s*#\s*include", line):
            match = BASE_MAY_NOT_INCLUDE.search(line)
            if match:
                findings.append((number, f"base makes no system calls: {match.group(0)}"))
        for what, pattern, allowed in RESERVED:
            if re.search(pattern, line) and not may(path, allowed):
                findings.append((number, what))
        for what, pattern in BANNED:
            match = re.search(pattern, line)
            if match and not (match.lastindex and (path, match.group(1)) in PERMITTED):
                findings.append((number, f"{what}: {match.group(0).strip()}"))
    return findings


def check_tree(source):
    findings = []
    count = 0
    for file in sorted([*source.rglob("*.h"), *source.rglob("*.cpp")]):
        path = file.relative_to(source).as_posix()
        count += 1
        for number, what in check_text(path, file.read_text(encoding="utf-8"),
                                       lambda included: (source / included).is_file()):
            findings.append(f"src/{path}:{number}: {what}")
    if count == 0:
        findings.append(f"{source}: no sources")
    return findings


def self_test():
    """Every rule must find its bad line and leave its good line alone."""
    cases = [
        # path, line, whether it is wrong
        ("base/a.cpp", '#include "base/b.h"', False),
        ("base/a.cpp", '#include "sys/b.h"', True),
        ("base/a.cpp", "#include <unistd.h>", True),
        ("base/a.cpp", "#include <sys/stat.h>", True),
        ("base/a.cpp", "#include <span>", False),
        ("sys/a.cpp", "#include <unistd.h>", False),
        ("sys/a.cpp", '#include "cli/b.h"', True),
        ("cli/a.cpp", '#include "record/b.h"', True),
        ("cli/a.cpp", '#include "sys/b.h"', False),
        ("record/a.cpp", '#include "monitor/b.h"', True),
        ("record/a.cpp", '#include "cli/options.h"', True),
        ("monitor/a.cpp", '#include "cli/options.h"', False),
        ("monitor/a.cpp", '#include "cli/parse.h"', True),
        ("monitor/a.cpp", '#include "record/recorder.h"', False),
        ("monitor/a.cpp", '#include "record/writer.h"', True),
        ("monitor/a.cpp", '#include "../sys/fd.h"', True),
        ("monitor/a.cpp", '#include "fd.h"', True),
        ("main.cpp", '#include "cli/parse.h"', False),
        ("other/a.cpp", '#include "base/b.h"', True),
        ("record/a.cpp", "void f(Poller& p);", True),
        ("monitor/a.cpp", "void f(Poller& p);", False),
        ("record/a.cpp", "// Poller is not for us", False),
        ("record/a.cpp", 'say("Poller");', False),
        ("record/a.cpp", "_exit(1);", True),
        ("record/a.cpp", "exit(1);", True),
        ("record/a.cpp", "on_exit_of_child(1);", False),
        ("monitor/epilogue.cpp", "_exit(status);", False),
        ("base/a.cpp", "return errno;", True),
        ("sys/a.cpp", "return errno;", False),
        ("sys/calls.h", "#include <stdio.h>", False),
        ("sys/calls.h", "#include <vector>", True),
        ("sys/a.cpp", "#include <stdio.h>", True),
        ("sys/a.cpp", "#include <new>", False),
        ("sys/a.cpp", "auto* p = new (place) Thing;", False),
        ("sys/a.cpp", "#include <string>", True),
        ("sys/a.cpp", "#include <string_view>", False),
        ("sys/a.cpp", "std::string name;", True),
        ("sys/a.cpp", "std::string_view name;", False),
        ("sys/a.cpp", "r.value();", True),
        ("sys/a.cpp", "r.value_or(1);", False),
        ("sys/a.cpp", "a.at(1);", True),
        ("sys/a.cpp", "std::visit(f, v);", True),
        ("sys/a.cpp", 'printf("x");', True),
        ("sys/a.cpp", "setenv(a, b, 1);", True),
        ("sys/a.cpp", "opendir(path);", True),
        ("sys/a.cpp", "auto t = std::chrono::steady_clock::now();", True),
        ("sys/a.cpp", "virtual void f();", True),
        ("sys/a.cpp", "auto* p = new Thing;", True),
        ("sys/a.cpp", "T(const T&) = delete;", False),
        ("sys/a.cpp", "throw 1;", True),
        ("sys/a.cpp", "const char c = '\"'; /* printf(1) */ f('\\''); // exit(1)", False),
    ]
    bad = 0
    for path, line, wrong in cases:
        found = check_text(path, line + "\n", lambda included: True)
        if bool(found) != wrong:
            print(f"self-test: {path}: {line}: {'not found' if wrong else found}")
            bad += 1
    if not check_text("sys/a.cpp", '#include "sys/missing.h"\n', lambda included: False):
        print("self-test: a missing file was not found")
        bad += 1
    print(f"{len(cases) + 1} cases, {bad} wrong")
    return bad


def main():
    if sys.argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    findings = check_tree(pathlib.Path(sys.argv[1]))
    print("\n".join(findings))
    return 1 if findings else 0


sys.exit(main())
