"""Data Access: the files of batches, and the first rows of a dataset.

Source: Data Access API guide; "Retrieve failed batches"; "Error diagnostics".
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pyarrow.parquet as pq
from aiohttp import web

from ..server import errors as problems
from ..server.service import Service, answer, route, whole_number
from ..store import BatchFilter, Json
from .files import FAILED_FILE, failed_file, good_files, plain

BASE = "/data/foundation/export"
PREVIEW_ROWS = 100
ROW_ERRORS_FILE = "conversion_errors_0.json"
_FILE_SUFFIX = "-1"


class DataAccess(Service):
    """Downloads of what the lake holds."""

    @route("GET", f"{BASE}/batches/{{id}}/files")
    async def files(self, request: web.Request) -> web.Response:
        """Return the dataset files of a batch; a failed batch has none."""
        batch_id, batch = self._batch(request)
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
        """Return the parts of a dataset file, or with ``path`` the part itself; ``Range`` is honoured."""
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
        batch_id, batch = self._batch(request)
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
    async def meta(self, request: web.Request) -> web.Response:
        """Return error diagnostics: ``path=row_errors`` lists files, ``path=row_errors/<name>`` is one."""
        batch_id, batch = self._batch(request)
        folder, _, name = request.query.get("path", "").partition("/")
        if folder != "row_errors" or name not in ("", ROW_ERRORS_FILE):
            raise problems.not_found(f"meta file {request.query.get('path')}")
        source = failed_file(self._context.store.lake, batch_id)
        failed = batch["status"] == "failed"
        content = await asyncio.to_thread(_row_errors, source) if failed else b""
        if name:
            return web.Response(body=content, content_type="application/octet-stream")
        where = f"/batches/{batch_id}/meta?path=row_errors/{ROW_ERRORS_FILE}"
        entry = {
            "name": ROW_ERRORS_FILE,
            "length": str(len(content)),
            "_links": {"self": {"href": _href(request, where)}},
        }
        return answer(_paged(request, [entry] if failed else []))

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

    def _batch(self, request: web.Request) -> tuple[str, Json]:
        batch_id = request.match_info["id"]
        found = self._context.store.batch(batch_id)
        if found is None:
            raise problems.not_found(f"batch {batch_id}")
        return batch_id, found

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


def _row_errors(path: Path) -> bytes:
    lines = []
    for line in path.read_bytes().splitlines():
        failed = orjson.loads(line)
        errors = [
            {
                "code": str(error.get("code", error.get("keyword", ""))),
                "message": str(error.get("message", "")),
            }
            for group in orjson.loads(failed["_errors"]).values()
            for error in group
        ]
        lines.append(
            orjson.dumps({"_corrupt_record": failed["body"], "_errors": errors, "_filename": FAILED_FILE})
        )
    return b"".join(line + b"\n" for line in lines)


def _first_rows(path: Path, count: int) -> list[Json]:
    file = pq.ParquetFile(path)
    try:
        rows: list[Json] = next(file.iter_batches(batch_size=count)).to_pylist()
    finally:
        file.close()
    return [plain(row) for row in rows]
