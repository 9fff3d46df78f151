"""Data Prep's calculated expressions: their grammar, and their evaluation on a record.

An expression is parsed once into nested closures; evaluating it on a record parses nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from . import functions
from .paths import MISSING, WILDCARD, Path, index_step, path_text, read
from .values import (
    EvaluationError,
    ExpressionError,
    MissingAttributeError,
    are_equal,
    is_less,
    number_of,
    truth_of,
    whole_number_of,
)

LONGEST_EXPRESSION = 4096

_GRAMMAR = r"""
?start: either
?either: both | either ("||" | "or") both -> or_
?both: equality | both ("&&" | "and") equality -> and_
?equality: comparison
    | equality ("==" | "eq") comparison -> eq
    | equality ("!=" | "ne") comparison -> ne
?comparison: sum
    | comparison ("<" | "lt") sum -> lt
    | comparison ("<=" | "le") sum -> le
    | comparison (">" | "gt") sum -> gt
    | comparison (">=" | "ge") sum -> ge
?sum: product | sum "+" product -> add | sum "-" product -> sub
?product: unary
    | product "*" unary -> mul
    | product ("/" | "div") unary -> div
    | product ("%" | "mod") unary -> mod
?unary: postfix | "-" unary -> negative | ("!" | "not") unary -> not_ | "~" unary -> complement
?postfix: primary
    | postfix "." name -> member
    | postfix "[" INDEX "]" -> element
    | postfix "." NAME "(" arguments ")" -> method
?primary: name -> attribute
    | NAME "(" arguments ")" -> call
    | literal
    | "(" either ")"
    | "[" arguments "]" -> array
    | "{" [pair ("," pair)*] "}" -> object
