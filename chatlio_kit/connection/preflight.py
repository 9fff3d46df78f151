"""Check, by reading only, whether a connection can be created and would work.

Problems that only a write would reveal are warnings, never passes. A failed check skips the checks that
depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chatlio_kit.aep import Platform
from chatlio_kit.aep.access_control import DEVELOPMENT, AccessControl
from chatlio_kit.arguments import checked
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.mapping_check import try_people
from chatlio_kit.connection.plan import plan_connection
from chatlio_kit.connection.production import sandbox_type
from chatlio_kit.connection.resources.blueprint import SOURCE_SPEC
from chatlio_kit.connection.resources.names import TURNS, ResourceNames, Role
from chatlio_kit.connection.resources.resource import Action
from chatlio_kit.connection.resources.shared import AdobeGroupResource, shared_resources
from chatlio_kit.connection.resources.survey import a_platform, open_survey
from chatlio_kit.display import Progress, Sheet, SheetDisplay
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
_AREAS = {
    "schemas": ("Schemas", "create the field group and the schema", "read them"),
    "datasets": ("Datasets", "create the dataset", "read the dataset and its rows"),
    "sources": ("Sources", "create connections and dataflows", "read dataflows and their runs"),
}
"""By area of permissions: its title in Adobe's screen, and the use of both permissions."""
_PEOPLE_RIGHTS = {
    ("manage", "identity-namespaces"): ("create your own namespace", "identity"),
    ("view", "identity-namespaces"): ("look for a namespace", "identity"),
    ("manage", "identity-metadata"): ("describe the fields that are identities", "identity"),
    ("manage", "profiles"): ("enable a dataset for Profile", "profile"),
}
"""By permission: its use, and the only option that needs it."""
_IDENTITY_QUOTA = "ConsumerDeleteIdentitiesQuota"


class Verdict(StrEnum):
    """The result of a check."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One line of a preflight.

    Attributes:
        name: Name of the check.
        verdict: The result.
        finding: Result in words.
        next_step: Advice; empty if there is nothing to do.
    """

    name: str
    verdict: Verdict
    finding: str
    next_step: str = ""


