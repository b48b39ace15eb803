"""House rules that no linter knows, as tests: each names what to write instead.

A rule is a function from the text of a file to complaints. Every rule is tried on a sample that breaks it, then held
against the repository.
"""

import ast
import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400

# The words are taken apart so that this file passes its own rule.
LEFTOVERS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(" + "|".join(["ro" + "ot", "ho" + "me", "wo" + "rk", "Us" + "ers"]) + r")/\w")
SUPPRESSION = re.compile(
    r"#\s*(noqa|type:\s*ignore)(?P<codes>:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|\[[a-z-]+(,\s*[a-z-]+)*\])?(?P<reason>.*)"
)

SKIPPED_FOLDERS = frozenset({".git", ".venv", "build", "dist", "__pycache__", "node_modules"})
TEXT_SUFFIXES = frozenset(
    {".py", ".md", ".yaml", ".yml", ".json", ".toml", ".txt", ".tpl", ".sh", ".xml", ".properties"}
)
TEXT_NAMES = frozenset({"Dockerfile", "run", ".dockerignore", ".editorconfig", ".gitignore", ".helmignore"})

Rule = Callable[[str], Iterator[str]]


parsed = lru_cache(maxsize=None)(ast.parse)


def long_functions(text: str) -> Iterator[str]:
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}: give a part a name"


def long_file(text: str) -> Iterator[str]:
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"1: {lines} lines, at most {FILE_LINES_MAX}: one file, one idea"


def prints(text: str) -> Iterator[str]:
    for name, line, _ in calls(text):
        if name == "print":
            yield f"{line}: print: log an event, or return a value to the command line"


def blocking_sleeps(text: str) -> Iterator[str]:
    for name, line, _ in calls(text):
        if name == "time.sleep" and not commented(text, line):
            yield f"{line}: time.sleep blocks the loop: return a wait as a value, or say which thread may block"


def fixed_sleeps(text: str) -> Iterator[str]:
    for name, line, in_loop in calls(text):
        if name in {"time.sleep", "asyncio.sleep"} and not in_loop and not commented(text, line):
            yield f"{line}: a sleep outside a loop waits a fixed time: wait for the condition, or say what it plays"


