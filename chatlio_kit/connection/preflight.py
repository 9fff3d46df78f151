"""Before the first write: what can be told by reading, in order, each line with the next step.

What only a write would show is a warning, never a pass. A check that failed skips what depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chatlio_kit.aep import Platform
from chatlio_kit.aep.access_control import DEVELOPMENT
from chatlio_kit.arguments import checked
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.mapping_check import check_mappings
from chatlio_kit.connection.objects.blueprint import SOURCE_SPEC
from chatlio_kit.connection.objects.names import Names, Role
from chatlio_kit.connection.objects.shared import Action, shared_objects
from chatlio_kit.connection.objects.survey import a_platform, open_survey
from chatlio_kit.connection.permissions import Holding, read_permissions
from chatlio_kit.connection.plan import plan_connection
from chatlio_kit.connection.production import sandbox_type
from chatlio_kit.display import Progress, Sheet
from chatlio_kit.errors import (
    ChatlioKitError,
    ConnectionIncomplete,
    NotFound,
    PermissionMissing,
    PlatformError,
    option,
)

WORRYING_SKEW = 10.0
WRONG_SKEW = 120.0

_ORG = re.compile(r"[0-9A-F]{24}@AdobeOrg")
_CODES_OF_ORG = ("400003", "403025", "403027", "FLOW-2000-401", "FLOW-2001-401", "FLOW-2002-401")
_NO_NEXT_STEP = ""


class Verdict(StrEnum):
    """How a check came out."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One line of a preflight.

    Attributes:
        name: what was looked at.
        verdict: how it came out.
        finding: what was found.
        next_step: what to do about it; empty when there is nothing to do.
    """

    name: str
    verdict: Verdict
    finding: str
    next_step: str = _NO_NEXT_STEP


@dataclass(frozen=True, repr=False)
class Preflight:
    """What a preflight found.

    Attributes:
        name: the connection's name.
        place: platform and sandbox.
        checks: one for each line, in order.
    """

    name: str
    place: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst that was found: fail, warn or pass."""
        found = {check.verdict for check in self.checks}
        return next((each for each in (Verdict.FAIL, Verdict.WARN) if each in found), Verdict.PASS)

    @property
    def exit_code(self) -> int:
        """1 when a check failed, else 0."""
        return int(self.verdict is Verdict.FAIL)

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain data for JSON."""
        return {
            "name": self.name,
            "place": self.place,
            "verdict": self.verdict.value,
            "checks": [
                {
                    "check": check.name,
                    "verdict": check.verdict.value,
                    "finding": check.finding,
                    "next_step": check.next_step,
                }
                for check in self.checks
            ],
        }

    def sheet(self) -> Sheet:
        """Lay the checks out as a table, and below it what to do."""
        steps = [
            f"{check.name}: {check.next_step}"
            for check in self.checks
            if check.next_step and check.verdict in (Verdict.FAIL, Verdict.WARN)
        ]
        ending = {
            Verdict.PASS: "Everything is as it should be: connect when you like.",
            Verdict.WARN: "Nothing stands in the way; what is warned of shows only when it is tried.",
            Verdict.FAIL: "Put right what failed, then ask the doctor again.",
        }[self.verdict]
        return Sheet(
            f"Preflight of the connection {self.name} on {self.place}",
            ("check", "verdict", "finding"),
            [(check.name, check.verdict.value, check.finding) for check in self.checks],
            (*steps, ending),
        )

    def __repr__(self) -> str:
        return str(self.sheet())

    def _repr_html_(self) -> str:
        return self.sheet()._repr_html_()


@checked(platform=a_platform)
def check_platform(platform: Platform, name: str = "chatlio", *, quiet: bool = False) -> Preflight:
    """Check, without changing anything, whether a connection can be made here and would work.

    Args:
        platform: the platform.
        name: the connection's name.
        quiet: whether to show no progress.

    Raises:
        UsageError: the name cannot be a connection's name.
    """
    Names(name)
    settings = platform.settings
    place = f"{settings.platform_name}, sandbox {settings.sandbox}"
    found = []
    with Progress("checking", None, "checks", quiet=quiet) as progress:
        for check in _Examination(platform, name).checks():
            found.append(check)
            progress.advance(1)
    return Preflight(name, place, tuple(found))


def unopened(error: ChatlioKitError, name: str = "chatlio") -> Preflight:
    """Give the preflight of a platform that could not be opened: settings fail, the rest is skipped."""
    first = Check("settings", Verdict.FAIL, *_said(error))
    rest = (_skip(each, "settings") for each in _ORDER if each != "settings")
    return Preflight(name, "a platform that could not be opened", (first, *rest))


_NEEDS: dict[str, tuple[str, ...]] = {
    "settings": (),
    "token": ("settings",),
    "org": ("token",),
    "sandbox": ("org",),
    "rights": ("sandbox",),
    "tenant": ("sandbox",),
    "Chatlio source": ("sandbox",),
    "names": ("tenant",),
    "clock": ("token",),
    "live mappings": ("names",),
    "history mappings": ("names",),
}
_ORDER = tuple(_NEEDS)


class _Examination:
    """The checks of one platform, each asked in its turn."""

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform = platform
        self._name = name
        self._has_asked = False
        self._refusal: PlatformError | None = None
        self._steps: dict[str, Callable[[str], Iterator[Check]]] = {
            "settings": self._settings,
            "token": self._token,
            "org": self._org,
            "sandbox": self._sandbox,
            "rights": self._rights,
            "tenant": self._tenant,
            "Chatlio source": self._source,
            "names": self._names,
            "clock": self._clock,
            "live mappings": self._live,
            "history mappings": self._history,
        }

    def checks(self) -> Iterator[Check]:
        """Ask everything in order; what depends on a failed check is skipped."""
        stopped: dict[str, str] = {}
        for name, needs in _NEEDS.items():
            cause = next((stopped[each] for each in needs if each in stopped), None)
            if cause is not None:
                stopped[name] = cause
                yield _skip(name, cause)
                continue
            for check in self._asked(name):
                if check.verdict is Verdict.FAIL and name != "rights":
                    stopped[name] = name
                yield check

    def _asked(self, name: str) -> Iterator[Check]:
        try:
            yield from self._steps[name](name)
        except (PlatformError, ConnectionIncomplete) as error:
            yield Check(name, Verdict.FAIL, *_said(error))

    def _refusal_of_source(self) -> PlatformError | None:
        """Ask, once, for the Chatlio source, which every organisation is told of; give the refusal if any."""
        if not self._has_asked:
            self._has_asked = True
            try:
                self._platform.flows.connection_spec(SOURCE_SPEC)
            except PlatformError as error:
                self._refusal = error
        return self._refusal

    def _settings(self, name: str) -> Iterator[Check]:
        settings = self._platform.settings
        given = {
            "AEP_CLIENT_ID": settings.client_id,
            "AEP_CLIENT_SECRET": settings.client_secret,
            "AEP_ORG_ID": settings.org_id,
            "AEP_SANDBOX": settings.sandbox,
        }
        missing = [variable for variable, value in given.items() if not value]
        if missing:
            advice = "Put them in the environment or in a .env file."
            yield Check(name, Verdict.FAIL, f"not set: {', '.join(missing)}", advice)
        elif not _ORG.fullmatch(settings.org_id):
            advice = "Copy it from your project in the Adobe Developer Console."
            finding = "AEP_ORG_ID is not of the form <24 hexadecimal digits>@AdobeOrg"
            yield Check(name, Verdict.WARN, finding, advice)
        elif settings.sandbox != settings.sandbox.lower():
            advice = "AEP_SANDBOX takes the sandbox's name, not its title."
            yield Check(name, Verdict.WARN, "names of sandboxes are lower case", advice)
        else:
            yield Check(name, Verdict.PASS, "all are set")

    def _token(self, name: str) -> Iterator[Check]:
        self._platform.sign_in()
        yield Check(name, Verdict.PASS, "the identity service gave one")

    def _org(self, name: str) -> Iterator[Check]:
        """The gateway judges the organisation: what Flow Service itself refuses has passed it."""
        error = self._refusal_of_source()
        if error and (not _is_of_flow_service(error) or error.code in _CODES_OF_ORG):
            raise error
        yield Check(name, Verdict.PASS, self._platform.settings.org_id)

    def _sandbox(self, name: str) -> Iterator[Check]:
        """Ask Flow Service, whose error for an unknown sandbox is documented; else the Schema Registry."""
        sandbox = self._platform.settings.sandbox
        error = self._refusal_of_source()
        if isinstance(error, PermissionMissing):
            try:
                self._platform.schemas.tenant_id()
            except PermissionMissing:
                finding = f"whether {sandbox} is there cannot be seen without View Sources or View Schemas"
                advice = "Check AEP_SANDBOX, and that the credential's role includes it."
                yield Check(name, Verdict.WARN, finding, advice)
                return
        elif error and not isinstance(error, NotFound):
            raise error
        yield self._typed(name, sandbox)

    def _typed(self, name: str, sandbox: str) -> Check:
        """Return the check of a sandbox that is there: a production one is written to on demand only."""
        kind, reason = sandbox_type(self._platform)
        if kind == DEVELOPMENT:
            return Check(name, Verdict.PASS, f"{sandbox}, a development sandbox")
        advice = f"Try things in a development sandbox; {option('production', 'True')} writes to this one."
        finding = f"{sandbox}, a production sandbox"
        if kind is None:
            finding = f"{sandbox}, of an unknown type, which counts as production: {reason}"
        return Check(name, Verdict.WARN, finding, advice)

    def _rights(self, _name: str) -> Iterator[Check]:
        for right in read_permissions(self._platform.access):
            yield Check(f"right: {right.name}", _VERDICTS[right.held], right.finding, right.next_step)
        yield Check(
            "right: mapping sets",
            Verdict.WARN,
            "no permission stands for them; whether every field may be mapped shows when one is made",
            "If that is refused, let the credential's role see every field of the schema.",
        )

    def _tenant(self, name: str) -> Iterator[Check]:
        tenant = self._platform.schemas.tenant_id()
        yield Check(name, Verdict.PASS, f"{tenant}; fields live under _{tenant}.chatlio")

    def _source(self, name: str) -> Iterator[Check]:
        error = self._refusal_of_source()
        if isinstance(error, PermissionMissing):
            advice = "Look for Chatlio in the sources catalogue, under Marketing automation."
            yield Check(name, Verdict.WARN, "cannot be seen without View Sources", advice)
        elif error:
            advice = "The Chatlio source is not offered in every organisation: ask Adobe to enable it."
            yield Check(name, Verdict.FAIL, "it is not in the sources catalogue", advice)
        else:
            yield Check(name, Verdict.PASS, "it is in the sources catalogue")

    def _names(self, name: str) -> Iterator[Check]:
        plan = plan_connection(self._platform, self._name, quiet=True)
        for each in plan.conflicts:
            advice = "Choose another name for the connection, or remove what stands in the way."
            yield Check(name, Verdict.FAIL, f"the {each.object} {each.name!r}: {each.reason}", advice)
        if not plan.conflicts:
            there = sum(each.id is not None for each in plan.objects)
            found = f"{there} of {len(plan.objects)} objects are there and ours" if there else "all are free"
            yield Check(name, Verdict.PASS, found)

    def _clock(self, name: str) -> Iterator[Check]:
        skew = self._platform.clock_skew
        advice = "Set this machine's clock: future times are rejected, and waiting times are counted by it."
        if skew is None:
            advice = "Compare this machine's clock with another one."
            yield Check(name, Verdict.WARN, "the platform told no time", advice)
        elif abs(skew) >= WORRYING_SKEW:
            verdict = Verdict.FAIL if abs(skew) >= WRONG_SKEW else Verdict.WARN
            way = "behind" if skew > 0 else "ahead of"
            yield Check(name, verdict, f"{abs(skew):,.0f} seconds {way} the platform's", advice)
        else:
            yield Check(name, Verdict.PASS, f"within {WORRYING_SKEW:.0f} seconds of the platform's")

    def _live(self, name: str) -> Iterator[Check]:
        return self._mappings(name, Role.LIVE)

    def _history(self, name: str) -> Iterator[Check]:
        return self._mappings(name, Role.HISTORY)

    def _mappings(self, name: str, role: Role) -> Iterator[Check]:
        site = open_survey(self._platform, self._name)
        group, schema, _ = (piece.look() for piece in shared_objects(site))
        if site.schema_id is None or {group.action, schema.action} != {Action.REUSE}:
            how = "there is no schema yet" if site.schema_id is None else "the schema is to be extended first"
            words = f"{how}; connect tries every mapping before it builds on it"
            yield Check(name, Verdict.SKIPPED, words)
            return
        for kind in Kind:
            check_mappings(self._platform, site.design, role, kind, site.schema_id)
        yield Check(name, Verdict.PASS, f"samples of all {len(Kind)} kinds came out as Python expects")


_VERDICTS = {Holding.YES: Verdict.PASS, Holding.UNSEEN: Verdict.WARN, Holding.NO: Verdict.FAIL}


def _is_of_flow_service(error: PlatformError) -> bool:
    """Whether Flow Service refused, and not the gateway, a proxy, or nobody."""
    return (error.code or "").startswith("FLOW-") and error.status is not None and error.status < 500


def _skip(name: str, cause: str) -> Check:
    return Check(name, Verdict.SKIPPED, f"needs {cause}, which failed")


def _said(error: ChatlioKitError) -> tuple[str, str]:
    """Split an error into what was found and what to do next."""
    if isinstance(error, PlatformError):
        found = str(error)
        advice = error.advice
        return found.removesuffix(advice).rstrip(), advice
    found, _, advice = str(error).rpartition(". ")
    return found.rstrip("."), advice