@dataclass(frozen=True, repr=False)
class Preflight(SheetDisplay):
    """The results of a preflight.

    Attributes:
        name: The connection's name.
        place: Platform and sandbox.
        checks: The checks, in order.
    """

    name: str
    place: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst result, which is fail, warn or pass."""
        verdicts = {check.verdict for check in self.checks}
        return next((worst for worst in (Verdict.FAIL, Verdict.WARN) if worst in verdicts), Verdict.PASS)

    @property
    def exit_code(self) -> int:
        """1 if a check failed, otherwise 0."""
        return int(self.verdict is Verdict.FAIL)

    def as_dict(self) -> dict[str, Any]:
        """Return the preflight as plain data for JSON."""
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
        """Return the checks as a table, with the next steps below it."""
        steps = [
            f"{check.name.removeprefix('right: ')}: {check.next_step}"
            for check in self.checks
            if check.next_step and check.verdict in (Verdict.FAIL, Verdict.WARN)
        ]
        ending = {
            Verdict.PASS: "All checks passed: you can connect.",
            Verdict.WARN: "No check failed: you can connect. That shows whether the warnings matter.",
            Verdict.FAIL: "Correct what failed, then run the doctor again.",
        }[self.verdict]
        return Sheet(
            f"Preflight of the connection {self.name} on {self.place}",
            ("check", "verdict", "finding"),
            [(check.name, check.verdict.value, check.finding) for check in self.checks],
            (*steps, ending),
        )


@checked(platform=a_platform)
def check_platform(platform: Platform, name: str = "chatlio", *, quiet: bool = False) -> Preflight:
    """Check, without changing anything, whether a connection can be created here and would work.

    Args:
        platform: The platform.
        name: The connection's name.
        quiet: If true, hide progress.

    Raises:
        UsageError: The name cannot be a connection's name.
    """
    ResourceNames(name)
    settings = platform.settings
    place = f"{settings.platform_name}, sandbox {settings.sandbox}"
    checks = []
    with Progress("checking", None, "checks", quiet=quiet) as progress:
        for check in _Checks(platform, name).run():
            checks.append(check)
            progress.advance(1)
    return Preflight(name, place, tuple(checks))


def unopened(error: ChatlioKitError, name: str = "chatlio") -> Preflight:
    """Return the preflight of a platform that could not be opened: settings fail, the rest is skipped."""
    first, *rest = _CHECKS
    skipped = (_skip(check, first) for check in rest)
    failed = Check(first, Verdict.FAIL, *_finding_and_advice(error))
    return Preflight(name, "a platform that could not be opened", (failed, *skipped))


class _Checks:
    """The checks of one platform."""

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform = platform
        self._name = name
        self._has_asked = False
        self._refusal: PlatformError | None = None

    def run(self) -> Iterator[Check]:
        """Run all checks in order; skip those that depend on a failed one."""
        failed: dict[str, str] = {}  # the check that failed first, by each check that depends on it
        for name, (needed, check) in _CHECKS.items():
            if needed in failed:
                failed[name] = failed[needed]
                yield _skip(name, failed[needed])
                continue
            for result in self._results(name, check):
                if result.verdict is Verdict.FAIL and name != "rights":
                    failed[name] = name
                yield result

    def _results(self, name: str, check: _CheckMethod) -> Iterator[Check]:
        try:
            yield from check(self, name)
        except (PlatformError, ConnectionIncomplete) as error:
            yield Check(name, Verdict.FAIL, *_finding_and_advice(error))

    def _refusal_of_source(self) -> PlatformError | None:
        """Request the Chatlio source once and return the refusal, if any."""
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
        yield Check(name, Verdict.PASS, "issued by the identity service")

    def _org(self, name: str) -> Iterator[Check]:
        """Check the organisation through the gateway: a refusal by Flow Service itself has passed it."""
        error = self._refusal_of_source()
        if error and (not _is_of_flow_service(error) or error.code in _CODES_OF_ORG):
            raise error
        yield Check(name, Verdict.PASS, self._platform.settings.org_id)

    def _sandbox(self, name: str) -> Iterator[Check]:
        """Ask Flow Service, whose error for an unknown sandbox is documented, or else the Schema Registry."""
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
        yield self._sandbox_type(name, sandbox)

    def _sandbox_type(self, name: str, sandbox: str) -> Check:
        """Return the check of an existing sandbox: a production one needs an explicit option."""
        kind, reason = sandbox_type(self._platform)
        if kind == DEVELOPMENT:
            return Check(name, Verdict.PASS, f"{sandbox}, a development sandbox")
        advice = f"Use a development sandbox for tests; {option('production', 'True')} writes to this one."
        finding = f"{sandbox}, a production sandbox"
        if kind is None:
            finding = f"{sandbox}, of an unknown type, which counts as production: {reason}"
        return Check(name, Verdict.WARN, finding, advice)

    def _rights(self, _name: str) -> Iterator[Check]:
        yield from _permission_checks(self._platform.access)
        yield Check(
            "right: mapping sets",
            Verdict.WARN,
            "no permission covers them; only creating a mapping set shows whether every field can be mapped",
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
        for item in plan.conflicts:
            advice = "Choose another name for the connection, or remove what is in the way."
            yield Check(name, Verdict.FAIL, f"the {item.object} {item.name!r}: {item.reason}", advice)
        if not plan.conflicts:
            ours = sum(item.id is not None for item in plan.objects)
            finding = f"{ours} of {len(plan.objects)} objects are there and ours" if ours else "all are free"
            yield Check(name, Verdict.PASS, finding)

    def _record_delete(self, name: str) -> Iterator[Check]:
        """Read the quota of record deletes; only an order shows whether one is accepted.

        A service without the permission or the entitlement responds 403, or 401 for a valid token.
        """
        advice = (
            "Only forget needs it, to delete a person's rows: ask Adobe whether your licence includes data "
            "hygiene, and give the credential's role its permission in Adobe's Permissions screen."
        )
        try:
            quotas = self._platform.work_orders.quotas()
        except PlatformError as error:
            yield Check(name, Verdict.WARN, f"its quota cannot be read: {error.reason.rstrip('.')}", advice)
            return
        own = {
            key.removesuffix(_IDENTITY_QUOTA): quota
            for key, quota in quotas.items()
            if key.endswith(_IDENTITY_QUOTA)
        }
        used_up = any(consumed >= most for consumed, most in own.values())
        finding = ", ".join(
            f"{key} {consumed:,} of {most:,} identities" for key, (consumed, most) in own.items()
        )
        if not own or used_up:
            yield Check(name, Verdict.WARN, finding or "its quotas name no identities to delete", advice)
        else:
            yield Check(name, Verdict.PASS, finding)

    def _turns(self, name: str) -> Iterator[Check]:
        """Check the field groups that only turns need; everything else works without them."""
        survey = open_survey(self._platform, f"{self._name}/{TURNS}")
        groups = [AdobeGroupResource(survey, group_id) for group_id in survey.design.adobe_groups]
        try:
            states = [(group, group.inspect()) for group in groups]
        except PlatformError as error:
            yield Check(name, Verdict.WARN, f"cannot be seen: {error.reason}", "Only turns need them.")
            return
        missing = [(group, state) for group, state in states if state.action is Action.CONFLICT]
        for group, state in missing:
            finding, _, advice = state.reason.partition("; ")
            yield Check(name, Verdict.WARN, f"{group.name}: {finding}", f"Only turns need it: {advice}.")
        if not missing:
            listed = " and ".join(group.name for group in groups)
            yield Check(name, Verdict.PASS, f"{listed} are enabled")

    def _clock(self, name: str) -> Iterator[Check]:
        skew = self._platform.clock_skew
        advice = "Set this machine's clock: future times are rejected, and waiting times are counted by it."
        if skew is None:
            advice = "Compare this machine's clock with another one."
            yield Check(name, Verdict.WARN, "the platform returned no time", advice)
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
        survey = open_survey(self._platform, self._name)
        actions = [resource.inspect().action for resource in shared_resources(survey)]
        if survey.schema_id is None or set(actions[:2]) != {Action.REUSE}:  # field group and schema
            no_schema = survey.schema_id is None
            reason = "there is no schema yet" if no_schema else "the schema is to be extended first"
            yield Check(
                name, Verdict.SKIPPED, f"{reason}; connect tries every mapping before it builds on it"
            )
            return
        for kind in Kind:
            try_people(self._platform, survey.design, role, kind, survey.schema_id)
        yield Check(name, Verdict.PASS, f"samples of all {len(Kind)} kinds came out as Python expects")


_CheckMethod = Callable[[_Checks, str], Iterator[Check]]
_CHECKS: dict[str, tuple[str, _CheckMethod]] = {
    "settings": ("", _Checks._settings),
    "token": ("settings", _Checks._token),
    "org": ("token", _Checks._org),
    "sandbox": ("org", _Checks._sandbox),
    "rights": ("sandbox", _Checks._rights),
    "tenant": ("sandbox", _Checks._tenant),
    "Chatlio source": ("sandbox", _Checks._source),
    "names": ("tenant", _Checks._names),
    "turns": ("tenant", _Checks._turns),
    "record delete quota": ("sandbox", _Checks._record_delete),
    "clock": ("token", _Checks._clock),
    "live mappings": ("names", _Checks._live),
    "history mappings": ("names", _Checks._history),
}
"""The checks in order: the check that each depends on, and its method."""


def _is_of_flow_service(error: PlatformError) -> bool:
    """Return whether the error comes from Flow Service, not from the gateway or a proxy."""
    return (error.code or "").startswith("FLOW-") and error.status is not None and error.status < 500


def _skip(name: str, cause: str) -> Check:
    return Check(name, Verdict.SKIPPED, f"needs {cause}, which failed")


def _finding_and_advice(error: ChatlioKitError) -> tuple[str, str]:
    """Split an error's message into the finding and the next step."""
    if isinstance(error, PlatformError):
        return str(error).removesuffix(error.advice).rstrip(), error.advice
    finding, _, advice = str(error).rpartition(". ")
    return finding.rstrip("."), advice


