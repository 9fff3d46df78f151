"""Accepted frames to landed rows: wire records, requests, ledger, reconciliation."""

from chatlio_kit.delivery.ledger import Ledger, Tally
from chatlio_kit.delivery.page import Page
from chatlio_kit.delivery.reconcile import ingested, read_back
from chatlio_kit.delivery.run import Run
from chatlio_kit.delivery.stream import stream

__all__ = ["Ledger", "Page", "Run", "Tally", "ingested", "read_back", "stream"]
