"""Realistic exports of captured Chatlio webhooks: seeded, repeatable to the byte, and broken on request.

    >>> export = write_sample("captures", events=20_000, seed=7, bad_share=0.01)  # doctest: +SKIP

The manifest beside the export names every broken record with the reason a converter has to give.
"""

from .export import SampleExport, write_sample

__all__ = ["SampleExport", "write_sample"]