def _permission_checks(access: AccessControl) -> Iterator[Check]:
    """Yield a check for each permission that a connection needs, named as in Adobe's Permissions screen.

    Access Control leaves out permissions that are not held, and also names that the organisation does not
    know; the list of known names distinguishes the two (Access control API guide, effective policies).
    """
    known = _known_names(access)
    for area, (title, manage_purpose, view_purpose) in _AREAS.items():
        spellings = {
            verb: [f"{verb}-{area}", *sorted(name for name in known if _is_spelling(name, verb, area))]
            for verb in ("manage", "view")
        }
        paths = dict.fromkeys(f"/permissions/{name}" for names in spellings.values() for name in names)
        try:
            held = {path.rpartition("/")[2] for path in access.effective_policies(list(paths))}
        except PlatformError as error:
            held, known = set(), frozenset()
            unseen = f"cannot be seen: {error.reason}"
        else:
            unseen = "cannot be seen: the organisation lists no such permission"
        manages = not held.isdisjoint(spellings["manage"])
        for verb, purpose in (("manage", manage_purpose), ("view", view_purpose)):
            permission = f"{verb.capitalize()} {title}"
            name = f"right: {permission}"
            advice = f"Give the credential's role {permission} in Adobe's Permissions screen."
            if not held.isdisjoint(spellings[verb]):
                yield Check(name, Verdict.PASS, f"granted: can {purpose}")
            elif known.isdisjoint(spellings[verb]):
                look = f"Check there whether the role has it: {purpose}."
                yield Check(name, Verdict.WARN, unseen, look)
            elif verb == "view" and manages:
                finding = f"not held; Manage {title}, which is, may be enough"
                yield Check(name, Verdict.WARN, finding, advice)
            else:
                yield Check(name, Verdict.FAIL, f"not held: cannot {purpose}", advice)
    yield from _rights_for_people(access, known)


