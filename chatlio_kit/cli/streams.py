"""Standard streams as they come: of any encoding, closed, full, or read by somebody who has gone.

What goes to stderr is for people: a job does not fail because nobody can be shown its progress. What goes to
stdout is the answer, and an answer that could not be written is a failure.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

_PLAIN = {"─": "-", "│": "|", "…": "...", "→": "->", "×": "x", "·": "-", "’": "'", "–": "-", "•": "*"}
_ERRORS = "chatlio_kit.plain"


@contextmanager
def usable_streams() -> Iterator[None]:
    """Make stdout and stderr take any text while the block runs."""
    before = sys.stdin, sys.stdout, sys.stderr
    _occupy()
    sys.stdin = open(os.devnull, encoding="utf-8") if sys.stdin is None else sys.stdin  # noqa: SIM115
    sys.stdout = _open_null() if sys.stdout is None else sys.stdout
    _simplify(sys.stdout)
    sys.stderr = _open_null() if sys.stderr is None else _forgiving(sys.stderr)
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            discard_stdout()
        sys.stdin, sys.stdout, sys.stderr = before


def write_answer(text: str) -> str | None:
    """Write a command's answer to stdout; return why it could not be written, if so.

    A reader that has gone, such as ``head``, wanted no more: that is no failure.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
    except OSError as error:
        discard_stdout()
        return error.strerror or str(error)
    return None


def discard_stdout() -> None:
    """Send what is still in stdout's buffer nowhere: Python would try, and fail, again when it ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _occupy() -> None:
    """Open the null device in place of each closed standard stream: else a data file takes its number."""
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:
            os.close(number)
            return
        os.set_inheritable(number, True)  # the processes that are started here need it as much


def _open_null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _simplify(stream: Any) -> None:
    """Write what a stream's encoding lacks with plain characters."""
    codecs.register_error(_ERRORS, _plainly)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_ERRORS)


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each, "?") for each in text), error.end


class _Forgiving(io.RawIOBase):
    """Writes to a stream, and drops what cannot be written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def write(self, data: Any) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(data)
            self._stream.flush()
        return len(data)


def _forgiving(stream: Any) -> Any:
    """Wrap stderr, unless it is something else than a stream of bytes."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        return stream
    codecs.register_error(_ERRORS, _plainly)
    return io.TextIOWrapper(
        _Forgiving(buffer), encoding=stream.encoding, errors=_ERRORS, line_buffering=True, write_through=True
    )
