"""A run that loads files in batches instead of streaming requests, with the same ledger and page."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chatlio_kit.chatlio.identities import IdentityColumn
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.counting import counted
from chatlio_kit.delivery.activation import CANARY_PATIENCE, canary_pauses
from chatlio_kit.delivery.bulk.files import BatchFiles, paths_in, remove_files
from chatlio_kit.delivery.bulk.loader import PATIENCE, Loader, external_id
from chatlio_kit.delivery.bulk.lots import Lot, Lots, LotState
from chatlio_kit.delivery.bulk.xdm import xdm_schema, xdm_table
from chatlio_kit.delivery.canary import count_lost_identities
from chatlio_kit.delivery.readback import DatasetReader
from chatlio_kit.delivery.requests.wire import WireRecord, wire_records
from chatlio_kit.delivery.run import Run
from chatlio_kit.errors import PlatformError, in_words

CANARY_ROWS = 100
"""Rows of the first batch, which is read back before the rest follows."""
_CANARY = "batch"
"""The ledger's name for the canary, which has no dataflow."""


class BulkRun(Run):
    """A run that sends to one connection by batch ingestion; the arguments are those of :class:`Run`."""

    route = "batch"
    default_patience = PATIENCE

    def _open_route(self) -> None:
        self._lots = Lots(self.destination_ledger, self._state)
        self._loader = Loader(
            self.connection,
            self.destination_ledger,
            self._lots,
            patience=self._patience,
            is_stopped=lambda: self._pace.is_stopped,
        )
        connection = self.connection
        self._schema = xdm_schema(connection.name, connection.tenant_id, connection.people)
        self._number = 0
        self._files: BatchFiles | None = None
        self._rows: list[NDArray[np.int64]] = []
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="chatlio-kit-load")
        self._loading: Future[None] | None = None
        self._loaded_bytes = self._batches = 0
        self._canary_records: list[WireRecord] = []
        for folder in self._lots.left_over():
            remove_files(folder)
        self._canary &= not self.destination_ledger.has_passed_canary(_CANARY)

    def prepare(self, kinds: Iterable[Kind]) -> None:
        """Check that the connection takes events; batches need no dataflow."""
        del kinds
        self.connection.require_events()

    def send(self, events: pd.DataFrame, messages: pd.DataFrame) -> None:
        """Add accepted events to the batch that is being written.

        Args:
            events: Accepted events, none of them settled before.
            messages: Their messages, a row for each message of each transcript.
        """
        while self._canary and len(events) and not self.is_stopped:
            wanted = CANARY_ROWS - sum(map(len, self._rows))
            self._add(events.iloc[:wanted], messages)
            events = events.iloc[wanted:]
            if sum(map(len, self._rows)) == CANARY_ROWS:
                self._close_batch()
                self._finish_canary()
        if len(events):
            self._add(events, messages)
            if self._files is not None and self._files.is_full:
                self._close_batch()

    def finish(self) -> None:
        """Load the written rows, and wait for the verdicts; the ledger stays locked."""
        if not self._is_finished:
            if self._pace.is_stopped and self._files is not None:
                self._files.discard()
                self._files = None
            try:
                self._close_batch()
                if self._canary and self._number and not self.is_stopped:
                    self._finish_canary()
                self._wait_for_loading()
            finally:
                self._executor.shutdown()
            if self._batches:
                self._page.notes.append(self._loaded_in_words())
        super().finish()

    def _add(self, events: pd.DataFrame, messages: pd.DataFrame) -> None:
        ledger = self.destination_ledger
        if self.is_stopped:  # they still count as accepted, and wait for the next run
            ledger.insert_pending(self.number, events)
            return
        if self._files is None:
            self._number += 1
            self._files = BatchFiles(self._lots.folder(self.number, self._number), self._schema)
        rows = ledger.insert_pending(self.number, events, self._number)
        columns = self._people.columns(events) if self._people else []
        if self._canary:
            self._canary_records += wire_records(events, messages[:0], columns)
        self._files.write(xdm_table(self._schema, events, messages, columns))
        self._rows.append(rows)
        if self._people:
            sizes = self._sizes(events, messages, columns)
            self._people.expect(rows, events, sizes, columns)

    def _sizes(
        self, events: pd.DataFrame, messages: pd.DataFrame, columns: Sequence[IdentityColumn]
    ) -> NDArray[np.int64]:
        """Return the bytes of each event as JSON, which Profile's limit counts; 0 without Profile."""
        people = self.connection.people
        if not people.profile:
            return np.zeros(len(events), dtype=np.int64)
        return wire_records(events, messages[:0] if people.slim else messages, columns).sizes

    def _close_batch(self) -> None:
        """Complete the files of the batch, and load it while the next one is written."""
        if self._files is None:
            return
        files, rows, self._files, self._rows = self._files, np.concatenate(self._rows), None, []
        try:
            files.close()
        except BaseException:
            files.discard()
            raise
        self._wait_for_loading()
        if self.is_stopped:
            files.discard()
            return
        lot = Lot(
            run=self.number,
            number=self._number,
            attempt=1,
            external_id=external_id(self.connection, self.number, self._number, files.folder),
            batch_id=None,
            state=str(LotState.WRITTEN),
            bytes=sum(path.stat().st_size for path in paths_in(files.folder)),
            first_row=int(rows.min()),
            last_row=int(rows.max()),
        )
        self._lots.add(lot)
        self._loading = self._executor.submit(self._load, lot, rows)

    def _load(self, lot: Lot, rows: NDArray[np.int64]) -> None:
        try:
            lot = self._loader.load(lot)
        except PlatformError as error:
            self._page.stopped_by = str(error).rstrip(".")
            return
        refused = self._lots.refused_rows(lot)
        if self._people:
            self._people.refused(refused)
            self._people.delivered(rows.tolist())
        self._page.requests += lot.attempt
        self._page.retries += lot.attempt - 1
        self._batches += 1
        self._loaded_bytes += lot.bytes
        self._progress.advance(len(rows))
        self._progress.say(batches=self._batches)

    def _wait_for_loading(self) -> None:
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.result()

    def _finish_canary(self) -> None:
        """Wait until the first batch is read back; if it is not, end the run."""
        self._canary = False
        since = self.connection.platform.now()
        self._wait_for_loading()
        if self.is_stopped:
            return
        (lot, *_) = self._lots.of_run(self.number)
        problem = ""
        if not self._was_read_back(lot):
            problem = "its rows were not read back"
        elif self.connection.people.identities and (
            lost := count_lost_identities(self.connection, self._canary_records, since)
        ):
            problem = f"{lost} of its rows were read back without the identities that they were sent with"
        if problem:
            self._pace.stop()
            self._page.stopped_by = (
                f"the first batch, {lot.batch_id}, was ingested, but {problem}, so nothing more was sent; "
                "reconcile shows its status"
            )
            return
        self.destination_ledger.mark_canary_passed(_CANARY)

    def _was_read_back(self, lot: Lot) -> bool:
        deadline = time.monotonic() + CANARY_PATIENCE
        reader = DatasetReader(self.connection, self.destination_ledger)
        pauses = canary_pauses()
        while True:
            reader.read_new()
            counts = self._lots.counts(lot)
            if counts.landed and counts.landed == counts.delivered:
                return True
            if not counts.delivered or time.monotonic() >= deadline:
                return False
            self.connection.platform.sleep(next(pauses))

    def _loaded_in_words(self) -> str:
        undo = in_words(
            f"chatlio-kit revert {self.number} --name {self.connection.name}",
            f"revert(connection, {self.number})",
        )
        return (
            f"Loaded in {counted(self._batches, 'batch', 'batches')} with {self._loaded_bytes:,} bytes of "
            f"Parquet, as run {self.number}; to revert: {undo}."
        )
