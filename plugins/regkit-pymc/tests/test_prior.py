"""Penalties as priors: against PyMC's own densities, and against integrals that are 1."""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytest
import regkit_pymc
from pymc.model.fgraph import clone_model
from scipy.integrate import quad

import regkit

RNG = np.random.default_rng(6)
W = RNG.normal(size=(3, 4))
V = RNG.normal(size=(4, 2))


def log_density(point, shapes, make=pm.Flat, **aliases):
    """The log density of some matrices, each made by a distribution or given a prior."""
    with pm.Model() as model:
        for name, shape in shapes.items():
            make(name, shape=shape)
        if aliases:
            regkit_pymc.prior(**aliases)
    return float(model.compile_logp()(point))


REDUCTIONS = {"sum": (1, 1), "mean": (12, 8), "batch": (3, 4)}  # the divisors of the two matrices


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("alias", "theirs"),
    [
        ("weight_l1", lambda name, rate, shape: pm.Laplace(name, 0, np.array(1 / rate), shape=shape)),
        ("weight_l2", lambda name, rate, shape: pm.Normal(name, 0, np.sqrt(1 / (2 * rate)), shape=shape)),
    ],
    ids=["laplace", "normal"],
)
def test_a_prior_of_two_matrices_is_the_density_of_pymc(alias, theirs, reduction):
    point = {"w": W, "v": V}
    found = log_density(point, {"w": (3, 4), "v": (4, 2)}, **{alias: dict(weight=0.3, reduction=reduction)})
    with pm.Model() as model:
        for (name, value), divisor in zip(point.items(), REDUCTIONS[reduction]):
            theirs(name, 0.3 / (2 * divisor), value.shape)  # an array: PyMC takes the logarithm of 10.0 in float32
    assert found == pytest.approx(float(model.compile_logp()(point)), rel=1e-12)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("weight", [0.2, 1.0, 50.0])
def test_the_density_of_elastic_net_has_the_integral_1(ratio, weight):
    with pm.Model() as model:
        pm.Flat("w", shape=(1, 1))
        regkit_pymc.prior(elastic_net=dict(weight=weight, l1_ratio=ratio))
    logp = model.compile_logp()
    integral, _ = quad(lambda x: np.exp(logp({"w": np.array([[x]])})), 0, np.inf)
    assert 2 * integral == pytest.approx(1, rel=1e-7)


@pytest.mark.parametrize("weight", [0.5, 3.0])
@pytest.mark.parametrize(("shape", "axis"), [((1, 1), 0), ((1, 2), 0), ((3, 1), 1)])
def test_the_density_of_a_group_has_the_integral_1(shape, axis, weight):
    size = shape[1 - axis]
    with pm.Model() as model:
        pm.Flat("w", shape=shape)
        regkit_pymc.prior(group_lasso=dict(weight=weight, axis=axis))
    logp = model.compile_logp()
    first = np.zeros(shape)
    first[0, 0] = 1
    shell = {1: lambda r: 2, 2: lambda r: 2 * np.pi * r, 3: lambda r: 4 * np.pi * r**2}[size]
    integral, _ = quad(lambda r: shell(r) * np.exp(logp({"w": r * first})), 0, np.inf)
    assert integral == pytest.approx(1, rel=1e-7)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_groups_are_independent(reduction):
    one = log_density({"w": W[:1]}, {"w": (1, 4)}, group_lasso=dict(weight=0.7, reduction=reduction))
    rate = 0.7 if reduction == "sum" else 0.7 / 3
    each = [log_density({"w": row[None]}, {"w": (1, 4)}, group_lasso=rate) for row in W]
    found = log_density({"w": W}, {"w": (3, 4)}, group_lasso=dict(weight=0.7, reduction=reduction))
    assert found == pytest.approx(sum(each), rel=1e-12)
    assert one != pytest.approx(each[0], rel=1e-3) or reduction == "sum"


def test_a_random_weight_has_the_posterior_of_the_model_by_hand():
    """The product of the logps differs nowhere, and so the posterior does not."""
    with pm.Model() as ours:
        strength = pm.HalfNormal("strength")
        b = pm.Flat("b", shape=5)
        pm.Normal("y", b, 1, observed=np.arange(5.0))
        regkit_pymc.prior(weight_l1=dict(weight=strength, pattern="b"))
    with pm.Model() as by_hand:
        strength = pm.HalfNormal("strength")
        b = pm.Laplace("b", 0, 1 / strength, shape=5)
        pm.Normal("y", b, 1, observed=np.arange(5.0))
    for log_strength, value in ((0.0, np.ones(5)), (-1.5, np.arange(5.0)), (2.0, -np.ones(5) / 3)):
        point = {"strength_log__": np.array(log_strength), "b": value}
        assert float(ours.compile_logp()(point)) == pytest.approx(float(by_hand.compile_logp()(point)), rel=1e-12)
        gradients = [model.compile_dlogp()(point) for model in (ours, by_hand)]
        np.testing.assert_allclose(*gradients, rtol=1e-10)


