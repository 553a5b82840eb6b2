"""Models of pymc.dims: the same numbers as of arrays without named axes."""

from __future__ import annotations

import numpy as np
import pymc as pm
import pymc.dims as pmd
import pytensor.xtensor as px
import pytest
import regkit_pymc

import regkit

RNG = np.random.default_rng(5)
X = RNG.normal(size=(5, 3))
W = RNG.normal(size=(3, 4))
COORDS = {"example": range(5), "input": range(3), "unit": range(4)}
HIDDEN = np.tanh(X @ W)

pytestmark = pytest.mark.filterwarnings("ignore:The `pymc.dims` module is experimental")


def network(add=regkit_pymc.regularize, **regularizers):
    """Hidden units with flat coefficients, and no likelihood."""
    with pm.Model(coords=COORDS) as model:
        x = pmd.Data("x", X, dims=("example", "input"))
        w = pmd.Flat("w", dims=("input", "unit"))
        hid = pmd.Deterministic("hid", px.math.tanh(x.dot(w)))
        pmd.Deterministic("double", 2 * hid)
        add(**regularizers)
    return model


def logp(model):
    return float(model.compile_logp()({"w": W}))


def test_penalties_are_of_the_values_and_have_gradients():
    model = network(hidden_l1=dict(weight=0.1, pattern="hid"), weight_l2=0.5)
    assert logp(model) == pytest.approx(-0.1 * np.abs(HIDDEN).sum() - 0.5 * (W**2).sum(), rel=1e-12)
    expected = -0.1 * X.T @ (np.sign(HIDDEN) * (1 - HIDDEN**2)) - W
    np.testing.assert_allclose(model.compile_dlogp()({"w": W}).reshape(W.shape), expected, rtol=1e-10)
    assert [z.name for z in model.deterministics] == ["hid", "double", "regkit::hidden_l1", "regkit::weight_l2"]


def test_a_model_of_both_kinds_of_variables_has_the_penalties_of_both():
    with pm.Model(coords=COORDS) as model:
        w = pmd.Flat("w", dims=("input", "unit"))
        v = pm.Flat("v", shape=(4, 2))
        pm.Deterministic("both", w.values @ v)
        regkit_pymc.regularize(hidden_l1=dict(weight=2, pattern="both"), weight_l1=1)
    other = RNG.normal(size=(4, 2))
    expected = -2 * np.abs(W @ other).sum() - (np.abs(W).sum() + np.abs(other).sum()) / 2
    assert float(model.compile_logp()({"w": W, "v": other})) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("pattern", "wrt", "factor"), [("hid", "x", 1), ("double", "x", 4)])
def test_contractive_by_data_is_the_closed_form(pattern, wrt, factor):
    expected = -0.5 * factor * (((1 - HIDDEN**2)[:, None, :] * W) ** 2).sum()
    model = network(contractive=dict(weight=0.5, pattern=pattern, wrt=wrt))
    assert logp(model) == pytest.approx(expected, rel=1e-12)


def test_contractive_by_a_deterministic_is_the_closed_form():
    model = network(contractive=dict(weight=0.5, pattern="double", wrt="hid"))
    assert logp(model) == pytest.approx(-0.5 * 4 * HIDDEN.size, rel=1e-12)


def test_a_prior_is_the_density_of_pymc():
    model = network(add=regkit_pymc.prior, weight_l1=0.3)
    with pm.Model() as by_hand:
        pm.Laplace("w", 0, np.array(1 / 0.3), shape=(3, 4))
    assert logp(model) == pytest.approx(float(by_hand.compile_logp()({"w": W})), rel=1e-12)


def test_noise_is_refused_as_elsewhere():
    with pytest.raises(regkit.GraphError, match="hidden_noise: a PyMC model has one graph"):
        network(hidden_noise=0.1)


def test_nuts_samples_and_records_the_terms():
    with network(weight_l2=0.5):
        samples = pm.sample(
            draws=4, tune=4, chains=1, cores=1, random_seed=1, progressbar=False, compute_convergence_checks=False
        )
    expected = 0.5 * (samples.posterior["w"].values ** 2).sum(axis=(2, 3))
    np.testing.assert_allclose(samples.posterior["regkit::weight_l2"].values, expected, rtol=1e-12)