pair: TEXT ":" either
arguments: [either ("," either)*]
name: NAME | WRAPPED
literal: TEXT | NUMBER | INDEX | TRUE | FALSE | NULL
TRUE: "true"
FALSE: "false"
NULL: "null"
WRAPPED.2: /\$\{(?:[^}\\]|\\.)+\}/
NAME: /(?:[^\W\d]|\$)(?:[\w$]|\\\.)*/
NUMBER.2: /(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)/
INDEX: /[0-9]+|(?<=\[)\*(?=\])/
TEXT: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
%ignore /[ \t\r\n]+/
"""
_PARSER = Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Scope:
    """The scope of an expression: the record, and the time that `now()` returns."""

    record: Mapping[str, Any]
    now: datetime


Evaluate = Callable[[Scope], Any]


def compile_expression(text: str) -> Evaluate:
    """Compile an expression; raise `ExpressionError` if it is invalid or calls an unknown function.

    The result raises `EvaluationError` if the expression fails on a record, and `MissingAttributeError`
    if it reads an attribute that the record does not have.
    """
    try:
        return _compile(_parse(text))
    except RecursionError:
        raise ExpressionError("the expression is nested too deeply") from None


def compile_path(text: str) -> Path:
    """Parse the source path of a plain attribute mapping; raise `ExpressionError` if it is not a path."""
    tree = _parse(text)
    try:
        path = _path_of(tree)
    except RecursionError:
        raise ExpressionError("the path is too deep") from None
    if path is None:
        raise ExpressionError(f"{text!r} is not a path: wrap a name that is not an identifier in ${{}}")
    return path


def _parse(text: str) -> Tree[Token]:
    if len(text) > LONGEST_EXPRESSION:
        raise ExpressionError(f"the expression has {len(text)} characters, more than {LONGEST_EXPRESSION}")
    try:
        return _PARSER.parse(text)
    except UnexpectedInput as error:
        context = error.get_context(text).rstrip() if text else ""
        raise ExpressionError(f"syntax error at column {error.column}\n{context}") from None


def _compile(tree: Tree[Token]) -> Evaluate:
    path = _path_of(tree)
    if path is not None:
        return _reference(path)
    if tree.data in _COMPILERS:
        return _COMPILERS[tree.data](tree)
    left, right = (_compile(_tree(child)) for child in tree.children)
    operate = _OPERATORS[tree.data]
    return lambda scope: operate(left(scope), right(scope))


def _path_of(tree: Tree[Token]) -> Path | None:
    """Return the path in a tree, or None if it is not a path."""
    if tree.data == "attribute":
        return _names(_tree(tree.children[0]))
    if tree.data not in ("member", "element"):
        return None
    before = _path_of(_tree(tree.children[0]))
    return None if before is None else (*before, *_steps(tree))


def _steps(tree: Tree[Token]) -> Path:
    last = tree.children[1]
    return (index_step(last),) if isinstance(last, Token) else _names(last)


def _names(tree: Tree[Token]) -> Path:
    token = _token(tree.children[0])
    if token.type == "NAME":
        name = token.replace("\\.", ".")
        if name in functions.RESERVED:
            raise ExpressionError(f"{name!r} is a reserved word: write ${{{name}}} for a field of that name")
        return (name,)
    parts = re.split(r"(?<!\\)\.", token[2:-1])
    if not all(parts):
        raise ExpressionError(f"{token} names an empty field")
    return tuple(re.sub(r"\\(.)", r"\1", part) for part in parts)


def _reference(path: Path) -> Evaluate:
    def evaluate(scope: Scope) -> Any:
        value = read(scope.record, path)
        if _has_gap(value, path):
            raise MissingAttributeError(f"attribute {path_text(path)} does not exist in the record")
        return value

    return evaluate


def _has_gap(value: Any, path: Path) -> bool:
    """Return whether an element that a wildcard reached lacks the rest of the path."""
    if WILDCARD not in path or not isinstance(value, list):
        return value is MISSING
    rest = path[path.index(WILDCARD) + 1 :]
    return any(_has_gap(element, rest) for element in value)


def _literal(tree: Tree[Token]) -> Evaluate:
    token = _token(tree.children[0])
    value: Any
    if token.type == "TEXT":
        value = re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), token[1:-1], flags=re.DOTALL)
    elif token.type == "NUMBER":
        value = float(token)
        if not math.isfinite(value):
            raise ExpressionError(f"number {token} is too large")
    elif token.type == "INDEX":
        value = int(token)
    else:
        value = {"true": True, "false": False, "null": None}[token]
    return lambda _scope: value


def _call(tree: Tree[Token]) -> Evaluate:
    name = str(_token(tree.children[0]))
    arguments = _arguments(_tree(tree.children[1]))
    if name == functions.CHOICE:
        return _choice(arguments)
    if name not in functions.FUNCTIONS:
        raise ExpressionError(functions.why_not_callable(name), "UNKNOWN_FUNCTION")
    return _application(name, functions.FUNCTIONS[name], arguments)


def _method(tree: Tree[Token]) -> Evaluate:
    name = str(_token(tree.children[1]))
    if name not in functions.METHODS:
        raise ExpressionError(f"method {name!r} is not known", "UNKNOWN_FUNCTION")
    arguments = [_compile(_tree(tree.children[0])), *_arguments(_tree(tree.children[2]))]
    return _application(name, functions.METHODS[name], arguments)


def _application(name: str, function: functions.Function, arguments: list[Evaluate]) -> Evaluate:
    if not function.accepts(len(arguments)):
        raise ExpressionError(f"function {name!r} does not take {len(arguments)} arguments")
    call = function.call

    def evaluate(scope: Scope) -> Any:
        values = [scope.now] if function.needs_clock else [argument(scope) for argument in arguments]
        try:
            return call(*values)
        except (EvaluationError, ValueError, ArithmeticError, RecursionError) as error:
            raise EvaluationError(f"{name}: {error}") from None

    return evaluate


def _choice(arguments: list[Evaluate]) -> Evaluate:
    if len(arguments) != 3:
        raise ExpressionError(f"function {functions.CHOICE!r} takes 3 arguments, not {len(arguments)}")
    condition, when_true, when_false = arguments
    return lambda scope: when_true(scope) if truth_of(condition(scope)) else when_false(scope)


def _arguments(tree: Tree[Token]) -> list[Evaluate]:
    return [_compile(_tree(child)) for child in tree.children]


def _array(tree: Tree[Token]) -> Evaluate:
    elements = _arguments(_tree(tree.children[0]))
    return lambda scope: [element(scope) for element in elements]


def _object(tree: Tree[Token]) -> Evaluate:
    pairs = [_tree(child) for child in tree.children]
    keys = [_literal(pair) for pair in pairs]
    values = [_compile(_tree(pair.children[1])) for pair in pairs]
    return lambda scope: {key(scope): value(scope) for key, value in zip(keys, values, strict=True)}


def _rest_of_path(tree: Tree[Token]) -> Evaluate:
    """Compile a step into a function's result, such as `json_to_object(text).name`."""
    before, steps = _compile(_tree(tree.children[0])), _steps(tree)

    def evaluate(scope: Scope) -> Any:
        value = read(before(scope), steps)
        if value is MISSING:
            raise EvaluationError(f"{path_text(steps)} does not exist in the value before it")
        return value

    return evaluate


