"""JSON Schema of options: that it is valid, and that build takes and refuses what it accepts and rejects."""

from __future__ import annotations

from typing import Literal, Optional

import jsonschema
import pytest

import regkit

schema_of = pytest.importorskip("regkit.cli._schema", reason="the command line is not installed").schema_of

ALIASES = sorted(regkit.available())


def accepts(alias, options):
    schema = {**schema_of(regkit.load(alias)), "$schema": "https://json-schema.org/draft/2020-12/schema"}
    return jsonschema.Draft202012Validator(schema).is_valid(options)


@pytest.mark.parametrize("alias", ALIASES)
def test_the_schema_of_an_alias_is_valid_and_has_the_type_of_every_option(alias):
    schema = schema_of(regkit.load(alias))
    jsonschema.Draft202012Validator.check_schema(schema)
    untyped = [name for name, one in schema["properties"].items() if not {*one} & {"anyOf", "enum", "type"}]
    assert untyped == []


@pytest.mark.parametrize("alias", [alias for alias in ALIASES if alias != "weight_distance"])
def test_the_schema_accepts_a_config_as_it_is_written_down(alias):
    assert accepts(alias, regkit.build({alias: 0.25}).config()[alias])
    assert accepts(alias, {"weight": 0.25, "pattern": ["a*", "!ab"]})
    assert accepts(alias, {"weight": {"schedule": "warmup", "to": 0.25, "steps": 10}})


@pytest.mark.parametrize(
    ("alias", "options"),
    [
        ("hidden_l1", {"weight": -1}),
        ("hidden_l1", {"weight": True}),
        ("hidden_l1", {"weight": {"schedule": "warmupp"}}),
        ("dropout", {"weight": 1}),
        ("hidden_l1", {"pattern": 3}),
        ("hidden_l1", {"pattern": []}),
        ("hidden_l1", {"patern": "hid"}),
        ("hidden_l1", {"reduction": "max"}),
        ("weight_l1", {"by": "projection"}),
        ("group_lasso", {"axis": 2}),
        ("hidden_kl", {"rho": "small"}),
        ("weight_distance", {"weight": 1}),
        ("dropout", {"seed": 1.5}),
        ("hidden_topk", {"k": 0}),
        ("dropout", {"seed": -1}),
    ],
)
def test_the_schema_rejects_what_build_refuses(alias, options):
    assert not accepts(alias, options)
    with pytest.raises(regkit.OptionError):
        regkit.build({alias: options})


class Annotated(regkit.Regularizer):
    def __init__(
        self,
        pattern=None,
        weight=0.0,
        kind: Literal["a", "b"] = "a",
        size: Optional[int] = None,  # noqa: UP045 - as older code has it
        share: float | None = 0.5,
        scale=1,
        model: object = None,
    ):
        super().__init__(pattern, weight)

    def loss(self):
        return 1.0


def test_without_a_docstring_annotations_and_defaults_have_the_types():
    properties = schema_of(Annotated)["properties"]
    assert {name: properties[name] for name in ("kind", "size", "share", "scale", "model")} == {
        "kind": {"enum": ["a", "b"], "default": "a"},
        "size": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "share": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": 0.5},
        "scale": {"type": "number", "default": 1},
        "model": {"default": None},
    }