def leftovers(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := LEFTOVERS.search(line):
            yield f"{number}: {found[0]}: do it, or open an issue"


def machine_paths(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := MACHINE_PATHS.search(line):
            yield f"{number}: a path of one machine ({found[0]}…)"


def bare_suppressions(text: str) -> Iterator[str]:
    """The reason stands behind the codes or in a comment line above; once for each code of a file is enough."""
    lines = text.splitlines()
    found = [(number, match) for number, line in enumerate(lines, 1) if (match := SUPPRESSION.search(line))]
    explained = {
        match["codes"]
        for number, match in found
        if match["reason"].strip(" -#") or (number > 1 and lines[number - 2].lstrip().startswith("#"))
    }
    for number, match in found:
        if not match["codes"] or match["codes"] not in explained:
            yield f"{number}: a suppressed finding names its code, and the file gives the reason once"


def calls(text: str) -> Iterator[tuple[str, int, bool]]:
    """Calls by dotted name, with their line and whether a loop is around them, without ``sleep(0)``: it only yields."""
    tree = parsed(text)
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, in_loop = pending.pop()
        if isinstance(node, ast.Call) and not is_zero(node.args):
            name = ast.unparse(node.func)
            yield imported.get(name, name), node.lineno, in_loop
        in_loop = in_loop or isinstance(node, ast.While | ast.For | ast.AsyncFor)
        pending.extend((child, in_loop) for child in ast.iter_child_nodes(node))


def commented(text: str, line: int) -> bool:
    """Whether a line gives its reason behind the code."""
    return "  # " in text.splitlines()[line - 1]


def is_zero(arguments: list[ast.expr]) -> bool:
    return len(arguments) == 1 and isinstance(arguments[0], ast.Constant) and arguments[0].value == 0


RULES: dict[Rule, tuple[str, ...]] = {
    long_functions: ("streams", "scripts", "tests", "bench"),
    long_file: ("streams",),
    prints: ("streams",),
    blocking_sleeps: ("streams",),
    fixed_sleeps: ("tests",),
    leftovers: ("",),
    machine_paths: ("",),
    bare_suppressions: ("streams", "scripts", "tests", "bench"),
}

# A person reads what the command line prints.
PRINTING = "streams/cli/"


def texts(folders: tuple[str, ...], *, python_only: bool) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for parent, children, names in os.walk(ROOT / folder):
            children[:] = sorted(name for name in children if not is_skipped(name))
            for path in (Path(parent, name) for name in sorted(names)):
                other_text = not python_only and (path.suffix in TEXT_SUFFIXES or path.name in TEXT_NAMES)
                if path.suffix == ".py" or other_text:
                    yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def is_skipped(folder: str) -> bool:
    return folder in SKIPPED_FOLDERS or folder.endswith(("_cache", ".egg-info"))


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.__name__) for rule in RULES])
def test_house_rule(rule: Rule) -> None:
    folders = RULES[rule]
    complaints = [
        f"{name}:{complaint}"
        for name, text in texts(folders, python_only=folders != ("",))
        if not (rule is prints and name.startswith(PRINTING))
        for complaint in rule(text)
    ]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(
    ("rule", "broken", "line"),
    [
        pytest.param(long_functions, "def f():\n" + "    a = 1\n" * 70, 1, id="71 lines in a function"),
        pytest.param(long_file, "a = 1\n" * 401, 1, id="401 lines in a file"),
        pytest.param(prints, "a = 1\nprint(a)\n", 2, id="print"),
        pytest.param(blocking_sleeps, "import time\nwhile True:\n    time.sleep(1)\n", 3, id="time.sleep"),
        pytest.param(blocking_sleeps, "from time import sleep as nap\nnap(1)\n", 2, id="time.sleep under another name"),
        pytest.param(fixed_sleeps, "async def f():\n    await asyncio.sleep(0.2)\n", 2, id="a fixed sleep"),
        pytest.param(leftovers, "a = 1  # TO" + "DO later\n", 1, id="a leftover"),
        pytest.param(machine_paths, "a = 1\nb = '/ho" + "me/me/x'\n", 2, id="a machine path"),
        pytest.param(bare_suppressions, "a = 1  # no" + "qa\n", 1, id="a suppression without code"),
        pytest.param(bare_suppressions, "a = 1  # no" + "qa: S101\n", 1, id="a suppression without reason"),
        pytest.param(bare_suppressions, "a = b  # type" + ": ignore[misc]\n", 1, id="an ignored type without reason"),
    ],
)
def test_a_rule_finds_what_breaks_it(rule: Rule, broken: str, line: int) -> None:
    (complaint,) = rule(broken)
    assert complaint.startswith(f"{line}:")


@pytest.mark.parametrize(
    ("rule", "tidy"),
    [
        pytest.param(long_functions, "def f():\n" + "    a = 1\n" * 69, id="70 lines in a function"),
        pytest.param(
            fixed_sleeps, "while not done():\n    time.sleep(0.01)\n", id="a sleep that waits for a condition"
        ),
        pytest.param(fixed_sleeps, "async def f():\n    await asyncio.sleep(0)\n", id="a sleep that only yields"),
        pytest.param(
            machine_paths, "see docs/wo" + "rk/flow.md and https://x.example/ho" + "me/a\n", id="relative path"
        ),
        pytest.param(bare_suppressions, "a = 1  # no" + "qa: S101, S102 - why\n", id="a suppression with a reason"),
        pytest.param(
            bare_suppressions, "a = b  # type" + ": ignore[misc]  # why\n", id="an ignored type with a reason"
        ),
    ],
)
def test_a_rule_lets_tidy_code_pass(rule: Rule, tidy: str) -> None:
    assert not list(rule(tidy))
