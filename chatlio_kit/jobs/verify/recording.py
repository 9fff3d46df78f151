"""Record a sandbox's answers for sharing: in vcrpy's format, without its owner's data.

Ids of the walk become the cases' words in braces. A successful answer keeps only the values that a case
relies on, and the types of all others. A refusal keeps its texts, without ids, URLs and hosts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from chatlio_kit.errors import OutputError, UsageError
from chatlio_kit.jobs.verify.cases import Case
from chatlio_kit.jobs.verify.outcome import Walk
from chatlio_kit.jobs.verify.shapes import Each, Keyed, Some, misfits
from chatlio_kit.private_files import write_private
from chatlio_kit.settings import Settings

CASE_HEADER = "x-conformance-case"
"""The header that names the case of a recorded request; it is never sent."""
HOST = "https://sandbox.example"
_FORM = "a form with the credential"
_LONGEST_TEXT = 300
_KEPT_HEADERS = frozenset({"content-type", "accept", "if-match", "range", "x-adobe-flow-id", "retry-after"})
_SAYS = frozenset(
    ("type", "title", "status", "error", "error_code", "error_description", "message", "errorMessage", "code",
     "errorDetails", "detail", "detailed-message", "description")
)  # fmt: skip
_IDS = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|\b[0-9a-fA-F]{16,}\b"
    r"|\b[0-9A-HJKMNP-TV-Z]{26}\b|\b\d{10,}(?::\d+)+(?:[:-]\d+)?"
)
_ADDRESSES = re.compile(
    r"[\w.+-]+@[\w.-]+|eyJ[\w-]+(?:\.[\w-]+)*|\b(?:\d{1,3}\.){3}\d{1,3}\b|https?://(?!ns\.adobe\.com)[^\s\"'?]+"
)
_MEMBER = re.compile(r"[@$A-Za-z_{][\w:.{}-]*")


class Recorder:
    """A recorder of the last answer to each case of a walk, unchanged.

    Args:
        path: The recording's file.

    Raises:
        UsageError: Vcrpy is not installed, or the file's folder does not exist.
    """

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise UsageError(f"There is no folder {str(path.parent)!r} for the recording. Name another file.")
        self._path = path
        try:
            self._vcr = import_module("vcr")
        except ImportError:
            raise UsageError(
                "A recording needs vcrpy, which is not installed: pip install 'chatlio-kit[verify]'."
            ) from None
        self._case: Case | None = None
        self._asked: dict[str, Case] = {}
        self._kept: dict[str, tuple[Any, Any]] = {}

    def asking(self, case: Case | None) -> None:
        """Note the case of the next call; a call for None is not recorded."""
        self._case = case
        if case is not None:
            self._asked[case.name] = case

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the calls that are made inside the block."""
        logging.getLogger("vcr").setLevel(logging.WARNING)  # below, it logs addresses
        missing = import_module("vcr.persisters.filesystem").CassetteNotFoundError

        def load(*_: Any, **__: Any) -> Any:
            raise missing

        def save(_: str, kept: dict[str, Any], **__: Any) -> None:
            for request, answer in zip(kept["requests"], kept["responses"], strict=True):
                self._kept[request.headers[CASE_HEADER]] = request, answer

        tape = self._vcr.VCR(before_record_request=self._of_its_case, match_on=["method"])
        tape.register_persister(SimpleNamespace(load_cassette=load, save_cassette=save))
        with tape.use_cassette("walk"):
            yield

    def _of_its_case(self, request: Any) -> Any:
        case = self._case
        is_token = urlsplit(request.uri).path.startswith("/ims/")  # may be fetched on the way to another call
        if case is None or is_token != case.call.startswith("POST /ims/"):
            return None
        request.headers[CASE_HEADER] = case.name
        return request

    def write(self, walk: Walk, settings: Settings) -> None:
        """Write the recording, without the owner's data, as a private file.

        Raises:
            OutputError: The file cannot be written.
        """
        scrubber = _Scrubber(walk, settings)
        scrubbed = [
            scrubber.interaction(case, walk.expected[case.name], *self._kept[case.name])
            for case in self._asked.values()
            if case.name in self._kept
        ]
        kept = {
            "requests": [request for request, _ in scrubbed],
            "responses": [answer for _, answer in scrubbed],
        }
        serializer = import_module("vcr.serializers.jsonserializer")
        text = import_module("vcr.serialize").serialize(kept, serializer)
        if any(secret in text for secret in scrubber.secrets):
            raise OutputError(
                "The recording was not written, because it still held a secret. Please report this with the "
                "version of chatlio-kit."
            )
        try:
            write_private(self._path, text.encode())
        except OSError as error:
            raise OutputError(
                f"The recording {str(self._path)!r} cannot be written: {error.strerror or error}."
            ) from error


