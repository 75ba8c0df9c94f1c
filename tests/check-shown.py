#!/usr/bin/python3
"""Is all that is promised shown by a test that exists (P20)? Looks at tests/requirements.tsv,
at the table of promises in docs/security.md, and at every test that the documents name.

    check-shown.py [TOP]
"""
import re
import sys
from pathlib import Path

TOP = Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
TOP = TOP if TOP.is_dir() else TOP.parents[1]
ROW = re.compile(r"[A-Z][A-Z0-9]-[0-9]+[a-z]*\Z")
REQUIREMENTS = [f"R{n:03}" for n in range(1, 165)]
PROMISES = [f"P{n:02}" for n in range(1, 21)]
wrong = []


def lines_of(path):
    lines = (TOP / path).read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def has_id(path, id):
    files = [path] if path.is_file() else sorted(path.rglob("*.[cp]*"))
    return any(re.search(rf"\b{id}\b", f.read_text()) for f in files if f.suffix in (".py", ".c"))


def check_test(where, test, id=None):
    """FILE, DIRECTORY or FILE::NAME; it must speak of the id."""
    path, _, name = test.partition("::")
    file = TOP / path
    if not file.exists():
        wrong.append(f"{where}: no {path}")
    elif name and not re.search(rf"(def|void|int) {name}\(", file.read_text()):
        wrong.append(f"{where}: no {name} in {path}")
    elif id and not has_id(file, id):
        wrong.append(f"{where}: {path} does not name {id}")


def check_requirements():
    path = "tests/requirements.tsv"
    rows = {columns[0] for table in ("cases", "more") for columns in lines_of(f"tests/wire/{table}.tsv")}
    found = lines_of(path)
    if [columns[0] for columns in found] != REQUIREMENTS:
        wrong.append(f"{path}: the ids are not {REQUIREMENTS[0]} to {REQUIREMENTS[-1]}")
    for id, *_, shown in found:
        if not shown.strip("- "):
            wrong.append(f"{path}: {id} is shown by nothing")
        if shown.startswith("- "):
            continue
        for word in shown.split():
            if not ROW.match(word):
                check_test(f"{path}: {id}", word, id)
            elif word not in rows:
                wrong.append(f"{path}: {id}: no row {word}")


def check_promises():
    path = "docs/security.md"
    found = re.findall(r"^\| (P\d\d) \|.*\| (.*) \|$", (TOP / path).read_text(), re.MULTILINE)
    if [id for id, _ in found] != PROMISES:
        wrong.append(f"{path}: the promises are not {PROMISES[0]} to {PROMISES[-1]}")
    for id, shown in found:
        for test in re.findall(r"`(tests/[^`]*)`", shown):
            check_test(f"{path}: {id}", test, id)
        if "`tests/" not in shown and not shown.startswith("not "):
            wrong.append(f"{path}: {id} is shown by nothing")


def check_documents():
    for file in [*TOP.glob("*.md"), *TOP.glob("docs/*.md")]:
        for test in re.findall(r"`(tests/[^` <]*)`", file.read_text()):
            check_test(file.relative_to(TOP), test)


check_requirements()
check_promises()
check_documents()
print(*wrong, sep="\n")
sys.exit(bool(wrong))