def _and(tree: Tree[Token]) -> Evaluate:
    left, right = (_compile(_tree(child)) for child in tree.children)
    return lambda scope: truth_of(left(scope)) and truth_of(right(scope))


def _or(tree: Tree[Token]) -> Evaluate:
    left, right = (_compile(_tree(child)) for child in tree.children)
    return lambda scope: truth_of(left(scope)) or truth_of(right(scope))


def _prefix(operate: Callable[[Any], Any]) -> Callable[[Tree[Token]], Evaluate]:
    def compiler(tree: Tree[Token]) -> Evaluate:
        operand = _compile(_tree(tree.children[0]))
        return lambda scope: operate(operand(scope))

    return compiler


def _divide(left: Any, right: Any) -> Any:
    dividend, divisor = number_of(left), number_of(right)
    if divisor == 0:
        raise EvaluationError("division by zero")
    if isinstance(dividend, float) or isinstance(divisor, float):
        return dividend / divisor
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _remainder(left: Any, right: Any) -> Any:
    dividend, divisor = number_of(left), number_of(right)
    if divisor == 0:
        raise EvaluationError("division by zero")
    if isinstance(dividend, float) or isinstance(divisor, float):
        return math.fmod(dividend, divisor)
    return abs(dividend) % abs(divisor) * (-1 if dividend < 0 else 1)


def _tree(child: Tree[Token] | Token) -> Tree[Token]:
    if isinstance(child, Token):
        raise ExpressionError(f"unexpected {child}")
    return child


def _token(child: Tree[Token] | Token) -> Token:
    if isinstance(child, Tree):
        raise ExpressionError(f"unexpected {child.data}")
    return child


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": are_equal,
    "ne": lambda left, right: not are_equal(left, right),
    "lt": is_less,
    "gt": lambda left, right: is_less(right, left),
    "le": lambda left, right: not is_less(right, left),
    "ge": lambda left, right: not is_less(left, right),
    "add": lambda left, right: number_of(left) + number_of(right),
    "sub": lambda left, right: number_of(left) - number_of(right),
    "mul": lambda left, right: number_of(left) * number_of(right),
    "div": _divide,
    "mod": _remainder,
}
_COMPILERS: dict[str, Callable[[Tree[Token]], Evaluate]] = {
    "literal": _literal,
    "call": _call,
    "method": _method,
    "array": _array,
    "object": _object,
    "member": _rest_of_path,
    "element": _rest_of_path,
    "and_": _and,
    "or_": _or,
    "negative": _prefix(lambda value: -number_of(value)),
    "not_": _prefix(lambda value: not truth_of(value)),
    "complement": _prefix(lambda value: ~whole_number_of(value)),
}
