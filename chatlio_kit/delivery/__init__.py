"""Deliver accepted events: wire records, requests, ledger, reconciliation."""

from chatlio_kit.delivery.bulk.revert import Reversion, revert
from chatlio_kit.delivery.forecast import Forecast
from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.delivery.ledger.ledger import Ledger
from chatlio_kit.delivery.ledger.models import FateCounts
from chatlio_kit.delivery.page import Page
from chatlio_kit.delivery.reconcile import Reconciliation, reconcile
from chatlio_kit.delivery.replay import replay
from chatlio_kit.delivery.run import Run, pace_for
from chatlio_kit.delivery.stream import stream

__all__ = [
    "DestinationLedger",
    "FateCounts",
    "Forecast",
    "Ledger",
    "Page",
    "Reconciliation",
    "Reversion",
    "Run",
    "pace_for",
    "reconcile",
    "replay",
    "revert",
    "stream",
]
