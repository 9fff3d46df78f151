"""Refuse to change a production sandbox without an explicit option.

The sandbox's type on the platform decides, never its name. An unknown type counts as production.
"""

from __future__ import annotations

from chatlio_kit.aep import Platform
from chatlio_kit.aep.access_control import DEVELOPMENT
from chatlio_kit.arguments import flag
from chatlio_kit.errors import (
    AuthenticationFailed,
    PlatformError,
    ProductionSandbox,
    RateLimited,
    Unavailable,
    Unreachable,
    option,
)


def require_leave(platform: Platform, production: bool) -> None:
    """Refuse to change a production sandbox unless ``production`` is True. Reads only.

    Args:
        platform: The platform to be changed.
        production: True if a production sandbox may be changed; if so, its type is not read.

    Raises:
        ProductionSandbox: The sandbox is of the type production, or its type cannot be read.
        PlatformError: The platform cannot be reached at all, or refuses the credential.
    """
    flag("production", production)
    if production:
        return
    kind, reason = sandbox_type(platform)
    if kind == DEVELOPMENT:
        return
    name, leave = platform.settings.sandbox, option("production", "True")
    if kind is not None:
        raise ProductionSandbox(
            f"The sandbox {name!r} is of the type {kind}, so nothing was changed in it. Use a development "
            f"sandbox (AEP_SANDBOX), or add {leave} if you mean this one."
        )
    raise ProductionSandbox(
        f"The type of the sandbox {name!r} is unknown ({reason}), so it counts as production and nothing was "
        "changed in it. Check AEP_SANDBOX and that the credential's role includes the sandbox, or add "
        f"{leave} if you mean this one."
    )


def sandbox_type(platform: Platform) -> tuple[str | None, str]:
    """Return the type of the platform's sandbox; None, with the reason, if it is unknown.

    Raises:
        PlatformError: The platform cannot be reached at all, or refuses the credential.
    """
    try:
        kind = platform.sandboxes.type_of(platform.settings.sandbox)
    except (Unreachable, Unavailable, RateLimited, AuthenticationFailed):
        raise
    except PlatformError as error:
        return None, error.reason.rstrip(".")
    return kind, "" if kind else "it is not among the sandboxes that the credential may use"
