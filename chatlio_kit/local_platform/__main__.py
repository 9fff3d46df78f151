"""``python -m chatlio_kit.local_platform``: serve a store folder in the foreground."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from dataclasses import fields
from importlib.abc import MetaPathFinder
from pathlib import Path

from .faults.plan import WrongFaults
from .ims.account import SANDBOX_TYPES, Options
from .server.process import CannotServe
from .server.serve import serve


class _WithoutPandas(MetaPathFinder):
    """A finder that hides pandas. Compiled code would import a None in ``sys.modules``."""

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse pandas; leave other modules to other finders."""
        if name == "pandas":
            raise ModuleNotFoundError("The local platform does without pandas", name=name)


def main() -> int:
    """Parse the options and serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m chatlio_kit.local_platform")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--idle", type=float, help="end after this many seconds without a request")
    parser.add_argument("--withheld", action="append", default=[], metavar="PERMISSION")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="see the module faults.plan")
    parser.add_argument("--sandbox-type", choices=SANDBOX_TYPES, default=Options.sandbox_type)
    numbers = [option for option in fields(Options) if isinstance(option.default, int | float)]
    for option in numbers:
        name = f"--{option.name.replace('_', '-')}"
        parser.add_argument(name, type=type(option.default), default=option.default)
    arguments = parser.parse_args()
    # pyarrow imports pandas, if installed, to recognise its types; here, that only costs time and memory.
    sys.meta_path.insert(0, _WithoutPandas())
    options = Options(
        withheld=frozenset(arguments.withheld),
        faults=arguments.faults,
        sandbox_type=arguments.sandbox_type,
        **{option.name: getattr(arguments, option.name) for option in numbers},
    )
    try:
        serve(arguments.store, arguments.port, idle=arguments.idle, options=options, announce=_announce)
    except (CannotServe, OSError, WrongFaults) as error:
        print(error, file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        print(f"The store {str(arguments.store)!r} cannot be used: {error}", file=sys.stderr)
        return 1
    return 0


def _announce(url: str) -> None:
    print(f"The local platform listens on {url}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
