"""Collect, from the source, every message that names a next step.

An error's message is built where its class is called, mostly from an f-string. Parts known in the source are
evaluated as on the command line; values from a run become placeholders such as ‹path›.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from types import ModuleType

import chatlio_kit
from chatlio_kit.errors import ChatlioKitError, PlatformError, spoken_at_the_prompt

PACKAGE = Path(chatlio_kit.__file__).parent
_APART = {"local_platform"}
"""Rooms whose messages are not errors for users: the local platform answers over HTTP."""
_TREE: dict[str, type[Exception]] = {}
_DEEPEST = 4
_PURE = {"join", "option", "in_words", "repr", "str"}
_OF_PLATFORM = ("service", "operation", "reason", "advice")


@dataclass(frozen=True)
class Message:
    """One message of the source.

    Attributes:
        room: The folder or module of its source, e.g. ``captures``.
        error: The error's class.
        text: The message, with placeholders.
        place: File and line, for a test's message.
    """

    room: str
    error: str
    text: str
    place: str

    @property
    def finding(self) -> str:
        """The message without the next step."""
        return self._parts()[0]

    @property
    def next_step(self) -> str:
        """The next step: the last sentence; empty if the message is a single sentence."""
        return self._parts()[1]

    def _parts(self) -> tuple[str, str]:
        for between in (". ", "; ", ": "):
            finding, found, step = self.text.rpartition(between)
            if (
                found
                and not step.startswith("[")
                and (between == ". " or (len(step) > 20 and step[0].islower() and between == "; "))
            ):
                return finding + between.strip(), step
        return self.text, ""


@dataclass
class _Scope:
    """The values of names at one location in the source."""

    module: ModuleType
    functions: dict[str, ast.FunctionDef]
    function: ast.FunctionDef | None = None
    arguments: dict[str, tuple[ast.expr, _Scope]] = field(default_factory=dict)

    def assigned(self, name: str, before: int) -> ast.expr | None:
        """Return the value last assigned to a name before a line."""
        found: list[tuple[int, ast.expr]] = []
        for node in ast.walk(self.function or ast.Module([], [])):
            if isinstance(node, ast.Assign) and node.lineno <= before:
                pairs = [(target, node.value) for target in node.targets]
                if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(node.targets[0].elts, node.value.elts, strict=False))
                found += [(node.lineno, value) for target, value in pairs if _name(target) == name]
        return max(found, key=lambda pair: pair[0])[1] if found else None


def rendered(node: ast.expr, scope: _Scope, depth: int = 0) -> list[str]:
    """Return the possible strings of an expression, with placeholders for values from a run."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return _joined([(part, rendered(part, scope, depth)) for part in node.values])
    known = _evaluated(node, scope)
    if known is not None:
        return [known]
    if isinstance(node, ast.FormattedValue):
        quote = "'{}'" if node.conversion == ord("r") else "{}"
        return [quote.format(text) for text in rendered(node.value, scope, depth)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([(side, rendered(side, scope, depth)) for side in (node.left, node.right)])
    if isinstance(node, ast.IfExp):
        for side in (node.body, node.orelse):
            if isinstance(side, ast.Constant) and side.value == "":
                other = node.orelse if side is node.body else node.body
                return [
                    f"{' ' * text.startswith(' ')}[{text.strip()}]" for text in rendered(other, scope, depth)
                ]
        return [*rendered(node.body, scope, depth), *rendered(node.orelse, scope, depth)]
    if isinstance(node, ast.Call):
        return _called(node, scope, depth)
    if isinstance(node, ast.Name) and depth < _DEEPEST:
        if node.id in scope.arguments:
            argument, caller = scope.arguments[node.id]
            return rendered(argument, caller, depth + 1)
        value = scope.assigned(node.id, node.lineno)
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        if (
            is_text
            or isinstance(value, ast.JoinedStr | ast.IfExp | ast.BinOp)
            or (isinstance(value, ast.Call) and _name(value.func) in ("in_words", "option", "for_face"))
        ):
            return rendered(value, scope, depth + 1)
    return [_placeholder(node)]


def _joined(parts: list[tuple[ast.expr, list[str]]]) -> list[str]:
    """Return a string with the variants of its parts, one after another if several parts vary."""
    varying = [index for index, (_, variants) in enumerate(parts) if len(variants) > 1]
    texts = []
    for index in varying or [0]:
        for variant in parts[index][1]:
            pieces = [
                _placeholder(part) if at in varying else variants[0]
                for at, (part, variants) in enumerate(parts)
            ]
            texts.append("".join([*pieces[:index], variant, *pieces[index + 1 :]]))
    return list(dict.fromkeys(texts))


def _called(node: ast.Call, scope: _Scope, depth: int) -> list[str]:
    name = _name(node.func)
    if name in ("in_words", "for_face") and len(node.args) == 2:
        return rendered(node.args[0], scope, depth)
    if name == "option":
        flag = rendered(node.args[0], scope, depth)[0].replace("_", "-")
        value = f" {rendered(node.args[1], scope, depth)[0]}" if len(node.args) > 1 else ""
        return ["--" + flag + ("" if value == " True" else value)]
    if name == "counted":
        one, *many = (rendered(noun, scope, depth)[0] for noun in node.args[1:])
        return [f"{_placeholder(node.args[0])} {many[0] if many else one + 's'}"]
    if name in ("repr", "str", "shown", "shortened") and len(node.args) == 1:
        return rendered(node.args[0], scope, depth)
    wording = scope.functions.get(name)
    if wording is not None and depth < _DEEPEST and ast.unparse(wording.returns or node) == "str":
        parameters = [argument.arg for argument in wording.args.args if argument.arg != "self"]
        given = {word: (value, scope) for word, value in zip(parameters, node.args, strict=False)}
        inner = replace(scope, function=wording, arguments=given)
        returned = [part.value for part in ast.walk(wording) if isinstance(part, ast.Return) and part.value]
        texts = [text for value in returned for text in rendered(value, inner, depth + 1)]
        if any(count_words(text) >= 3 for text in texts):
            return [text or _placeholder(node) for text in dict.fromkeys(texts)]
    return [_placeholder(node)]


def count_words(text: str) -> int:
    """Count the words other than placeholders."""
    return len(re.findall(r"[A-Za-z]{2,}", re.sub("‹[^›]*›", "", text)))


def _evaluated(node: ast.expr, scope: _Scope) -> str | None:
    """Return the string of an expression without local names; None if it needs one, or is not a string."""
    if any(isinstance(part, ast.Call) and _name(part.func) not in _PURE for part in ast.walk(node)):
        return None
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    bound = {
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
    free = names - bound - set(vars(builtins)) - set(vars(scope.module))
    hidden = {name for name in names if name in scope.arguments or scope.assigned(name, 10**9) is not None}
    hidden |= {argument.arg for argument in scope.function.args.args} & names if scope.function else set()
    if free or hidden or "self" in names:
        return None
    source = ast.JoinedStr([node]) if isinstance(node, ast.FormattedValue) else node
    code = compile(ast.fix_missing_locations(ast.Expression(source)), "<message>", "eval")
    try:
        value = eval(code, dict(vars(scope.module)))  # noqa: S307  an expression of this package
    except Exception:
        return None
    return str(value) if isinstance(value, str | int | float) else None


def _placeholder(node: ast.expr) -> str:
    return f"‹{_naming(node)}›"


def _naming(node: ast.expr) -> str:
    """Return a word for a placeholder."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").replace("_", " ").lower()
    if isinstance(node, ast.Attribute):
        return {"strerror": "reason", "iat": "value"}.get(node.attr, node.attr.strip("_").replace("_", " "))
    if isinstance(node, ast.BoolOp):
        return _naming(node.values[0])
    if isinstance(node, ast.FormattedValue | ast.Starred | ast.Subscript):
        return _naming(node.value)
    if isinstance(node, ast.Call):
        if _name(node.func) in ("len", "sum"):
            return "n"
        if node.args:
            return _naming(node.args[0])
        return _naming(node.func.value) if isinstance(node.func, ast.Attribute) else _naming(node.func)
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return _naming(node.generators[0].iter)
    return "…"


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


@dataclass(frozen=True, eq=False)
class Source:
    """A module of the package, imported and parsed."""

    path: Path
    module: ModuleType
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder or module of the package that it belongs to."""
        return self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """The module's functions and methods by name."""
        return {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}

    def calls(self) -> Iterator[tuple[ast.Call, ast.FunctionDef | None]]:
        """Yield each call with the innermost function around it."""
        return ((node, function) for node, function in self.nodes if isinstance(node, ast.Call))

    @cached_property
    def nodes(self) -> list[tuple[ast.AST, ast.FunctionDef | None]]:
        """The nodes with the innermost function around each, in the order of the source."""
        found = []
        waiting: list[tuple[ast.AST, ast.FunctionDef | None]] = [(self.tree, None)]
        while waiting:
            node, function = waiting.pop()
            found.append((node, function))
            inner = node if isinstance(node, ast.FunctionDef) else function
            waiting += [(child, inner) for child in reversed(list(ast.iter_child_nodes(node)))]
        return found

    @cached_property
    def callers(self) -> dict[str, list[tuple[ast.Call, ast.FunctionDef | None]]]:
        """The calls by the called function's name."""
        calls: dict[str, list[tuple[ast.Call, ast.FunctionDef | None]]] = {}
        for call, function in self.calls():
            calls.setdefault(_name(call.func), []).append((call, function))
        return calls


@cache
def sources() -> list[Source]:
    """Return the modules of the package with messages for users."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in _APART and parts not in (("__main__",), ("errors",)):
            name = ".".join(("chatlio_kit", *parts)).removesuffix(".__init__")
            found.append(Source(path, importlib.import_module(name), ast.parse(path.read_text("utf-8"))))
    return found


def _error_tree(parent: type[Exception]) -> dict[str, type[Exception]]:
    """Return the classes of the error tree by name; the modules that define them have been imported."""
    tree = {parent.__name__: parent}
    for child in parent.__subclasses__():
        tree |= _error_tree(child)
    return tree


def error_names() -> list[str]:
    """Return the names of all classes of the error tree."""
    sources()
    _TREE.update(_error_tree(ChatlioKitError))
    return list(_TREE)


@cache
def error_messages() -> list[Message]:
    """Return every message of the error tree, in the order of the rooms."""
    every = sources()
    error_names()
    with spoken_at_the_prompt():
        return list(dict.fromkeys(_error_messages(every)))


def _error_messages(every: list[Source]) -> Iterator[Message]:
    for source in every:
        for call, function in source.calls():
            error = _TREE.get(_name(call.func))
            if error is None or not call.args:
                continue
            for scope in _scopes(source, function, every, _used(call)):
                for text in _texts(call, scope, is_platform=issubclass(error, PlatformError)):
                    place = f"{source.path.relative_to(PACKAGE)}:{call.lineno}"
                    yield Message(source.room, error.__name__, " ".join(text.split()), place)


def _texts(call: ast.Call, scope: _Scope, *, is_platform: bool) -> Iterator[str]:
    if not is_platform:
        yield from rendered(call.args[0], scope)
        return
    parts = dict(zip(_OF_PLATFORM, call.args, strict=False))
    parts |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg == "advice"}
    texts = {name: rendered(node, scope) for name, node in parts.items()}
    for service, operation, reason, advice in product(
        texts["service"], texts["operation"], texts["reason"], texts.get("advice", [""])
    ):
        yield f"{service} could not {operation}: {reason.rstrip('.')}. {advice}".rstrip()


def _used(call: ast.Call) -> set[str]:
    return {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}


def _scopes(
    source: Source, function: ast.FunctionDef | None, every: list[Source], used: set[str]
) -> list[_Scope]:
    """Return the scopes of a message: one for each call of a function that only builds it, else its own."""
    own = _Scope(source.module, source.functions, function)
    if function is None or not _words_only(function, used):
        return [own]
    parameters = [argument.arg for argument in function.args.args if argument.arg != "self"]
    scopes = []
    for other in every:
        for call, caller in other.callers.get(function.name, ()):
            if caller is not function and _is_call_of(call, function, source, other):
                there = _Scope(other.module, other.functions, caller)
                given = dict(zip(parameters, call.args, strict=False))
                given |= {word.arg: word.value for word in call.keywords if word.arg}
                scopes.append(replace(own, arguments={name: (node, there) for name, node in given.items()}))
    return scopes or [own]


def _words_only(function: ast.FunctionDef, used: set[str]) -> bool:
    """Return whether a function builds an error from its arguments, to return or to raise it."""
    parameters = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)} - {"self"}
    returned = ast.unparse(function.returns).strip("'\"") if function.returns else ""
    return bool(used & parameters) and (returned == "NoReturn" or returned in _TREE)


def _is_call_of(call: ast.Call, function: ast.FunctionDef, source: Source, other: Source) -> bool:
    if function.args.args[:1] and function.args.args[0].arg == "self":
        return isinstance(call.func, ast.Attribute)
    own = getattr(source.module, function.name, None)
    return own is not None and getattr(other.module, function.name, None) is own


def doctor_messages() -> list[Message]:
    """Return the doctor's findings with next steps; ``error`` is the check's name."""
    every = [source for source in sources() if source.path.name == "preflight.py"]
    with spoken_at_the_prompt():
        return list(dict.fromkeys(_doctor_messages(every[0])))


def _doctor_messages(source: Source) -> Iterator[Message]:
    names = {method.__name__: name for name, (_, method) in source.module._CHECKS.items()}
    for call, function in source.calls():
        if _name(call.func) != "Check" or function is None or len(call.args) < 4:
            continue
        scope = _Scope(source.module, source.functions, function)
        check = names.get(function.name) or rendered(call.args[0], scope)[0]
        place = f"{source.path.relative_to(PACKAGE)}:{call.lineno}"
        for finding, step in product(rendered(call.args[2], scope), rendered(call.args[3], scope)):
            yield Message("doctor", check, f"{finding.rstrip('.')}. {step}", place)


def notes() -> list[Message]:
    """Return the notes that may be on pages and reports."""
    with spoken_at_the_prompt():
        return list(dict.fromkeys(note for source in sources() for note in _notes(source)))


def _notes(source: Source) -> Iterator[Message]:
    for node, function in source.nodes:
        if isinstance(node, ast.Call) and _is_of_notes(node.func) and len(node.args) == 1:
            written = node.args
        elif (
            isinstance(node, ast.AugAssign)
            and _name(node.target) == "notes"
            and isinstance(node.value, ast.List)
        ):
            written = [part for part in node.value.elts if not isinstance(part, ast.Starred)]
        elif isinstance(node, ast.Yield) and function and re.search("note|sentence|explain", function.name):
            written = [node.value] if node.value else []
        else:
            continue
        scope = _Scope(source.module, source.functions, function)
        for expression in written:
            for text in rendered(expression, scope):
                yield Message(
                    source.room,
                    "note",
                    " ".join(text.split()),
                    f"{source.path.relative_to(PACKAGE)}:{node.lineno}",
                )


def _is_of_notes(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "append"
        and _name(function.value) in ("notes", "sentences")
    )
