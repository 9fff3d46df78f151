"""Data Access: the files of batches, and the first rows of a dataset.

Source: Data Access API guide; "Retrieve failed batches"; "Error diagnostics".
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow.parquet as pq
from aiohttp import web

from ..batch_ingestion.uploads import Uploads
from ..catalog.batches import batch_of
from ..server import errors as problems
from ..server.service import Service, answer, route, whole_number
from ..store import BatchFilter, Json
from .files import FAILED_FILE, failed_file, good_files, plain

BASE = "/data/foundation/export"
PREVIEW_ROWS = 100
PARSING_ERRORS, PARSING_ERRORS_FILE = "_parsingErrors", "parsing_errors_0.json"
ROW_ERROR_FILES = ("conversion_errors_0.json", PARSING_ERRORS_FILE)
ERROR_SAMPLE_FILE, SAMPLED_ERRORS = "row_errors_sample.json", 100
INPUT_FILE = "fileMetaData1.json"
_META_FILES = {"row_errors": ROW_ERROR_FILES, "input_files": (INPUT_FILE,)}
_LINES_AT_ONCE = 1_000
_FILE_SUFFIX = "-1"


class DataAccess(Service):
    """Downloads from the lake."""

    @route("GET", f"{BASE}/batches/{{id}}/files")
    async def files(self, request: web.Request) -> web.Response:
        """Return the dataset files of a batch; a failed batch has none."""
        batch_id, batch = batch_of(self._context.store, request)
        data = []
        if batch["status"] == "success":
            file_id = f"{batch_id}{_FILE_SUFFIX}"
            data.append(
                {
                    "dataSetFileId": file_id,
                    "dataSetViewId": self._view_of(batch),
                    "version": "1.0.0",
                    "created": str(batch["created"]),
                    "updated": str(batch["updated"]),
                    "isValid": True,
                    "_links": {"self": {"href": _href(request, f"/files/{file_id}")}},
                }
            )
        return answer(_paged(request, data))

    @route("GET", f"{BASE}/files/{{id}}")
    async def file(self, request: web.Request) -> web.StreamResponse:
        """Return the parts of a dataset file, or with ``path`` one part; ``Range`` is honoured."""
        file_id = request.match_info["id"]
        batch_id = file_id.removesuffix(_FILE_SUFFIX)
        batch = self._context.store.batch(batch_id)
        is_there = file_id.endswith(_FILE_SUFFIX) and batch is not None and batch["status"] == "success"
        paths = list(good_files(self._context.store.lake, batch_id)) if is_there else []
        if not paths:
            raise problems.not_found(f"file {file_id}")
        parts = {f"part-{number:05}.parquet": path for number, path in enumerate(paths)}
        name = request.query.get("path")
        if name is None:
            entries = [_entry(request, f"/files/{file_id}", part, path) for part, path in parts.items()]
            return answer(_paged(request, entries))
        if name not in parts:
            raise problems.not_found(f"file {name}")
        return _download(parts[name], "application/vnd.apache.parquet")

    @route("GET", f"{BASE}/batches/{{id}}/failed")
    async def failed(self, request: web.Request) -> web.StreamResponse:
        """Return the list of a failed batch's files, or with ``path`` one of them."""
        batch_id, batch = batch_of(self._context.store, request)
        if batch["status"] != "failed":
            raise problems.not_found(f"failed file of the batch {batch_id}")
        path = failed_file(self._context.store.lake, batch_id)
        if not path.exists():
            raise problems.not_found(f"failed file of the batch {batch_id}")
        name = request.query.get("path")
        if name is None:
            where = f"/batches/{batch_id}/failed"
            entries = [_entry(request, where, "_SUCCESS", None), _entry(request, where, FAILED_FILE, path)]
            return answer(_paged(request, entries))
        if name == "_SUCCESS":
            return web.Response(body=b"", content_type="application/octet-stream")
        if name != FAILED_FILE:
            raise problems.not_found(f"file {name}")
        return _download(path, "application/octet-stream")

    @route("GET", f"{BASE}/batches/{{id}}/meta")
    async def meta(self, request: web.Request) -> web.StreamResponse:
        """Return a batch's metadata: error diagnostics by row, and the paths of its input files.

        The ``path`` ``row_errors`` or ``input_files`` lists files; with a file's name, it returns that file.
        """
        batch_id, _ = batch_of(self._context.store, request)
        path = request.query.get("path", "")
        folder, _, name = path.partition("/")
        if path == ERROR_SAMPLE_FILE:
            every = (lines for known in ROW_ERROR_FILES for lines in self._meta_lines(batch_id, known))
            return await _streamed(request, itertools.islice(every, SAMPLED_ERRORS))
        files = _META_FILES.get(folder, ())
        if name and name in files:
            return await _streamed(request, self._meta_lines(batch_id, name))
        if name or not files:
            raise problems.not_found(f"meta file {path}")
        sizes = {file: await asyncio.to_thread(_size, self._meta_lines(batch_id, file)) for file in files}
        where = f"/batches/{batch_id}/meta?path={folder}/"
        entries = [
            {
                "name": file,
                "length": str(size),
                "_links": {"self": {"href": _href(request, f"{where}{file}")}},
            }
            for file, size in sizes.items()
            if size
        ]
        return answer(_paged(request, entries))

    def _meta_lines(self, batch_id: str, name: str) -> Iterator[bytes]:
        store = self._context.store
        if name == INPUT_FILE:
            paths = [{"path": file["path"]} for file in Uploads(store, batch_id).all()]
            return (orjson.dumps(path) + b"\n" for path in paths)
        return _row_errors(failed_file(store.lake, batch_id), name)

    @route("GET", f"{BASE}/datasets/{{id}}/preview")
    async def preview(self, request: web.Request) -> web.Response:
        """Return the first rows of a dataset."""
        dataset_id = request.match_info["id"]
        store = self._context.store
        if store.get("dataset", dataset_id) is None:
            raise problems.not_found(f"dataset {dataset_id}")
        rows: list[Json] = []
        chosen = BatchFilter(dataset_id=dataset_id, status="success", ascending=True)
        for batch_id in store.batches(chosen, PREVIEW_ROWS, 0):
            for path in good_files(store.lake, batch_id):
                if len(rows) < PREVIEW_ROWS:
                    rows += await asyncio.to_thread(_first_rows, path, PREVIEW_ROWS - len(rows))
        return answer({"data": rows})

    def _view_of(self, batch: Json) -> str:
        dataset = self._context.store.get("dataset", batch["relatedObjects"][0]["id"])
        return str(dataset["viewId"]) if dataset else ""