def test_the_terms_are_minus_log_densities():
    with pm.Model() as model:
        pm.Flat("w", shape=(3, 4))
        (term,) = regkit_pymc.prior(weight_l2=0.5)
    assert [p.name for p in model.potentials] == ["prior"]
    assert [z.name for z in model.deterministics] == ["prior::weight_l2"]
    (value,) = model.replace_rvs_by_values([model["prior::weight_l2"]])
    found = model.compile_fn(value, inputs=model.value_vars)({"w": W})
    assert float(found) == pytest.approx(0.5 * (W**2).sum() + 6 * np.log(np.pi / 0.5), rel=1e-12)
    assert (term.name, term.weight) == ("weight_l2", 0.5)


def test_a_variable_whose_size_changes_has_the_constant_of_its_size():
    with pm.Model(coords={"row": range(3), "column": range(4)}) as model:
        x = pm.Data("x", np.zeros((3, 4)), dims=("row", "column"))
        pm.Flat("w", shape=x.shape)
        regkit_pymc.prior(weight_l1=0.5)
        pm.set_data({"x": np.zeros((2, 4))}, coords={"row": range(2)})
    found = float(model.compile_logp()({"w": W[:2]}))
    assert found == pytest.approx(-0.5 * np.abs(W[:2]).sum() + 8 * np.log(0.5 / 2), rel=1e-12)


# What is refused


def refused(kind, call, **aliases):
    with pytest.raises(kind) as error:
        call(**aliases)
    return str(error.value)


def test_a_penalty_with_a_random_weight_is_refused_and_prior_is_named():
    with pm.Model() as model:
        strength = pm.HalfNormal("strength")
        pm.Flat("b", shape=(3, 1))
        before = list(model.named_vars)
        for weight in (
            strength,
            2 * strength + 1,
            pm.math.exp(pm.Deterministic("log_strength", pm.math.log(strength))),
        ):
            assert refused(regkit.OptionError, regkit_pymc.regularize, weight_l1=weight) == (
                "weight_l1: its weight depends on the random variable 'strength', whose posterior would be wrong: a "
                "penalty is a prior up to a constant, and the constant depends on the weight. regkit_pymc.prior takes "
                "the same keywords, and adds it"
            )
        assert [name for name in model.named_vars if name != "log_strength"] == before
        scale = pm.Data("scale", 0.5)
        regkit_pymc.regularize(weight_l1=scale)  # no random variable
    assert float(model.compile_logp(vars=model.potentials)({"b": np.ones((3, 1)), "strength_log__": 0.0})) == -1.5


def test_a_penalty_without_a_known_normalizer_is_refused():
    with pm.Model():
        w = pm.Flat("w", shape=(3, 4))
        pm.Deterministic("hid", 2 * w)
        assert refused(regkit.OptionError, regkit_pymc.prior, hidden_l1=dict(weight=1, pattern="hid")) == (
            "hidden_l1: the normalizer of HiddenL1 is not known in a closed form. Known are those of WeightL1, "
            "WeightL2, ElasticNet, GroupLasso. regkit_pymc.regularize adds it as a penalty"
        )


def test_a_weight_of_0_has_no_density():
    with pm.Model():
        pm.Flat("w", shape=(3, 4))
        said = refused(regkit.OptionError, regkit_pymc.prior, weight_l1=dict(weight=0, pattern="w"))
    assert said == "weight_l1: the weight is 0, for which there is no density. Leave it out"


@pytest.mark.parametrize("make", [pm.Normal, pm.HalfFlat])
def test_a_variable_with_another_prior_is_refused(make):
    with pm.Model():
        make("w", shape=(3, 4))
        assert refused(regkit.OptionError, regkit_pymc.prior, weight_l1=1) == (
            "weight_l1: 'w' has a prior, and beside it the density would not be normalized. Make it a pm.Flat, or add "
            "a penalty: regkit_pymc.regularize"
        )


@pytest.mark.parametrize("cloned", [lambda model: model, clone_model], ids=["the model", "a clone"])
def test_a_variable_has_one_prior(cloned):
    both = "whose product is not normalized. elastic_net is the prior of weight_l1 and weight_l2 together"
    with pm.Model() as model:
        pm.Flat("w", shape=(3, 4))
        said = refused(regkit.OptionError, regkit_pymc.prior, weight_l1=1, weight_l2=1)
        assert said == f"'w' has two priors, weight_l1 and weight_l2, {both}"
        regkit_pymc.prior(weight_l1=1)
    with cloned(model):
        pm.Flat("v", shape=(3, 4))
        said = refused(regkit.OptionError, lambda **aliases: regkit_pymc.prior(name="more", **aliases), weight_l2=1)
        assert said == f"'w' has two priors, prior::weight_l1 and weight_l2, {both}"
        regkit_pymc.prior(name="more", weight_l2=dict(weight=1, pattern="v"))


def test_a_call_without_a_model_says_where_to_call():
    assert refused(regkit.GraphError, regkit_pymc.prior, weight_l2=0.1).startswith("prior got no model on the context")
