"""A directive that documents the names of ``chatlio_kit.__all__`` and the classes that they return."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from types import SimpleNamespace

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

import chatlio_kit


def functions() -> list[str]:
    """Return the names of the public functions, in the order of the journey in the package's docstring."""
    names = [name for name in chatlio_kit.__all__ if inspect.isfunction(getattr(chatlio_kit, name))]
    journey = chatlio_kit.__doc__ or ""
    return sorted(names, key=lambda name: (journey.find(f"\n    {name} "), name))


def classes() -> list[type]:
    """Return the public classes and those that the public functions return, in the order of the journey."""
    found: dict[type, None] = {}
    for name in functions():
        function = inspect.unwrap(getattr(chatlio_kit, name))
        returned = SimpleNamespace(__annotations__={"return": function.__annotations__.get("return")})
        found.update(
            dict.fromkeys(_ours(typing.get_type_hints(returned, function.__globals__).get("return")))
        )
    public = [getattr(chatlio_kit, name) for name in chatlio_kit.__all__]
    found.update(dict.fromkeys(item for item in public if inspect.isclass(item)))
    return [kind for kind in found if not issubclass(kind, Exception)]


def _ours(hint: object) -> Iterator[type]:
    if isinstance(hint, type) and hint.__module__.startswith("chatlio_kit"):
        yield hint
    for argument in typing.get_args(hint):
        yield from _ours(argument)


def errors() -> list[type]:
    """Return the classes of the error tree, parents first."""
    tree: list[type] = []
    waiting: list[type] = [chatlio_kit.ChatlioKitError]
    while waiting:
        error = waiting.pop(0)
        tree.append(error)
        waiting = [*error.__subclasses__(), *waiting]
    return [error for error in tree if error.__module__ == "chatlio_kit.errors"]


class PythonFace(SphinxDirective):
    """``{python-face} functions``, ``classes`` or ``errors``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the documentation of one part of the face."""
        part = self.arguments[0]
        if part == "functions":
            text = "\n".join(f".. autofunction:: chatlio_kit.{name}\n" for name in functions())
        elif part == "classes":
            options = "   :members:\n   :inherited-members: str, tuple, Sequence\n"
            names = (f"{kind.__module__}.{kind.__qualname__}" for kind in classes())
            text = "\n".join(f".. autoclass:: {name}()\n{options}" for name in names)
        else:
            text = "\n".join(
                f".. autoexception:: {kind.__module__}.{kind.__name__}()\n   :show-inheritance:\n"
                for kind in errors()
            )
        return self.parse_text_to_nodes(text)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("python-face", PythonFace)
    return {"version": "1", "parallel_read_safe": True}
