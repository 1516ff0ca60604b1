#!/usr/bin/env python3
"""Compare src/conmon.8 with the sources: every option and variable is in both; and look for the messages
that README.md speaks of. The results are TAP.

    manual.py SOURCE_DIRECTORY
"""

import pathlib
import re
import shutil
import subprocess
import sys

# A row of the table of options: its name and its letter, if it has one.
ROW = re.compile(r'\{\s*"([a-z-]+)",\s*(?:\'(.)\'|0)\s*,')

# The parser knows these without a row.
OF_THE_PARSER = {("help", "h")}


class Checks:
    """TAP, one line per check; what is wrong is said in comment lines before it."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def check(self, name, wrong):
        self.count += 1
        for line in wrong:
            print(f"# {line}")
        print(f"{'not ok' if wrong else 'ok'} {self.count} - {name}", flush=True)
        self.failed += bool(wrong)

    def skip(self, name, reason):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {reason}", flush=True)

    def end(self):
        print(f"1..{self.count}")
        return 1 if self.failed else 0


def options_of_manual(page):
    """(name, letter) of every option that heads a paragraph or is said to be another name of one."""
    found = set()
    for line in page.splitlines():
        for part in re.findall(r"^\.It (.*)$", line):
            name = re.search(r"Fl Fl ([a-z-]+)", part)
            letter = re.search(r"Fl (\S) ,", part)
            if name:
                found.add((name.group(1), letter.group(1) if letter else ""))
    for name in re.findall(r"^\.Fl Fl ([a-z-]+)\nis another name of it", page, re.M):
        found.add((name, ""))
    return found


def messages_of_readme(root):
    """What the table in Troubleshooting quotes of our messages: what begins like a sentence, up to "..."."""
    section = (root / "README.md").read_text().split("## Troubleshooting")[1].split("\n## ")[0]
    quoted = re.findall(r"`([A-Z][a-z]+ [^`]*)`", section)
    return [text.removesuffix("...").rstrip() for text in quoted]


def difference(ours, theirs, what):
    return [f"only {what}: {' '.join(filter(None, entry)) if isinstance(entry, tuple) else entry}"
            for entry in sorted(ours - theirs)]


def main():
    root = pathlib.Path(sys.argv[1])
    page = (root / "src/conmon.8").read_text()
    checks = Checks()

    table = (root / "src/cli/table.h").read_text()
    options = set(ROW.findall(table)) | OF_THE_PARSER
    checks.check("the table of options could be read", [] if len(options) > 40 else [f"{len(options)} rows"])
    manual = options_of_manual(page)
    checks.check("every option is in the manual", difference(options, manual, "in the table"))
    checks.check("the manual has no option that is not there", difference(manual, options, "in the manual"))

    sources = "".join(path.read_text() for path in (root / "src").rglob("*.cpp"))
    variables = set(re.findall(r'"((?:MOTE|_OCI)_[A-Z_]+)', sources))
    named = set(re.findall(r"^\.It Ev ((?:MOTE|_OCI)_[A-Z_]+)", page, re.M))
    checks.check("every variable is in the manual", difference(variables, named, "in the sources"))
    checks.check("the manual has no variable that is not there", difference(named, variables, "in the manual"))

    texts = "".join(path.read_text() for path in (root / "src").rglob("*.[ch]*"))
    checks.check("the README's troubleshooting speaks of messages that there are",
                 [text for text in messages_of_readme(root) if text not in texts])

    mandoc = shutil.which("mandoc")
    name = "mandoc has no complaint"
    if mandoc:
        said = subprocess.run([mandoc, "-Tlint", "-Wwarning", root / "src/conmon.8"], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False).stdout
        checks.check(name, said.splitlines())
    else:
        checks.skip(name, "mandoc is not installed")
    return checks.end()


sys.exit(main())