def _href(request: web.Request, path: str) -> str:
    return f"{request.scheme}://{request.host}{BASE}{path}"


def _entry(request: web.Request, where: str, name: str, path: Path | None) -> Json:
    length = path.stat().st_size if path else 0
    return {
        "name": name,
        "length": str(length),
        "_links": {"self": {"href": _href(request, f"{where}?path={name}")}},
    }


def _paged(request: web.Request, entries: list[Json]) -> Json:
    limit = whole_number(request.query.get("limit", "100"))
    start = whole_number(request.query.get("start", "0"))
    if limit is None or not 1 <= limit <= 100 or start is None:
        raise problems.bad_request("limit must be 1 to 100 and start a number")
    page = entries[start : start + limit]
    return {"data": page, "_page": {"limit": limit, "count": len(page)}}


def _download(path: Path, content_type: str) -> web.FileResponse:
    return web.FileResponse(path, headers={"Content-Type": content_type})


async def _streamed(request: web.Request, lines: Iterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    await response.prepare(request)
    while some := await asyncio.to_thread(lambda: b"".join(itertools.islice(lines, _LINES_AT_ONCE))):
        await response.write(some)
    await response.write_eof()
    return response


def _size(lines: Iterator[bytes]) -> int:
    return sum(map(len, lines))


def _row_errors(path: Path, name: str) -> Iterator[bytes]:
    """Yield the lines of a diagnostics file; unparsed rows have a file of their own."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            failed = orjson.loads(line)
            groups = orjson.loads(failed["_errors"])
            if (PARSING_ERRORS in groups) != (name == PARSING_ERRORS_FILE):
                continue
            errors = [
                {
                    "code": str(error.get("code", error.get("keyword", ""))),
                    "message": str(error.get("message", "")),
                }
                for group in groups.values()
                for error in group
            ]
            row = {"_corrupt_record": failed["body"], "_errors": errors, "_filename": name}
            yield orjson.dumps(row) + b"\n"


def _first_rows(path: Path, count: int) -> list[Json]:
    file = pq.ParquetFile(path)
    try:
        rows: list[Json] = next(file.iter_batches(batch_size=count)).to_pylist()
    finally:
        file.close()
    return [plain(row) for row in rows]
