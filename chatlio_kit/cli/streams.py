"""Standard streams in any encoding, even if closed, full, or without a reader.

stderr is for people: a job does not fail because its progress cannot be shown. stdout is for the result, and
a result that cannot be written is a failure.
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
    """Make stdout and stderr accept any text within the block."""
    original = sys.stdin, sys.stdout, sys.stderr
    _occupy_standard_descriptors()
    sys.stdin = open(os.devnull, encoding="utf-8") if sys.stdin is None else sys.stdin  # noqa: SIM115
    sys.stdout = _open_null() if sys.stdout is None else sys.stdout
    _replace_unencodable(sys.stdout)
    sys.stderr = _open_null() if sys.stderr is None else _lossy(sys.stderr)
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            discard_stdout()
        sys.stdin, sys.stdout, sys.stderr = original


def write_answer(text: str) -> str | None:
    """Write a command's result to stdout; if it cannot be written, return the reason.

    A reader that has closed the pipe, such as ``head``, is not a failure.
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
    """Discard the rest of stdout's buffer, because Python would try to write it again on exit."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _occupy_standard_descriptors() -> None:
    """Open the null device for each closed standard stream, so that no data file gets its descriptor."""
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:
            os.close(number)
            return
        os.set_inheritable(number, True)  # child processes need it too


def _open_null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _replace_unencodable(stream: Any) -> None:
    """Replace characters that a stream's encoding lacks with plain ones."""
    codecs.register_error(_ERRORS, _plain_characters)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_ERRORS)


def _plain_characters(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in text), error.end


class _LossyWriter(io.RawIOBase):
    """A writer that drops output that its stream cannot accept."""

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


def _lossy(stream: Any) -> Any:
    """Wrap stderr if it is a stream of bytes."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        return stream
    codecs.register_error(_ERRORS, _plain_characters)
    return io.TextIOWrapper(
        _LossyWriter(buffer),
        encoding=stream.encoding,
        errors=_ERRORS,
        line_buffering=True,
        write_through=True,
    )