def _rights_for_people(access: AccessControl, known: frozenset[str]) -> Iterator[Check]:
    """Yield a check for each permission that only identities and Profile need; none of these checks fails."""
    try:
        paths = [f"/permissions/{verb}-{area}" for verb, area in _PEOPLE_RIGHTS]
        held, unseen = set(access.effective_policies(paths)), "the organisation lists no such permission"
    except PlatformError as error:
        held, known, unseen = set(), frozenset(), error.reason
    for (verb, area), (purpose, flag) in _PEOPLE_RIGHTS.items():
        permission = f"{verb} {area.replace('-', ' ')}".title()
        finding = f"not held: cannot {purpose}" if f"{verb}-{area}" in known else f"cannot be seen: {unseen}"
        advice = f"Only {option(flag)} needs it: give the credential's role {permission}."
        if f"/permissions/{verb}-{area}" in held:
            yield Check(f"right: {permission}", Verdict.PASS, f"granted: can {purpose}")
        else:
            yield Check(f"right: {permission}", Verdict.WARN, finding, advice)


def _known_names(access: AccessControl) -> frozenset[str]:
    try:
        return access.known_names()
    except PlatformError:  # permissions that are not held then count as unseen
        return frozenset()


def _is_spelling(name: str, verb: str, area: str) -> bool:
    """Return whether a known name is a variant of a permission, such as ``manage-streaming-sources``."""
    return bool(re.fullmatch(rf"{verb}-[a-z-]*{area.removesuffix('s')}s?", name)) and name != f"{verb}-{area}"
