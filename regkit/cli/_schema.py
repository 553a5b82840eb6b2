"""The options of a regularizer as JSON Schema, from its constructor, annotations and numpydoc docstring."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from math import isfinite
from typing import Any

from .._constructor import REQUIRED, constructor_arguments, constructors, plain
from .._messages import first_sentence
from .._values import INFINITY
from ..schedules import BY_NAME
from ._equations import readable

DIALECT = "https://json-schema.org/draft/2020-12/schema"

NULL = {"type": "null"}

#: The forms in JSON of the types that docstrings name.
TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "number": {"type": "number"},
    "real number": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": NULL,
    "dict": {"type": "object"},
    "mapping": {"type": "object"},
    "sequence of str": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    "list of str": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    "mapping of str to array": {"type": "object", "additionalProperties": {"type": ["array", "number"]}},
}

#: The forms of defaults, where neither docstring nor annotation has a type that is known: 1 may stand for 1.0.
OF_DEFAULTS = {bool: "bool", int: "number", float: "number", str: "str"}

#: Types of which JSON has no values.
NOT_IN_JSON = {"`regkit.Live`", "scalar of a graph library", "callable"}


def schema_of(cls: type) -> dict[str, Any]:
    """Return the schema of the mapping that an alias of a class takes."""
    arguments, takes_others = constructor_arguments(cls)
    documented = {name: (kind, text) for name, kind, text in _documented(cls)}
    annotated = {
        name: kind for made in constructors(cls) for name, kind in getattr(made, "__annotations__", {}).items()
    }
    return {
        "description": first_sentence(cls.__doc__),
        "type": "object",
        "properties": {
            name: _property(cls, name, default, *documented.get(name, ("", "")), annotated.get(name, ""))
            for name, default in arguments.items()
        },
        "required": [name for name, default in arguments.items() if default is REQUIRED],
        "additionalProperties": takes_others,
    }


def _property(cls: type, name: str, default: Any, kind: str, text: str, annotation: Any) -> dict[str, Any]:
    forms = _forms(kind) or _forms(_as_in_docstrings(annotation)) or _forms(OF_DEFAULTS.get(type(default), ""))
    if name == "weight":
        forms = [_number_of_weight(cls), _schedule()]
    if forms and default is None and NULL not in forms:
        forms = [*forms, NULL]
    made: dict[str, Any] = forms[0] if len(forms) == 1 else {"anyOf": forms} if forms else {}
    made = {"description": text, **made} if text else dict(made)
    if default is not REQUIRED:
        with suppress(TypeError):  # no value of JSON
            made["default"] = plain(default)
    return made


def _number_of_weight(cls: type) -> dict[str, Any]:
    below = getattr(cls, "weight_below", INFINITY)
    limit = {"exclusiveMaximum": below} if isfinite(below) else {}
    return {"type": "number", "minimum": 0, **limit}


def _schedule() -> dict[str, Any]:
    """Return the form of a weight that follows the step; the arguments of each schedule are its own."""
    return {"type": "object", "properties": {"schedule": {"enum": list(BY_NAME)}}, "required": ["schedule"]}


def _documented(cls: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and description of each parameter in a numpydoc docstring."""
    docstring = inspect.cleandoc(cls.__doc__ or "")
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^[^\n]+\n-{3,}$|\Z)", docstring, re.MULTILINE | re.DOTALL)
    for found in re.finditer(
        r"^(\w[\w, ]*?) ?: ?([^\n]*)\n((?:[ \t]+[^\n]*\n|\n)*)", section[1] if section else "", re.M
    ):
        for name in found[1].split(", "):
            yield name, found[2], " ".join(readable(inspect.cleandoc(found[3])).split())


def _as_in_docstrings(annotation: Any) -> str:
    """Return an annotation as numpydoc has types: ``{"a", "b"} or int`` for ``Literal["a", "b"] | int``."""
    written = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    written = re.sub(r"(?:typing\.)?Literal\[([^\]]*)\]", r"{\1}", written)
    written = re.sub(r"(?:typing\.)?Optional\[([^\]]*)\]", r"\1 | None", written)
    return " or ".join(one.strip() for one in written.split("|"))


def _forms(kind: str) -> list[dict[str, Any]]:
    """Return the forms in JSON of a type as numpydoc writes it; none if one of its alternatives is not known here."""
    choices = re.match(r"\{.*?\}", kind)
    if choices:
        try:
            return [{"enum": list(ast.literal_eval(f"[{choices[0][1:-1]}]"))}]
        except (SyntaxError, ValueError):
            return []
    written = re.sub(r",? *(optional|default:? .*)$", "", kind)
    alternatives = [one.strip() for one in re.split(r",? or |, ", written) if one.strip()]
    in_json = [one for one in alternatives if one not in NOT_IN_JSON]
    found = [_form(one) for one in in_json]
    return [form for form in found if form] if all(found) else []


def _form(kind: str) -> dict[str, Any] | None:
    """Return the form of a type, such as ``int`` or ``int of at least 1``; None if it is not known here."""
    bounded = re.fullmatch(r"(.+) of at least (\d+)", kind)
    form = TYPES.get(bounded[1] if bounded else kind)
    return {**form, "minimum": int(bounded[2])} if form and bounded else form
