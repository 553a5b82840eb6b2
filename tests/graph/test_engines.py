"""Engines: which library an expression is of, those that distributions bring, and what hooks see of their arrays."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

import regkit
from regkit.testing import check_regularizer, installed_libraries, selected

Z = np.array([[1.0, -2.0], [0.0, 3.0]])
LAYERS = [regkit.Layer("in"), regkit.Layer("hid"), regkit.Layer("out")]


@pytest.fixture
def acme(installed):
    """A library of arrays, and its engine."""
    installed("engine")
    return importlib.import_module("acme_arrays")


def test_a_host_passes_arrays_and_gets_arrays_while_hooks_see_expressions(acme):
    seen = []

    class Doubled(regkit.Regularizer):
        def modify_graph(self, outputs):
            seen.append(type(outputs["hid"]).__name__)
            outputs["hid-before"] = outputs["hid"]
            outputs["hid"] = outputs["hid"] * 2

        def loss(self, layers, outputs):
            seen.append(type(layers[1].params[0]).__name__)
            return abs(outputs["hid"]).sum() + layers[1].params[0].sum()

    z, w = acme.Array(Z), acme.Array(np.eye(2))
    layers = [LAYERS[0], regkit.Layer("hid", {"hid.w": w}), LAYERS[2]]
    outputs = {"hid": z}
    regs = regkit.build(doubled=Doubled(weight=0.5))
    regs.modify_graph(outputs, layers)
    assert {name: type(output) for name, output in outputs.items()} == {"hid": acme.Array, "hid-before": acme.Array}
    assert outputs["hid-before"] is z
    np.testing.assert_array_equal(outputs["hid"].values, 2 * Z)
    (term,) = regs.terms(layers, outputs)
    assert type(term.penalty) is type(term.weighted) is type(regs.loss(layers, outputs)) is acme.Array
    assert term.penalty.values == 12 + 2
    assert regs.loss(layers, outputs).values == 7
    assert regkit.hosts.unchanged(regs, outputs) == []
    assert set(seen) == {"Expression"}
    assert layers[1].params == (w,)


def test_what_a_host_passes_as_expressions_comes_back_as_expressions(acme):
    wrap = importlib.import_module("acme_engine").ENGINE.wrap
    loss = regkit.build(hidden_l1=0.5).loss(LAYERS, {"in": wrap(acme.Array(Z)), "hid": wrap(acme.Array(Z))})
    assert type(loss).__name__ == "Expression"
    assert loss == 3


def test_penalties_of_parameters_alone_find_the_engine(acme):
    layers = [regkit.Layer("hid", {"hid.w": acme.Array(Z)})]
    assert regkit.build(weight_l2=0.5).loss(layers, {}).values == 0.5 * 14


def test_regularize_gives_arrays(acme):
    layer = regkit.Layer("hid", outputs={"hid": acme.Array(Z)}, role="hidden")
    regularized = regkit.build(hidden_l1=0.5).regularize([layer])
    assert regularized.loss.values == 3
    assert type(regularized.terms[0].penalty) is acme.Array


def test_what_cannot_be_rebuilt_says_what_to_do_instead(acme):
    with pytest.raises(regkit.GraphError, match="as modify_graph does"):
        regkit.build(noise=dict(weight=0.1, pattern="hid")).apply({"hid": acme.Array(Z)})


@pytest.mark.subprocess
def test_an_engine_is_imported_when_the_first_of_its_arrays_is_met(acme):
    # the package for whose arrays an engine is installed may be there for other reasons
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; import acme_arrays, numpy, regkit\n"
        "regs = regkit.build(hidden_l1=dict(weight=0.5, pattern='hid'))\n"
        "regs.loss([], {'hid': numpy.ones(2)})\n"
        "print('acme_engine' in sys.modules)\n"
        "print(regs.loss([], {'hid': acme_arrays.Array(numpy.ones(2))}).values)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "1.0"], done.stderr


def test_arrays_of_two_engines_in_one_call_are_refused_by_name(acme):
    with pytest.raises(regkit.GraphError, match="'in' is an expression of numpy and 'hid' one of acme"):
        regkit.build(hidden_l1=0.5).loss(LAYERS, {"in": Z, "hid": acme.Array(Z)})


def test_a_weight_that_is_an_array_of_the_engine_is_taken(acme):
    class Power(regkit.Regularizer):
        def loss(self, outputs):
            return (outputs["hid"] ** 2).sum()

    weight = importlib.import_module("acme_engine").ENGINE.constant(0.5, "float64")
    assert regkit.build(power=Power(weight=weight)).loss([], {"hid": acme.Array(Z)}).values == 7


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_an_array_whose_value_is_known_is_refused_as_a_weight_where_the_number_is(acme, weight):
    array = importlib.import_module("acme_engine").ENGINE.constant(weight, "float64")
    with pytest.raises(regkit.OptionError, match="HiddenL1 got weight=.*; accepted: a finite real number"):
        regkit.build(hidden_l1=array)


def test_two_engines_for_one_package_are_a_conflict_that_names_both(installed):
    installed("engine", "engine_conflict")
    arrays = importlib.import_module("acme_arrays")
    with pytest.raises(regkit.AliasConflictError) as error:
        regkit.graph.library(arrays.Array(Z))
    assert str(error.value) == (
        "2 engines are installed for arrays of acme_arrays: acme_engine:ENGINE, other_engine:ENGINE. Uninstall one"
    )


def test_an_engine_that_cannot_be_imported_is_told_with_its_reason(installed, tmp_path, monkeypatch):
    installed("engine_broken")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "acme_arrays.py").write_text("class Array: pass\n", encoding="utf-8")
    arrays = importlib.import_module("acme_arrays")
    with pytest.raises(regkit.PluginLoadError, match="acme_broken_engine:ENGINE, cannot be imported: ModuleNotFound"):
        regkit.graph.library(arrays.Array())
    (tmp_path / "acme_broken_engine.py").write_text("ENGINE = 3\n", encoding="utf-8")
    importlib.invalidate_caches()
    with pytest.raises(regkit.PluginLoadError, match=r"is of type int, not a regkit\.graph\.Engine"):
        regkit.graph.library(arrays.Array())


@pytest.mark.parametrize(("package", "distribution"), [("torch", "regkit-torch"), ("jaxlib", "regkit-jax")])
def test_arrays_without_an_engine_name_the_distribution_that_brings_it(package, distribution, monkeypatch):
    monkeypatch.setattr("regkit._engines.declared", dict)
    array = type("Array", (), {"__module__": f"{package}.somewhere"})()
    with pytest.raises(
        regkit.GraphError, match=f"{distribution}; in a checkout of regkit: pip install ./plugins/{distribution}"
    ):
        regkit.graph.library(array)


def test_the_kit_tries_a_regularizer_on_an_engine_from_outside(acme):
    assert "acme" in installed_libraries()

    def twin(regularizer, layers, outputs):
        return np.mean([np.abs(z).sum() for z in selected(regularizer, layers, outputs).values()])

    counts = check_regularizer("hidden_l1", libraries=["acme"], twin=twin).counts()
    assert counts["acme"]["passed"] == counts["numpy"]["passed"] >= 14


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("alias", "expected"), [("hidden_l1", 3.0), ("hidden_l2", 7.0)])
def test_penalties_of_floats_of_16_bits_are_of_32(dtype, alias, expected):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    z = Z.astype(dtype if dtype == "float16" else ml_dtypes.bfloat16)
    loss = regkit.build({alias: dict(weight=0.5, pattern="hid")}).loss([], {"hid": z})
    assert (str(loss.dtype), float(loss)) == ("float32", expected)


def test_a_million_ones_of_float16_add_up_to_a_million():
    ones = {"hid": np.ones((1000, 1000), "float16")}
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="hid"), mine=Constant())
    assert regs.loss(ones) == pytest.approx(100_000.25)
    assert {str(term.weighted.dtype) for term in regs.terms(ones)} == {"float32"}


class Constant(regkit.Regularizer):
    def loss(self, outputs):
        return np.float16(0.25)

    def __init__(self):
        super().__init__(weight=1)


@pytest.mark.parametrize("alias", ["noise", "dropout"])
def test_bfloat16_passes_through_noise(alias):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    outputs = {"hid": np.ones((1000, 10), ml_dtypes.bfloat16)}
    regkit.build({alias: dict(weight=0.5, pattern="hid")}).modify_graph(outputs)
    assert str(outputs["hid"].dtype) == "bfloat16"
    assert abs(float(outputs["hid"].astype("float64").mean()) - 1) < 0.05
