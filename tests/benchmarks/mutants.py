"""Mutation testing of the delivery, of Experience Platform's client and of the identity rules.

A mutant is the source of one module with one small change. It is killed when a test fails. The tests of a
mutant are those that run the changed lines, as the suite run by ``make mutants`` records them: the quickest
first, and no more than fit into the budget of seconds.

This is a driver of our own, because the two kept tools do not fit. cosmic-ray starts a process for each
mutant, which here costs five seconds before the first test begins. mutmut 3 forks, but changes neither
decorated functions (here nearly every public function, every property and every transaction) nor constants
of modules (here the ledger's SQL). This driver imports the libraries once and forks. The child works in a
copy of the project with one module changed, so that processes started by a test see the change too.

Strings are not changed, except SQL: rewording a message is not a fault.

A run that was ended goes on where it stopped. Do not edit the package meanwhile.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import json
import os
import pkgutil
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from coverage import CoverageData

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutants"
SEED = 21
TIMEOUT_FACTOR = 5.0
LEAST_TIMEOUT = 60.0

TARGETS = (
    "chatlio_kit/chatlio/event_ids.py",
    "chatlio_kit/chatlio/identities.py",
    "chatlio_kit/aep",
    "chatlio_kit/delivery",
)
"""The modules, or folders of modules, that are mutated."""

_QUIETLY = (
    *("-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.Add,
}  # fmt: skip
_SQL = re.compile(r"\b(SELECT|UPDATE|INSERT|DELETE|WHERE|ORDER BY|fate|landed|gone)\b")
_SQL_CHANGES = (
    (r"\bAND\b", "OR"), (r"\bOR\b(?! (IGNORE|REPLACE))", "AND"), (r"\bNOT\b(?= landed| EXISTS| IN)", ""),
    (r"\bIS NOT NULL\b", "IS NULL"), (r"(?<!NOT )(?<= )IS NULL\b", "IS NOT NULL"), (r" != ", " = "),
    (r" < ", " <= "), (r" >= ", " > "), (r" > ", " >= "), (r" \+ 1\b", " + 2"), (r"\bmax\(", "min("),
    (r"\bmin\(", "max("), (r"'pending'", "'delivered'"), (r"'delivered'", "'pending'"),
    (r"'dead_lettered'", "'pending'"), (r"\bDISTINCT ", ""), (r"\blanded = 1", "landed = 0"),
    (r"\blanded = 0", "landed = 1"), (r" DESC\b", ""), (r"= NULL", "= 'x'"),
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: the module's file, the position, the old text and the new text."""

    file: str
    line: int
    start: int
    end: int
    before: str
    after: str

    def source(self) -> str:
        """Return the module's source with the change."""
        raw = (ROOT / self.file).read_bytes()
        return (raw[: self.start] + self.after.encode() + raw[self.end :]).decode()

    def diff(self) -> str:
        """Return the change as the two lines of a diff."""
        old = (ROOT / self.file).read_text("utf-8").splitlines()
        lines = difflib.unified_diff(old, self.source().splitlines(), lineterm="", n=0)
        return "\n".join(list(lines)[3:])


@dataclass(frozen=True)
class Verdict:
    """The outcome of a mutant: ``killed`` by a test, ``timeout``, or ``survived``."""

    mutant: Mutant
    outcome: str
    by: str
    seconds: float


