"""RFC 6902 patches as the platform takes them."""

from __future__ import annotations

import pytest

from chatlio_kit.local_platform.server.json_patch import PatchProblem, apply_patch


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "add", "path": "/b", "value": 2}, {"a": [1, 2], "b": 2}),
        ({"op": "add", "path": "/a/-", "value": 3}, {"a": [1, 2, 3]}),
        ({"op": "add", "path": "/a/0", "value": 0}, {"a": [0, 1, 2]}),
        ({"op": "REPLACE", "path": "/a/1", "value": 9}, {"a": [1, 9]}),
        ({"op": "remove", "path": "/a/0"}, {"a": [2]}),
        ({"op": "remove", "path": "/a"}, {}),
        ({"op": "add", "path": "/x~1y~0z", "value": 1}, {"a": [1, 2], "x/y~z": 1}),
    ],
)
def test_operations(operation, result):
    """Add, replace and remove work on objects and arrays, in upper case too; the original stays."""
    original = {"a": [1, 2]}
    assert apply_patch(original, [operation]) == result
    assert original == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("patch", "kind"),
    [
        ({}, "body"),
        ([], "body"),
        ([5], "body"),
        ([{"op": "add", "path": "/b"}], "body"),
        ([{"op": "copy", "path": "/b", "from": "/a"}], "op"),
        ([{"op": "add", "path": "b", "value": 1}], "path"),
        ([{"op": "remove", "path": "/b"}], "path"),
        ([{"op": "replace", "path": "/a/2", "value": 1}], "path"),
        ([{"op": "add", "path": "/a/x", "value": 1}], "path"),
        ([{"op": "add", "path": "/b/c", "value": 1}], "path"),
        ([{"op": "add", "path": "/a/0/c", "value": 1}], "path"),
    ],
)
def test_an_invalid_patch_names_the_wrong_part(patch, kind):
    """The kind of problem is body, operation or path."""
    with pytest.raises(PatchProblem) as caught:
        apply_patch({"a": [1, 2]}, patch)
    assert caught.value.kind == kind
