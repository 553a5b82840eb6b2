"""Which outputs and parameters a glob selects."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import regkit

OUTPUTS = {"in:out": 0, "hid1:out": 1, "hid2:out": 2, "hid2:pre": 3, "Hid3:out": 4}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("hid1:out", ["hid1:out"]),
        ("hid*", ["hid1:out", "hid2:out", "hid2:pre"]),
        ("hid[23]:*", ["hid2:out", "hid2:pre"]),
        (["hid2:*", "*:out"], ["in:out", "hid1:out", "hid2:out", "hid2:pre", "Hid3:out"]),
        (("Hid*",), ["Hid3:out"]),
    ],
)
def test_globs_are_case_sensitive_and_select_each_output_once_in_order(pattern, names):
    assert regkit.select_outputs(OUTPUTS, pattern) == [(name, OUTPUTS[name]) for name in names]


def test_outputs_that_match_nothing_are_named():
    with pytest.raises(regkit.NoMatchError) as error:
        regkit.select_outputs(OUTPUTS, ["hid9", "HID1:out"])
    assert str(error.value) == (
        "pattern 'hid9', 'HID1:out' matches none of the outputs: in:out, hid1:out, hid2:out, hid2:pre, Hid3:out"
    )


@pytest.mark.parametrize("pattern", [None, 3, []])
def test_a_selection_needs_a_glob(pattern):
    with pytest.raises(regkit.OptionError, match="select got pattern="):
        regkit.select_outputs(OUTPUTS, pattern)
    with pytest.raises(regkit.OptionError, match="select got pattern="):
        regkit.select_params([], pattern)


def test_parameters_are_selected_by_name_once_also_where_layers_share_them():
    w1, w2, b, unnamed = (SimpleNamespace(name=name) for name in ("hid1.w", "hid2.w", "hid1.b", None))
    layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out", [w1, b, unnamed]), regkit.Layer("hid2:out", [w2, w1])]
    assert regkit.select_params(layers, "*.w") == [("hid1.w", w1), ("hid2.w", w2)]
    with pytest.raises(regkit.NoMatchError) as error:
        regkit.select_params(layers, "out.*")
    assert str(error.value) == "pattern 'out.*' matches none of the parameters: hid1.w, hid1.b, hid2.w"


def test_two_parameters_of_one_name_are_an_error_and_not_one_of_them():
    layers = [
        regkit.Layer("hid1:out", [SimpleNamespace(name="w")]),
        regkit.Layer("hid2:out", [SimpleNamespace(name="w")]),
    ]
    with pytest.raises(regkit.GraphError, match="two different parameters are named 'w'"):
        regkit.select_params(layers, "*")