def mutants_of(file: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its source."""
    raw = (ROOT / file).read_bytes()
    starts = [0]
    for line in raw.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: dict[tuple[int, int, str], Mutant] = {}
    tree = ast.parse(raw)
    skipped = _annotations_and_docstrings(tree)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        for place, after in _changes(node, raw.decode()):
            start = starts[place.lineno - 1] + place.col_offset
            end = starts[(place.end_lineno or place.lineno) - 1] + (place.end_col_offset or 0)
            mutant = Mutant(file, place.lineno, start, end, raw[start:end].decode(), after)
            if _compiles(mutant):
                found[start, end, after] = mutant
    return sorted(found.values(), key=lambda mutant: (mutant.start, mutant.end, mutant.after))


def _compiles(mutant: Mutant) -> bool:
    with suppress(SyntaxError):
        compile(mutant.source(), mutant.file, "exec", dont_inherit=True)
        return True
    return False


def _changes(node: ast.AST, source: str) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Yield the changes of one node: the place, and its new text."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
            other = ast.Compare(node.left, [_COMPARISONS[type(operator)]()], node.comparators)
            yield node, f"({ast.unparse(other)})"
        case ast.BoolOp():
            opposite = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield node, f"({ast.unparse(ast.BoolOp(opposite, node.values))})"
        case ast.UnaryOp(op=ast.Not()):
            yield node, f"({ast.unparse(node.operand)})"
        case ast.BinOp() if type(node.op) in _OPERATORS and not _has_text(node):
            yield node, f"({ast.unparse(ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right))})"
        case ast.AugAssign():
            yield node, f"{ast.unparse(node.target)} = {ast.unparse(node.value)}"
        case ast.Constant(value=bool()):
            yield node, str(not node.value)
        case ast.Constant(value=int(number)):
            yield node, str(number + 1)
        case ast.Constant(value=str()) | ast.JoinedStr():
            segment = ast.get_source_segment(source, node) or ""
            for pattern, replacement in _SQL_CHANGES if _SQL.search(segment) else ():
                for found in re.finditer(pattern, segment):
                    yield node, segment[: found.start()] + replacement + segment[found.end() :]
        case ast.Return(value=ast.expr()) if not (
            isinstance(node.value, ast.Constant) and node.value.value is None
        ):
            yield node, "return None"
        case ast.Expr(value=ast.Call()) | ast.Raise():
            yield node, "pass"
        case ast.Continue():
            yield node, "break"
        case ast.Break():
            yield node, "continue"
        case _:
            pass
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield node.test, f"(not ({ast.unparse(node.test)}))"


def _annotations_and_docstrings(tree: ast.Module) -> set[int]:
    skipped: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        match node:
            case ast.AnnAssign() | ast.arg():
                parts = [node.annotation]
            case ast.FunctionDef():
                parts = [node.returns]
            case ast.ClassDef():
                parts = list(node.decorator_list)  # whether a dataclass is frozen is for the type checker
            case ast.Expr(value=ast.Constant()):
                parts = [node]
            case ast.JoinedStr():
                parts = list(node.values)
        skipped.update(id(inner) for part in parts if part is not None for inner in ast.walk(part))
    return skipped


def _has_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(inner, ast.JoinedStr) or (isinstance(inner, ast.Constant) and isinstance(inner.value, str))
        for side in (node.left, node.right)
        for inner in ast.walk(side)
    )


class RecordedTests:
    """The tests of the suite: the lines that each one runs, and its seconds."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        lines = CoverageData(str(folder / "coverage"))
        lines.read()
        # all at once: in a forked worker, coverage would begin anew and empty its file
        self._lines = {file: lines.contexts_by_lineno(str(ROOT / file)) for file in files}
        cases = ElementTree.parse(folder / "tests.xml").iter("testcase")  # noqa: S314, pytest wrote it
        seconds = {(case.attrib["classname"], case.attrib["name"]): case.attrib["time"] for case in cases}
        contexts = {name.rpartition("|")[0] for name in lines.measured_contexts()} - {""}
        if not contexts:
            raise SystemExit(f"{folder} does not record which tests run which lines: run `make mutants`.")
        self._seconds = {test: float(seconds.get(_junit_name(test), "1")) for test in contexts}
        self._of_file: dict[str, list[str]] = defaultdict(list)
        for test in contexts:
            self._of_file[test.partition("::")[0]].append(test)

    def covering(self, mutant: Mutant, budget: float) -> list[str]:
        """Return the tests that run a mutant's lines, one of each function first, the quickest first."""
        lines = self._lines[mutant.file]
        statement = _statement(mutant)
        found = {context for line in statement for context in lines.get(line, ())} - {""}
        if not found:  # a constant of the module: every test that runs a part of the module
            found = {context for contexts in lines.values() for context in contexts} - {""}
        tests: set[str] = set()
        for context in found:
            test, _, phase = context.rpartition("|")
            # what a fixture of the whole file runs is recorded with the first test only
            tests.update(self._of_file[test.partition("::")[0]] if phase == "setup" else [test])
        seen: dict[str, int] = defaultdict(int)
        ranked = []
        for test in sorted(tests, key=lambda test: (self._seconds[test], test)):
            function = test.partition("[")[0]
            ranked.append((seen[function], self._seconds[test], test))
            seen[function] += 1
        chosen: list[str] = []
        spent = 0.0
        for _, seconds, test in sorted(ranked):
            if spent + seconds <= budget or not chosen:
                chosen.append(test)
                spent += seconds
        return chosen


def _junit_name(test: str) -> tuple[str, str]:
    """Return a test's name as JUnit's XML writes it."""
    path, _, rest = test.partition("::")
    function, bracket, parameters = rest.partition("[")
    *classes, name = function.split("::")
    return ".".join([*Path(path).with_suffix("").parts, *classes]), name + bracket + parameters


def _statement(mutant: Mutant) -> range:
    """Return the lines of the smallest statement around a change; of a compound one, only its head."""
    smallest = range(mutant.line, mutant.line + 1)
    least = sys.maxsize
    for node in ast.walk(ast.parse((ROOT / mutant.file).read_bytes())):
        if isinstance(node, ast.stmt) and node.lineno <= mutant.line <= (node.end_lineno or node.lineno):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            length = (node.end_lineno or node.lineno) - node.lineno
            if length < least:
                smallest, least = range(node.lineno, max(last, node.lineno) + 1), length
    return smallest


class Copy:
    """A copy of the project, in which one module at a time is changed."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="mutants-"))
        ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info")
        shutil.copytree(ROOT, self.root, ignore=ignored, dirs_exist_ok=True)

    def write(self, file: str, source: str) -> None:
        """Write the source of one module."""
        path = self.root / file
        path.write_text(source, "utf-8", newline="")
        # bytecode is trusted by time and size, and two mutants can have both alike
        for bytecode in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            bytecode.unlink()

    def restore(self, file: str) -> None:
        """Write a module as it is."""
        self.write(file, (ROOT / file).read_bytes().decode())

    def remove(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self.root)


class _Only:
    """A pytest plugin: only some tests, in their order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._rank = {test: rank for rank, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._rank), key=lambda item: self._rank[item.nodeid]
        )