class _Scrubber:
    """A scrubber of the owner's data in strings: ids of the walk become words in braces, others zeros."""

    def __init__(self, walk: Walk, settings: Settings) -> None:
        own = {**walk.ids, "client": settings.client_id, "secret": settings.client_secret.reveal()}
        own |= {"organisation": settings.org_id, "organisation_": settings.org_id.partition("@")[0]}
        self.secrets = [own[name] for name in ("client", "secret", "organisation", "organisation_")]
        self.secrets += [own[name] for name in ("inlet", "tenant") if name in own]
        self._own = {value: f"{{{name.rstrip('_')}}}" for name, value in own.items()}
        longest_first = "|".join(map(re.escape, sorted(self._own, key=len, reverse=True)))
        self._pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{longest_first})(?![A-Za-z0-9])")

    def text(self, text: str) -> str:
        """Return a string without the owner's data."""
        text = self._pattern.sub(lambda found: self._own[found[0]], text)
        text = _ADDRESSES.sub("***", text)
        return _IDS.sub(lambda found: re.sub("[0-9a-zA-Z]", "0", found[0]), text)[:_LONGEST_TEXT]

    def interaction(self, case: Case, wanted: Any, request: Any, answer: Any) -> tuple[Any, dict[str, Any]]:
        """Return a request and its answer in a form that may be shared."""
        headers = {name: self.text(str(value)) for name, value in self._headers(request.headers)}
        parts = urlsplit(request.uri)
        query = "&".join(f"{name}={self.text(value)}" for name, value in parse_qsl(parts.query))
        uri = f"{HOST}{self.text(unquote(parts.path))}{'?' if query else ''}{query}"
        body = request.body
        if case.call.startswith("POST /ims/"):
            body = _FORM.encode()
        elif body:
            body = orjson.dumps(self._texts(orjson.loads(body)))
        clean = type(request)(request.method, uri, body, {**headers, CASE_HEADER: case.name})
        content = self._content(case, wanted, answer)
        kept = {
            name: [self.text(str(value)) for value in values]
            for name, values in self._headers(answer["headers"])
        }
        return clean, {"status": answer["status"], "headers": kept, "body": {"string": content}}

    @staticmethod
    def _headers(headers: Any) -> Iterator[tuple[str, Any]]:
        return ((name, value) for name, value in headers.items() if name.lower() in _KEPT_HEADERS)

    def _content(self, case: Case, wanted: Any, answer: Any) -> bytes:
        content = answer["body"]["string"]
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError:
            return f"{len(content)} bytes".encode() if content else b""
        if answer["status"]["code"] >= 400:
            return orjson.dumps(self._said(body))
        given = {place for place in case.gives.values() if place != "*"}
        return orjson.dumps(self._kept(body, wanted, "", given))

    def _said(self, node: Any, key: str = "") -> Any:
        """Return a refusal with its explanations, and the types of other values, such as request ids."""
        if isinstance(node, dict):
            return {self._key(name): self._said(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return [self._said(item, key) for item in node]
        return node if not isinstance(node, str) else self.text(node) if key in _SAYS else "text"

    def _texts(self, node: Any) -> Any:
        """Return data with every string scrubbed."""
        if isinstance(node, dict):
            return {self.text(key): self._texts(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self._texts(item) for item in node]
        return self.text(node) if isinstance(node, str) else node

    def _kept(self, node: Any, wanted: Any, place: str, given: set[str]) -> Any:
        """Return the values that a case relies on, scrubbed, and the types of all others."""
        if isinstance(wanted, tuple):
            wanted = min(wanted, key=lambda shape: len(list(misfits(node, shape))))
        if isinstance(node, dict):
            shapes = wanted if isinstance(wanted, dict) else {}
            other = wanted.shape if isinstance(wanted, Keyed) else ...
            return {
                self._key(key): self._kept(value, shapes.get(key, other), f"{place}/{key}".lstrip("/"), given)
                for key, value in node.items()
            }
        if isinstance(node, list):
            return self._items(node, wanted, place, given)
        if isinstance(node, str):
            is_named = isinstance(wanted, str | re.Pattern) and getattr(wanted, "pattern", "") != r"\S.*"
            return self.text(node) if is_named or place in given else "text" if node else ""
        if isinstance(node, bool) or node is None:
            return node
        return node if isinstance(wanted, int) and not isinstance(wanted, bool) else type(node)(0)

    def _items(self, node: list[Any], wanted: Any, place: str, given: set[str]) -> list[Any]:
        if isinstance(wanted, list) and len(wanted) == len(node):
            shapes = wanted
        elif isinstance(wanted, Some):
            node = [item for item in node if not list(misfits(item, wanted.shape))][:1] or node[:1]
            shapes = [wanted.shape] * len(node)
        else:
            node = node[:1]
            shapes = [wanted.shape if isinstance(wanted, Each) else ...] * len(node)
        pairs = enumerate(zip(node, shapes, strict=True))
        return [
            self._kept(one, shape, f"{place}/{number}".lstrip("/"), given) for number, (one, shape) in pairs
        ]

    def _key(self, key: str) -> str:
        text = self.text(key)
        return text if _MEMBER.fullmatch(text) else "key"
