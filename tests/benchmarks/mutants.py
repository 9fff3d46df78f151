"""Mutation testing of the delivery, of Experience Platform's client and of the identity rules.

A mutant is the source of one module with one small change. It is killed when a test fails. For each module
there is a short list of tests, so that a mutant costs seconds.

This is a driver of our own, because the two kept tools do not fit. cosmic-ray starts a process for each
mutant, which here costs five seconds before the first test begins. mutmut 3 forks, but changes neither
decorated functions (here nearly every public function, every property and every transaction) nor constants
of modules (here the ledger's SQL). This driver imports the libraries once and forks; the child imports the
package with one module changed. Processes that a test itself starts import the unchanged package.

Strings are not changed, except SQL: rewording a message is not a fault.
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
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[2]
SEED = 21
TIMEOUT_FACTOR = 5.0
LEAST_TIMEOUT = 60.0

_CASES = "tests/delivery/test_histories.py::test_a_recorded_history"
_LEDGER = (
    "tests/delivery/test_ledger_lists.py", "tests/delivery/test_ledger.py",
    "tests/delivery/test_reconcile.py", "tests/test_trace.py", "tests/delivery/test_ledger_damage.py",
)  # fmt: skip
_AEP = ("tests/aep",)
TARGETS: dict[str, tuple[str, ...]] = {
    "chatlio_kit/chatlio/event_ids.py": ("tests/chatlio/test_identity.py",),
    "chatlio_kit/chatlio/identities.py": ("tests/chatlio/test_identities.py",),
    "chatlio_kit/aep": _AEP,
    "chatlio_kit/delivery/ledger": _LEDGER,
    "chatlio_kit/delivery/requests/responses.py": ("tests/delivery/test_answers.py",),
    "chatlio_kit/delivery/requests/packing.py": ("tests/delivery/test_packing.py",),
    "chatlio_kit/delivery/requests/pacing.py": ("tests/delivery/test_pacing.py",),
    "chatlio_kit/delivery/requests/wire.py": (
        "tests/delivery/test_wire.py", "tests/delivery/test_packing.py",
    ),
    "chatlio_kit/delivery/requests/sending.py": (
        "tests/delivery/test_sending.py", _CASES,
    ),
    **{
        f"chatlio_kit/delivery/{module}.py": (_CASES, *(f"tests/{name}.py" for name in names))
        for module, names in {
            "run": ("delivery/test_run", "test_face", "people/test_delivery", "test_backfill_faults"),
            "replay": (
                "delivery/test_replay", "connection/test_production", "test_numbers_now",
                "test_backfill_faults",
            ),
            "readback": ("delivery/test_reconcile", "test_numbers_now"),
            "reconcile": ("delivery/test_reconcile", "test_numbers_now"),
            "stream": ("delivery/test_run", "test_face", "people/test_delivery"),
            "page": ("delivery/test_run", "test_cli", "test_numbers_now"),
            "run_options": ("delivery/test_run_terms", "test_backfill_redacted"),
        }.items()
    },
    "chatlio_kit/delivery/activation.py": (
        "tests/delivery/test_run.py", "tests/delivery/test_clocks.py", "tests/test_backfill_faults.py",
    ),
    "chatlio_kit/delivery/canary.py": (
        "tests/people/test_delivery.py", "tests/test_backfill_faults.py",
    ),
    "chatlio_kit/delivery/forecast.py": (
        "tests/test_backfill_resume.py", "tests/people/test_delivery.py", "tests/test_cli.py",
    ),
    "chatlio_kit/delivery/people.py": ("tests/people/test_delivery.py", "tests/people/test_audit.py"),
    "chatlio_kit/delivery/turns.py": ("tests/people/test_turns.py",),
    "chatlio_kit/delivery/bulk": (
        "tests/delivery/test_bulk_files.py", "tests/test_bulk.py", _CASES,
    ),
}  # fmt: skip
"""Modules, or folders of modules, and the tests that cover them; the quickest first."""

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


class _Changed(MetaPathFinder):
    """Loads one module with a change."""

    def __init__(self, mutant: Mutant) -> None:
        self._path = ROOT / mutant.file
        parts = Path(mutant.file).with_suffix("").parts
        self._name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self._source = mutant.source()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        source = self._source

        class Loader(SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType:
                return compile(source, self.path, "exec", dont_inherit=True)

        return spec_from_file_location(fullname, self._path, loader=Loader(fullname, str(self._path)))


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


def run(tests: Sequence[str], mutant: Mutant | None, timeout: float) -> tuple[str, str, float]:
    """Run tests in a fork with a mutant; return its outcome, the failed test, and the seconds."""
    started = time.monotonic()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(reader)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        code = 70
        try:
            if mutant is not None:
                sys.meta_path.insert(0, _Changed(mutant))
            code = int(importlib.import_module("pytest").main([*_QUIETLY, *tests]))
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


def _files(target: str) -> list[str]:
    path = ROOT / target
    found = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [file.relative_to(ROOT).as_posix() for file in found]


def main() -> None:
    """Run the mutants, print the survivors, and write every verdict as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("only", nargs="*", help="modules or folders; by default all targets")
    parser.add_argument("--sample", type=int, default=60, help="mutants of a target at most; 0 means all")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutants.jsonl")
    parser.add_argument("--again", type=Path, help="only what survived by this file of verdicts")
    parser.add_argument("--count", action="store_true", help="count the mutants only")
    given = parser.parse_args()
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # nbval alone takes two seconds
    if not given.count:
        warm_up()
    given.out.parent.mkdir(exist_ok=True)
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for target, tests in TARGETS.items():
        if given.only and target not in given.only:
            continue
        pool = [mutant for file in _files(target) for mutant in mutants_of(file)]
        tally[target][2] = len(pool)
        if given.again is not None:
            earlier = map(json.loads, given.again.read_text("utf-8").splitlines())
            survived = {
                (one["mutant"]["file"], one["mutant"]["before"], one["mutant"]["after"])
                for one in earlier
                if one["outcome"] == "survived"
            }
            pool = [mutant for mutant in pool if (mutant.file, mutant.before, mutant.after) in survived]
        # in random order, so that a run that is ended early leaves a fair sample
        chosen = random.Random(given.seed).sample(pool, min(given.sample or len(pool), len(pool)))
        if given.count:
            print(f"{target}: {len(pool):,} mutants")
            continue
        outcome, by, seconds = run(tests, None, 600)
        if outcome != "survived":
            raise SystemExit(f"{target}: its tests fail without a change ({by}).")
        timeout = max(LEAST_TIMEOUT, TIMEOUT_FACTOR * seconds)
        print(f"{target}: {len(chosen)} of {len(pool)} mutants, {seconds:.1f} s each at most", flush=True)
        for mutant in chosen:
            verdict = Verdict(mutant, *run(tests, mutant, timeout))
            tally[target][0] += 1
            tally[target][1] += verdict.outcome != "survived"
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(verdict)) + "\n")
            if verdict.outcome == "survived":
                print(f"survived: {mutant.file}:{mutant.line}\n{mutant.diff()}", flush=True)
        tried, killed, _ = tally[target]
        print(f"{target}: {killed} of {tried} killed ({killed / max(1, tried):.0%})", flush=True)


if __name__ == "__main__":
    main()