def warm_up() -> None:
    """Import the libraries that the package and its tests need, and not the package."""
    package = importlib.import_module("chatlio_kit")
    for module in pkgutil.walk_packages(package.__path__, "chatlio_kit."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("pytest", "hypothesis", "hypothesis.stateful", "_hypothesis_pytestplugin"):
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "chatlio_kit"]:
        del sys.modules[name]


def run(copy: Path, tests: Sequence[str], timeout: float) -> tuple[str, str, float]:
    """Run tests in a fork that works in a copy; return the outcome, the failed test, and the seconds."""
    started = time.monotonic()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(reader)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy)
        sys.path.insert(0, str(copy))
        code = 70
        try:
            files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
            pytest = importlib.import_module("pytest")
            code = int(pytest.main([*_QUIETLY, *files], plugins=[_Only(tests)]))
        finally:
            os._exit(code)
    os.close(writer)
    output = b""
    os.set_blocking(reader, False)
    status: int | None = None
    while status is None and time.monotonic() - started < timeout:
        with suppress(BlockingIOError):
            output += os.read(reader, 1 << 16)
        done, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if done else None
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    with suppress(BlockingIOError):
        output += os.read(reader, 1 << 20)
    os.close(reader)
    seconds = time.monotonic() - started
    if status is None:
        return "timeout", "", seconds
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output.decode(errors="replace"), re.MULTILINE)
    by = failed[1] if failed else f"the tests ended with {status}"
    return ("survived", "", seconds) if status == 0 else ("killed", by, seconds)


