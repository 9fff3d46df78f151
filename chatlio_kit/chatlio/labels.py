"""The data usage label of each field, by privacy class.

Adobe's core labels are: ``I1``, identifies or contacts a person directly; ``I2``, does so together with other
data; ``S2``, names a broad area. Free text has no label: the customer decides on the contract
that restricts it. ``C12`` forbids every export, including reading rows back, so no field has it.

Source: data usage labels reference.
"""

from __future__ import annotations

from chatlio_kit.chatlio.catalogue import Field, Form, Privacy

MEANINGS = {
    "I1": "identifies or contacts a person directly",
    "I2": "identifies a person together with other data",
    "S2": "names the area where a person was",
}
_INDIRECT = frozenset({"user_agent", "slack_user_id"})


def label_of(field: Field) -> str | None:
    """Return the label that a data steward expects on a field; None if there is none."""
    if field.privacy in (Privacy.PLAIN, Privacy.CONTENT):
        return None
    if field.form is Form.PLACE:
        return "S2"
    is_direct = field.privacy is not Privacy.PSEUDONYM and field.form is not Form.URL
    return "I1" if is_direct and field.name not in _INDIRECT else "I2"
