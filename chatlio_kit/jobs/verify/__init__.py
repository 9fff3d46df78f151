"""Check the client's assumptions in a development sandbox, and record its answers."""

from chatlio_kit.jobs.verify.cases import CASES, Case
from chatlio_kit.jobs.verify.outcome import Difference, Walk
from chatlio_kit.jobs.verify.walk import listed_calls, verify_sandbox

__all__ = ["CASES", "Case", "Difference", "Walk", "listed_calls", "verify_sandbox"]
