"""The resources that all dataflows share, including those for identities, in the order of their creation.

A connection without identities has three: field group, schema and dataset. Identities add their namespaces
and, in the lake, a descriptor for each of their fields, by which privacy jobs find the rows. A connection for
Profile has no descriptors, because its identities are only in ``identityMap``, and adds the schema to the
union of its class, which cannot be undone.

Source: Identity Service: namespaces; Schema Registry: descriptors, unions; Profile: enable a dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from chatlio_kit.chatlio.identities import Identity
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.chatlio.turns import GROUP_TITLES
from chatlio_kit.connection.mapping_check import check_mappings
from chatlio_kit.connection.resources.blueprint import IDENTITY_DESCRIPTOR, Json
from chatlio_kit.connection.resources.names import Role
from chatlio_kit.connection.resources.people import namespace_body
from chatlio_kit.connection.resources.resource import (
    Action,
    DatasetResource,
    FieldGroupResource,
    Resource,
    ResourceState,
    SchemaResource,
    known,
)
from chatlio_kit.connection.resources.survey import Survey
from chatlio_kit.errors import NotFound

_NO_PERSON = "non_people"


class AdobeGroupResource(Resource):
    """One of Adobe's field groups, which only Adobe can enable for an organisation."""

    type_name: ClassVar[str] = "Adobe field group"

    def __init__(self, survey: Survey, group_id: str) -> None:
        super().__init__(survey, GROUP_TITLES[group_id])
        self._group_id = group_id

    def inspect(self) -> ResourceState:
        """Check that it is enabled and has every field that is written."""
        try:
            body = self.survey.platform.schemas.adobe_field_group(self._group_id)
        except NotFound:
            reason = "the organisation is not enabled for it; ask Adobe to enable Conversation Insights"
            return ResourceState(Action.CONFLICT, reason, self._group_id)
        paths = self.survey.design.adobe_groups[self._group_id]
        lacking = sorted(path for path in paths if not _has(body, path))
        if lacking:
            reason = f"Adobe's version here lacks {', '.join(lacking[:4])}; ask Adobe for the current one"
            return ResourceState(Action.CONFLICT, reason, self._group_id)
        return ResourceState(Action.REUSE, "enabled, with every field that is written", self._group_id)

    def create(self) -> str:
        """Fail; this is never called, because one of Adobe's field groups exists or is in conflict."""
        raise NotImplementedError("only Adobe creates its field groups")


class NamespaceResource(Resource):
    """The namespace of an identity."""

    type_name: ClassVar[str] = "identity namespace"

    def __init__(self, survey: Survey, code: str, identity: Identity) -> None:
        super().__init__(survey, code)
        self._identity = identity

    def inspect(self) -> ResourceState:
        """Check that it exists and that its ids enter identity graphs."""
        for namespace in self.survey.namespaces():
            code, namespace_id = str(namespace.get("code")), str(namespace.get("id"))
            if code == self.name and str(namespace.get("idType")).lower() == _NO_PERSON:
                reason = "its ids identify no people, so they join nothing; choose another namespace"
                return ResourceState(Action.CONFLICT, reason, namespace_id)
            if code == self.name:
                return ResourceState(Action.REUSE, "is there", namespace_id)
            if code.lower() == self.name.lower():
                reason = f"there is {code}, and codes are case-sensitive; write it that way"
                return ResourceState(Action.CONFLICT, reason, namespace_id)
        return ResourceState(Action.CREATE, "not there yet; it can never be deleted")

    def create(self) -> str:
        """Create the namespace."""
        description = self.survey.naming.describe(f"Ids of Chatlio's {self._identity.field}.")
        body = namespace_body(self.name, self._identity, description)
        return str(self.survey.platform.namespaces.create(body).get("id"))


class DescriptorResource(Resource):
    """The identity descriptor of a field; it is never primary, so no event needs the field."""

    type_name: ClassVar[str] = "identity descriptor"

    def __init__(self, survey: Survey, identity: Identity) -> None:
        super().__init__(survey, f"{identity.field} as {identity.namespace}")
        self._identity = identity

    def inspect(self) -> ResourceState:
        """Check that the field's descriptor has the namespace."""
        if self.survey.schema_id is None:
            return ResourceState(Action.CREATE, "not there yet")
        ours = self._of_the_field()
        if not ours:
            return ResourceState(Action.CREATE, "not there yet")
        ids = {namespace.get("code"): str(namespace.get("id")) for namespace in self.survey.namespaces()}
        code = self._identity.namespace
        if str(ours[0].get("xdm:namespace")) not in (code, ids.get(code)):  # a code or a number
            reason = f"the field is described as {ours[0].get('xdm:namespace')}; delete that descriptor"
            return ResourceState(Action.CONFLICT, reason, str(ours[0].get("@id")))
        return ResourceState(Action.REUSE, "is there", str(ours[0].get("@id")))

    def create(self) -> str:
        """Create the descriptor."""
        body = self.survey.design.descriptor(known(self.survey.schema_id), self._identity)
        return self.survey.platform.schemas.create_descriptor(body)

    def candidates(self) -> list[str]:
        """List the descriptors of the field."""
        return sorted(str(descriptor.get("@id")) for descriptor in self._of_the_field())

    def delete_duplicate(self, resource_id: str) -> None:
        """Delete a descriptor."""
        self.survey.platform.schemas.delete_descriptor(resource_id)

    def _of_the_field(self) -> list[Json]:
        wanted = self.survey.design.descriptor(known(self.survey.schema_id), self._identity)
        keys = ("xdm:sourceSchema", "xdm:sourceProperty")
        return [
            descriptor
            for descriptor in self.survey.descriptors(IDENTITY_DESCRIPTOR)
            if all(descriptor.get(key) == wanted[key] for key in keys)
        ]


class UnionResource(Resource):
    """The schema's place in the union of its class, which makes Profile take its events."""

    type_name: ClassVar[str] = "Profile union"

    def inspect(self) -> ResourceState:
        """Check that the schema has the union tag."""
        if self.survey.is_in_union:
            return ResourceState(Action.REUSE, "the schema is enabled for Profile", self.survey.schema_id)
        return ResourceState(Action.CREATE, "not enabled yet; this can never be undone")

    def create(self) -> str:
        """Enable the schema for Profile, after every history mapping returned the right identities."""
        survey, schema_id = self.survey, known(self.survey.schema_id)
        for kind in Kind:
            check_mappings(survey.platform, survey.design, Role.HISTORY, kind, schema_id)
        survey.note_change(survey.platform.schemas.enable_for_profile(schema_id))
        survey.is_in_union = True
        return schema_id


def shared_resources(survey: Survey) -> Iterator[Resource]:
    """Yield the resources that all dataflows share, in the order of their creation.

    Inspect each before requesting the next, because the schema determines which identities an existing
    connection has.
    """
    naming = survey.naming
    for group_id in survey.design.adobe_groups:
        yield AdobeGroupResource(survey, group_id)
    yield FieldGroupResource(survey, naming.shared("field group"))
    yield SchemaResource(survey, naming.shared("schema"))
    people = survey.design.people
    for code, identity in people.namespaces.items():
        yield NamespaceResource(survey, code, identity)
    if people.profile:
        yield UnionResource(survey, naming.shared("schema"))
    for identity in survey.design.described:
        yield DescriptorResource(survey, identity)
    yield DatasetResource(survey, naming.dataset)


def _has(node: Json, path: str) -> bool:
    """Return whether a resolved field group has a path, also inside arrays."""
    for step in path.split("."):
        node = ((node.get("items") or node).get("properties") or {}).get(step) or {}
    return bool(node)