class Worker:
    """Runs mutants one after another, and writes every verdict as a line of JSON."""

    def __init__(self, tests: RecordedTests, budget: float, out: Path) -> None:
        self._tests, self._budget, self._out = tests, budget, out
        self._sound: dict[str, bool] = {}

    def work(self, mutants: Sequence[Mutant]) -> None:
        """Run mutants in a copy of the project."""
        copy = Copy()
        try:
            for mutant in mutants:
                verdict = Verdict(mutant, *self._judge(copy, mutant))
                with self._out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(verdict)) + "\n")
                print(f"{verdict.outcome}: {mutant.file}:{mutant.line} {verdict.by}", flush=True)
        finally:
            copy.remove()

    def _judge(self, copy: Copy, mutant: Mutant) -> tuple[str, str, float]:
        tests = [test for test in self._tests.covering(mutant, self._budget) if self._sound.get(test, True)]
        while tests:
            copy.write(mutant.file, mutant.source())
            outcome, by, seconds = run(copy.root, tests, max(LEAST_TIMEOUT, TIMEOUT_FACTOR * self._budget))
            copy.restore(mutant.file)
            if by not in tests or self._is_sound(copy, by):
                return outcome, by, seconds
            tests.remove(by)
        return "survived", "no test that passes without the change runs the line", 0.0

    def _is_sound(self, copy: Copy, test: str) -> bool:
        """Return whether a test passes in the copy without a change."""
        if test not in self._sound:
            self._sound[test] = run(copy.root, [test], 600)[0] == "survived"
        return self._sound[test]


def _files(target: str) -> list[str]:
    path = ROOT / target
    found = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [file.relative_to(ROOT).as_posix() for file in found]


def _earlier(verdicts: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in verdicts.read_text("utf-8").splitlines()]


def _report(out: Path) -> None:
    """Print the survivors, and the score of each module."""
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for verdict in _earlier(out):
        mutant = Mutant(**verdict["mutant"])
        killed = verdict["outcome"] != "survived"
        for name in (mutant.file, "all"):
            tally[name][0] += 1
            tally[name][1] += killed
        if not killed:
            print(f"survived: {mutant.file}:{mutant.line}\n{mutant.diff()}")
    for name, (tried, killed) in sorted(tally.items(), key=lambda item: (item[0] == "all", item[0])):
        print(f"{name}: {killed} of {tried} killed ({killed / tried:.0%})")


def main() -> None:
    """Run a random sample of the mutants, and print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("only", nargs="*", default=TARGETS, help="modules or folders; by default all targets")
    parser.add_argument("--sample", type=int, default=300, help="mutants at most; 0 means all")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--budget", type=float, default=90.0, help="seconds of tests for a mutant at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at the same time")
    parser.add_argument("--out", type=Path, default=BUILD / "verdicts.jsonl")
    parser.add_argument("--again", type=Path, help="only what survived by this file of verdicts")
    parser.add_argument("--count", action="store_true", help="count the mutants only")
    given = parser.parse_args()
    pool = [mutant for target in given.only for file in _files(target) for mutant in mutants_of(file)]
    if given.count:
        print(f"{len(pool):,} mutants")
        return
    if given.again is not None:
        survived = {
            (one["mutant"]["file"], one["mutant"]["before"], one["mutant"]["after"])
            for one in _earlier(given.again)
            if one["outcome"] == "survived"
        }
        pool = [mutant for mutant in pool if (mutant.file, mutant.before, mutant.after) in survived]
    # in random order, so that a run that is ended early leaves a fair sample
    chosen = random.Random(given.seed).sample(pool, min(given.sample or len(pool), len(pool)))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # nbval alone takes two seconds
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    warm_up()
    files = sorted({mutant.file for mutant in pool})
    worker = Worker(RecordedTests(BUILD, files), given.budget, given.out)
    judged = {tuple(one["mutant"].values()) for one in _earlier(given.out)} if given.out.exists() else set()
    chosen = [mutant for mutant in chosen if astuple(mutant) not in judged]
    children = []
    for job in range(given.jobs):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                worker.work(chosen[job :: given.jobs])
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    _report(given.out)
    if any(ended):
        raise SystemExit("A worker ended early: the score is that of the mutants above.")


if __name__ == "__main__":
    main()
