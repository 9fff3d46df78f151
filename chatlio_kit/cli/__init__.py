"""The command line: ``chatlio-kit``."""

from chatlio_kit.cli.group import main

__all__ = ["main"]
