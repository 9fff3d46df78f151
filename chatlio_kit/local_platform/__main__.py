"""``python -m chatlio_kit.local_platform``: serve a store folder in the foreground."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from pathlib import Path

from .faults.plan import WrongFaults
from .ims.account import SANDBOX_TYPES, Options
from .server.process import CannotServe
from .server.serve import serve


def main() -> int:
    """Read the options and serve until stopped."""
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m chatlio_kit.local_platform")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--idle", type=float, default=None, help="end after so many seconds without a request"
    )
    parser.add_argument("--enabling-delay", type=float, default=usual.enabling_delay)
    parser.add_argument("--processing-delay", type=float, default=usual.processing_delay)
    parser.add_argument("--consolidation-delay", type=float, default=usual.consolidation_delay)
    parser.add_argument("--token-lifetime", type=int, default=usual.token_lifetime)
    parser.add_argument("--largest-page", type=int, default=usual.largest_page)
    parser.add_argument("--withheld", action="append", default=[], metavar="PERMISSION")
    parser.add_argument("--requests-per-second", type=float, default=usual.requests_per_second)
    parser.add_argument("--messages-per-second", type=float, default=usual.messages_per_second)
    parser.add_argument("--sandbox-type", choices=SANDBOX_TYPES, default=usual.sandbox_type)
    parser.add_argument("--faults", type=Path, default=None, metavar="FILE", help="see the module faults")
    parser.add_argument("--header-seconds", type=float, default=usual.header_seconds)
    parser.add_argument("--body-seconds", type=float, default=usual.body_seconds)
    given = parser.parse_args()
    # pyarrow imports pandas where it is installed, to recognise its types: time and memory for nothing here.
    sys.modules["pandas"] = None  # type: ignore[assignment]
    options = Options(
        enabling_delay=given.enabling_delay,
        processing_delay=given.processing_delay,
        consolidation_delay=given.consolidation_delay,
        token_lifetime=given.token_lifetime,
        largest_page=given.largest_page,
        withheld=frozenset(given.withheld),
        requests_per_second=given.requests_per_second,
        messages_per_second=given.messages_per_second,
        sandbox_type=given.sandbox_type,
        faults=given.faults,
        header_seconds=given.header_seconds,
        body_seconds=given.body_seconds,
    )
    try:
        serve(given.store, given.port, idle=given.idle, options=options, announce=_announce)
    except (CannotServe, OSError, WrongFaults) as error:
        print(error, file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        print(f"The store {str(given.store)!r} cannot be used: {error}", file=sys.stderr)
        return 1
    return 0


def _announce(url: str) -> None:
    print(f"The local platform listens on {url}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
