"""The same steps as commands: ``chatlio-kit``."""

from chatlio_kit.cli.journey import main

__all__ = ["main"]
