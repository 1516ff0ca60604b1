#!/usr/bin/env python3
"""Check that every row of the list of regressions has its tests, by the table tests/regressions.txt.

    regressions.py TESTS_DIRECTORY             check; findings are printed, and the status is 1
    regressions.py --table TESTS_DIRECTORY     print the table as the names of the tests have it
    regressions.py --self-test

A test belongs to the rows that its name ends with: "(regression 7)", "(regressions 3 and 20)". The
table says the same from the row's side, so that a test that is renamed, moved or lost is noticed. Each
row needs a test that looks at the program from outside; unit tests are listed too.
"""

import pathlib
import re
import sys

ROWS = range(1, 74)

# Suites whose tests start the program that is tested.
BLACK_BOX = {"flow", "real", "vm"}

CATCH2 = re.compile(r'^(?:TEST_CASE|SIDE_BY_SIDE)\(\s*((?:"(?:\\.|[^"\\])*"\s*)+)', re.M)
BATS = re.compile(r'^@test "((?:\\.|[^"\\])*)" \{$', re.M)
NUMBERS = re.compile(r"\(regressions? (\d+(?:(?:, | and )\d+)*)\)")


def rows_of(name):
    """The rows that a test's name says it is for."""
    return [int(number) for match in NUMBERS.finditer(name)
            for number in re.findall(r"\d+", match.group(1))]


def names_in(text, is_bats):
    """The names of the tests in a file; a name in several string literals is joined."""
    if is_bats:
        return BATS.findall(text)
    return ["".join(re.findall(r'"((?:\\.|[^"\\])*)"', literals)) for literals in CATCH2.findall(text)]


def read_tests(directory):
    """All tests as (suite/program, name)."""
    tests = []
    for file in sorted([*directory.rglob("*_test.cpp"), *directory.rglob("*.bats")]):
        path = file.relative_to(directory).with_suffix("").as_posix()
        program = path.removesuffix("_test")
        for name in names_in(file.read_text(encoding="utf-8"), file.suffix == ".bats"):
            tests.append((program, name))
    return tests


def read_table(text):
    """Entries (line number, row, suite/program, name); row 0 for a line that is none."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\d+) +(\S+) +(\S.*)", line)
        entries.append((number, int(match[1]), match[2], match[3]) if match
                       else (number, 0, "", line))
    return entries


def check(table, tests):
    """What is wrong with the table, given all tests."""
    findings = []
    existing = set(tests)
    listed = set()
    for number, row, program, name in table:
        where = f"tests/regressions.txt:{number}"
        if row not in ROWS:
            findings.append(f"{where}: not a row, a program and a test's name: {row or name}")
        elif (program, name) not in existing:
            findings.append(f"{where}: there is no such test: {program} {name}")
        elif row not in rows_of(name):
            findings.append(f"{where}: the test's name does not say that it is for row {row}")
        elif (row, program, name) in listed:
            findings.append(f"{where}: listed twice")
        else:
            listed.add((row, program, name))
    for program, name in tests:
        for row in rows_of(name):
            if row not in ROWS:
                findings.append(f"{program}: there is no row {row}: {name}")
            elif (row, program, name) not in listed:
                findings.append(f"tests/regressions.txt has no line: {row} {program} {name}")
    for row in ROWS:
        if not any(one == row and program.split("/")[0] in BLACK_BOX for one, program, _ in listed):
            findings.append(f"row {row} has no test that starts the program")
    return findings


def print_table(tests):
    lines = sorted({(row, program.split("/")[0] not in BLACK_BOX, program, name)
                    for program, name in tests for row in rows_of(name)})
    for row, _, program, name in lines:
        print(f"{row:<3} {program:<22} {name}")


def self_test():
    """Shows each finding a table or tests that have it, and those that have not."""
    tests = [("flow/a", f"holds (regression {row})") for row in ROWS]
    table = [(row, row, program, name) for row, (program, name) in enumerate(tests, 1)]
    unit = ("unit/x/b", "holds too (regressions 3, 5 and 73)")
    cases = [
        ("all is well", table, tests, None),
        ("an entry is missing", table[1:], tests, "tests/regressions.txt has no line: 1 flow/a"),
        ("a row is missing", table[1:], tests, "row 1 has no test"),
        ("a test is missing", table, tests[:-1], "there is no such test: flow/a"),
        ("a test is renamed", table, [("flow/a", "held (regression 1)"), *tests[1:]],
         "there is no such test: flow/a holds (regression 1)"),
        ("a unit test is no black box", [(1, 1, "unit/a", tests[0][1]), *table[1:]],
         [("unit/a", tests[0][1]), *tests[1:]], "row 1 has no test"),
        ("a wrong row", [(1, 2, *tests[0]), *table], tests, "not say that it is for row 2"),
        ("an entry twice", [*table, table[0]], tests, "listed twice"),
        ("a line that is none", [*table, *read_table("words")], tests, "not a row"),
        ("several rows in one name", table, [*tests, unit], "no line: 5 unit/x/b"),
        ("a row that does not exist", table, [*tests, ("flow/a", "x (regression 74)")], "no row 74"),
    ]
    wrong = []
    for what, some_table, some_tests, expected in cases:
        findings = check(some_table, some_tests)
        if bool(findings) != bool(expected) or (
                expected and not any(expected in finding for finding in findings)):
            wrong.append(f"{what}: {findings[:3]}")
    source = 'TEST_CASE("one "\n          "(regression 1)",\n          "[long]") {\n// TEST_CASE("no")\n'
    if names_in(source, False) != ["one (regression 1)"]:
        wrong.append(f"names of Catch2: {names_in(source, False)}")
    if names_in('@test "two (regression 2)" {\n', True) != ["two (regression 2)"]:
        wrong.append("names of bats")
    if read_table("# words\n\n7   flow/a  x y\n") != [(3, 7, "flow/a", "x y")]:
        wrong.append("lines of the table")
    return wrong


def main():
    arguments = sys.argv[1:]
    if arguments == ["--self-test"]:
        findings = self_test()
    elif len(arguments) == 2 and arguments[0] == "--table":
        print_table(read_tests(pathlib.Path(arguments[1])))
        findings = []
    elif len(arguments) == 1:
        directory = pathlib.Path(arguments[0])
        table = read_table((directory / "regressions.txt").read_text(encoding="utf-8"))
        tests = read_tests(directory)
        findings = check(table, tests)
        print(f"{len(tests)} tests, {len(table)} lines for {len(ROWS)} rows")
    else:
        print(__doc__, file=sys.stderr)
        return 2
    print("\n".join(findings), end="\n" if findings else "")
    return 1 if findings else 0


sys.exit(main())
