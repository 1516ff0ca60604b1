#!/usr/bin/env python3
"""Compare the variables that the program takes (src/cli/knobs.cpp and .h) with the table in README.md and
with the manual: name, unit, limits and default of each are the same in all three.

    knobs.py SOURCE_DIRECTORY
    knobs.py --self-test SOURCE_DIRECTORY
"""

import pathlib
import re
import sys

# A row of the table of numbers: name, member, limits, and the unit in a comment.
NUMBER = re.compile(r'\{"(MOTE_[A-Z_]+)", &Knobs::(\w+), ([\d\' *]+), ([\d\' *]+)\}, +// (.*)')

# What is not a number, with what the README and the manual must say of it besides its name.
TEXT = re.compile(r'split\.head == "(MOTE_[A-Z_]+)"\)')


def number(text):
    """A number as C++ writes it, products included."""
    value = 1
    for part in text.replace("'", "").split("*"):
        value *= int(part)
    return value


def with_commas(value):
    return f"{value:,}" if value >= 10_000 else str(value)


def knobs_of(source, header):
    """name: (default, least, most, unit), all texts; of a text knob only the default."""
    defaults = dict(re.findall(r"^\s+\w+ (\w+) = ([\w':]+);", header, re.M))
    words = re.search(r"excess_words\[\]\[\d+\] = \{(.*?)\}", source).group(1).replace('"', "").split(", ")
    rate_max = number(re.search(r"rate_max = ([\d']+);", source).group(1))
    knobs = {}
    for name, member, least, most, unit in NUMBER.findall(source):
        knobs[name] = (with_commas(number(defaults[member])), with_commas(number(least)),
                       with_commas(number(most)), unit)
    for name in TEXT.findall(source):
        if name.endswith("_RATE"):
            knobs[name] = (defaults["log_rate"], "0", with_commas(rate_max), "bytes a second")
        elif name.endswith("_EXCESS"):
            default = defaults["log_excess"].split("::")[1]
            knobs[name] = (default, *words[1:], "")
        else:
            knobs[name] = ("", "", "", "")
    return knobs


def wrong_in_readme(knobs, readme):
    rows = {}
    for line in readme.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and re.fullmatch(r"`MOTE_[A-Z_]+`", cells[0]):
            rows[cells[0].strip("`")] = cells[1:]
    wrong = [f"README.md: only in the sources: {name}" for name in knobs.keys() - rows.keys()]
    wrong += [f"README.md: not in the sources: {name}" for name in rows.keys() - knobs.keys()]
    for name in knobs.keys() & rows.keys():
        default, least, most, unit = knobs[name]
        expected = [default, f"{least} to {most}", unit]
        if name.endswith("_EXCESS"):
            expected = [f"`{default}`", f"`{default}`, `{least}`, `{most}`", ""]
        elif not unit:
            expected = [default, rows[name][1], ""] # a text: the limits are words
        if rows[name][:3] != expected:
            wrong.append(f"README.md: {name} has {rows[name][:3]}, the sources have {expected}")
    return wrong


def wrong_in_manual(knobs, page):
    paragraphs = dict(re.findall(r"^\.It Ev (MOTE_[A-Z_]+)\n(.*?)(?=^\.It|^\.El)", page, re.M | re.S))
    wrong = [f"conmon.8: only in the sources: {name}" for name in knobs.keys() - paragraphs.keys()]
    wrong += [f"conmon.8: not in the sources: {name}" for name in paragraphs.keys() - knobs.keys()]
    for name in knobs.keys() & paragraphs.keys():
        default, least, most, unit = knobs[name]
        text = " ".join(re.sub(r"^\.\w+ ", "", paragraphs[name], flags=re.M).split())
        if name.endswith("_EXCESS"):
            expected = [default, least, most, f"Default: {default}"]
        elif unit:
            expected = [f"{least} to {most}", unit, f"Default: {default}"]
        else:
            expected = []
        wrong += [f"conmon.8: {name} does not say \"{words}\": {text}" for words in expected
                  if words.replace(",", "") not in text.replace(",", "")]
    return wrong


def check(source, header, readme, page):
    knobs = knobs_of(source, header)
    if len(knobs) < 7:
        return [f"only {len(knobs)} variables could be read from the sources"]
    return wrong_in_readme(knobs, readme) + wrong_in_manual(knobs, page)


def self_test(root):
    """Every change of a number, a unit or a name in one place must be found."""
    texts = read(root)
    wrong = [f"as it is: {finding}" for finding in check(*texts)]
    changes = [(0, "256, 65'536", "255, 65'536"), (0, " // milliseconds", " // seconds"),
               (0, '"MOTE_STATE"', '"MOTE_STATES"'), (0, "drop-silently", "drop-quietly"),
               (0, "rate_max = 1'000'000'000", "rate_max = 1'000'000"), (1, "16'384", "16'385"),
               (1, "LogExcess::wait;", "LogExcess::drop;"), (2, "| 256 to 65,536 |", "| 256 to 65,535 |"),
               (2, "| `MOTE_LOG_UTC` |", "| `MOTE_LOG_UCT` |"), (3, "It Ev MOTE_LOG_RATE", "It Ev MOTE_RATE"),
               (3, "256 to 65536", "256 to 65535")]
    for which, old, new in changes:
        changed = list(texts)
        changed[which] = texts[which].replace(old, new)
        if changed[which] == texts[which]:
            wrong.append(f"there is no {old}")
        elif not check(*changed):
            wrong.append(f"not found: {new}")
    return wrong


def read(root):
    return [(root / path).read_text(encoding="utf-8")
            for path in ("src/cli/knobs.cpp", "src/cli/knobs.h", "README.md", "src/conmon.8")]


def main():
    arguments = sys.argv[1:]
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    root = pathlib.Path(arguments[-1])
    findings = self_test(root) if arguments[0] == "--self-test" else check(*read(root))
    print("\n".join(findings), end="\n" if findings else "")
    return 1 if findings else 0


sys.exit(main())
