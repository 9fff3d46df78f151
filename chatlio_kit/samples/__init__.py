"""Realistic exports of captured Chatlio webhooks: seeded, reproducible to the byte, and broken on request.

>>> export = write_sample("captures", events=20_000, seed=7, bad_share=0.01)  # doctest: +SKIP

The manifest next to the export lists every broken record with the reason that a converter must report.
"""

from .export import SampleExport, write_sample

__all__ = ["SampleExport", "write_sample"]
