"""Regularizers in PyMC models: values against NumPy, priors against PyMC's own, what is refused and how."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import regkit_pymc
import tomllib
from pymc.model.fgraph import clone_model

import regkit

RNG = np.random.default_rng(4)
X = RNG.normal(size=(20, 3))
Y = RNG.normal(size=(20, 2))
W1 = RNG.normal(size=(3, 4))
W2 = RNG.normal(size=(4, 2))
B2 = RNG.normal(size=2)
POINT = {"w1": W1, "w2": W2, "b2": B2}
FOLDER = Path(__file__).parents[1]


def network(**regularizers):
    """A network with one hidden layer and a normal likelihood, whose coefficients have flat priors."""
    with pm.Model() as model:
        x = pm.Data("x", X)
        w1, w2, b2 = (pm.Flat(name, shape=value.shape) for name, value in POINT.items())
        hid1 = pm.Deterministic("hid1", pt.sigmoid(x @ w1))
        mu = pm.Deterministic("mu", hid1 @ w2 + b2)
        pm.Normal("y", mu, 1, observed=Y)
        regkit_pymc.regularize(**regularizers)
    return model


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def potential(model, point=POINT):
    return float(model.compile_logp(vars=model.potentials)(point))


def coefficients(sizes, make, **regularizers):
    """A model of matrices alone."""
    with pm.Model() as model:
        for i, size in enumerate(sizes):
            make(f"w{i}", shape=size)
        if regularizers:
            regkit_pymc.regularize(**regularizers)
    return model


def test_minus_the_logp_is_the_objective_written_in_numpy():
    model = network(
        hidden_l1=dict(weight=0.1, pattern="hid*"), weight_l2=0.2, group_lasso=dict(weight=0.3, pattern="w1")
    )
    hidden = sigmoid(X @ W1)
    error = Y - (hidden @ W2 + B2)
    objective = 0.5 * (error**2).sum() + 0.5 * error.size * np.log(2 * np.pi)
    objective += 0.1 * np.abs(hidden).sum() + 0.2 * ((W1**2).sum() + (W2**2).sum()) / 2
    objective += 0.3 * np.sqrt(4) * np.sqrt((W1**2).sum(axis=1)).sum()
    assert -float(model.compile_logp()(POINT)) == pytest.approx(objective, rel=1e-12)


def test_the_map_of_a_ridge_regression_is_the_closed_form():
    with pm.Model():
        w = pm.Flat("w", shape=(3, 2))
        pm.Normal("y", X @ w, 1, observed=Y)
        regkit_pymc.regularize(weight_l2=0.7)
        found = pm.find_MAP(return_inferencedata=True, jitter=False, progressbar=False)
    expected = np.linalg.solve(X.T @ X + 2 * 0.7 * np.eye(3), X.T @ Y)
    np.testing.assert_allclose(found.posterior["w"].values[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("alias", "prior"),
    [
        ("weight_l1", lambda name, shape: pm.Laplace(name, 0, 2 / 0.3, shape=shape)),
        ("weight_l2", lambda name, shape: pm.Normal(name, 0, np.sqrt(2 / (2 * 0.3)), shape=shape)),
    ],
    ids=["laplace", "normal"],
)
def test_a_penalty_of_two_matrices_is_a_prior_up_to_a_constant(alias, prior):
    sizes = [(3, 4), (4, 2)]
    ours = coefficients(sizes, pm.Flat, **{alias: 0.3}).compile_logp()
    theirs = coefficients(sizes, prior).compile_logp()
    difference = [float(ours(point) - theirs(point)) for point in ({"w0": W1, "w1": W2}, {"w0": -3 * W1, "w1": W2**2})]
    assert difference[0] == pytest.approx(difference[1], rel=1e-12)


def test_parameters_are_all_free_variables_and_vectors_do_not_count():
    assert potential(network(weight_l1=1)) == pytest.approx(-(np.abs(W1).sum() + np.abs(W2).sum()) / 2, rel=1e-12)


def test_a_vector_counts_in_a_weight_penalty_where_it_is_named():
    assert potential(network(weight_l1=dict(weight=2, pattern="b2"))) == pytest.approx(-2 * np.abs(B2).sum(), rel=1e-12)


def test_a_weight_penalty_of_a_vector_by_a_glob_says_that_it_has_not_two_dimensions():
    with pytest.raises(regkit.NoMatchError) as error:
        network(weight_l1=dict(weight=1, pattern="b*"))
    assert str(error.value) == "weight_l1: pattern 'b*' matches only parameters without two dimensions: b2"


def counts(**regularizers):
    """A model of a matrix of numbers and one of counts."""
    with pm.Model() as model:
        pm.Flat("w", shape=(3, 4))
        pm.Poisson("k", 2, shape=(2, 2))
        regkit_pymc.regularize(**regularizers)
    return potential(model, {"w": W1, "k": np.array([[1, 2], [3, 4]])})


def test_discrete_matrices_are_no_weights_unless_a_pattern_selects_them():
    both = (np.abs(W1).sum() + 10) / 2
    assert counts(weight_l1=1) == pytest.approx(-np.abs(W1).sum(), rel=1e-12)
    assert counts(weight_l1=dict(weight=1, pattern="*")) == pytest.approx(-both, rel=1e-12)
    assert counts(weight_l1=dict(weight=1, pattern=["*", "!w"])) == pytest.approx(-10, rel=1e-12)
    assert counts(weight_l1=dict(weight=1, pattern=["w", "k"])) == pytest.approx(-both, rel=1e-12)


def test_a_model_of_discrete_matrices_alone_says_how_they_count():
    with pm.Model():
        pm.Poisson("k", 2, shape=(2, 2))
        with pytest.raises(regkit.NoMatchError) as error:
            regkit_pymc.regularize(weight_l1=1)
    assert str(error.value) == (
        "weight_l1: pattern '*' matches none of the parameters: none. Discrete ones count by a pattern: k"
    )


def test_observed_variables_are_not_parameters():
    with pytest.raises(regkit.NoMatchError) as error:
        network(weight_l1=dict(weight=1, pattern="y"))
    assert str(error.value) == "weight_l1: pattern 'y' matches none of the parameters: w1, w2, b2"


def test_a_variable_that_pymc_samples_on_another_scale_is_penalized_on_its_own():
    with pm.Model() as model:
        pm.HalfFlat("scale", shape=(1, 2))
        regkit_pymc.regularize(weight_l1=1)
    assert potential(model, {"scale_log__": np.log([[2.0, 3.0]])}) == pytest.approx(-5)


def test_the_terms_are_deterministics_and_are_returned():
    with network() as model:
        terms = regkit_pymc.regularize(
            hidden_l1=[dict(weight=0.1, pattern="hid1"), dict(weight=0.2, pattern="mu")], weight_l2=0.3
        )
    assert [term.name for term in terms] == ["hidden_l1", "hidden_l1[1]", "weight_l2"]
    names = [f"regkit::{term.name}" for term in terms]
    assert [variable.name for variable in model.deterministics] == ["hid1", "mu", *names]
    second = model.replace_rvs_by_values([model["regkit::hidden_l1[1]"]])
    value = float(model.compile_fn(second[0], inputs=model.value_vars)(POINT))
    assert value == pytest.approx(0.2 * np.abs(sigmoid(X @ W1) @ W2 + B2).sum(), rel=1e-12)


def test_deterministics_and_variables_of_nested_models_go_by_their_full_names():
    with pm.Model() as model:
        with pm.Model(name="sub"):
            w = pm.Flat("w", shape=(3, 4))
            pm.Deterministic("hid1", pt.sigmoid(X @ w))
        pm.Flat("w", shape=(3, 4))
        regkit_pymc.regularize(
            hidden_l1=dict(weight=1, pattern="sub::hid*"), weight_l1=dict(weight=1, pattern="sub::w")
        )
    expected = -(sigmoid(X @ W1).sum() + np.abs(W1).sum())
    assert potential(model, {"sub::w": W1, "w": W1}) == pytest.approx(expected, rel=1e-12)


def test_a_nested_model_is_regularized_by_itself_under_names_of_its_own():
    with pm.Model() as model:
        pm.Flat("w", shape=(3, 4))
        with pm.Model(name="sub"):
            pm.Flat("w", shape=(3, 4))
            regkit_pymc.regularize(weight_l1=1)
    assert [p.name for p in model.potentials] == ["sub::regkit"]
    assert potential(model, {"sub::w": W1, "w": 0 * W1}) == pytest.approx(-np.abs(W1).sum(), rel=1e-12)


def test_contractive_by_data_is_the_closed_form():
    slope = sigmoid(X @ W1) * (1 - sigmoid(X @ W1))
    expected = -0.5 * ((slope[:, None, :] * W1) ** 2).sum()
    model = network(contractive=dict(weight=0.5, pattern="hid1", wrt="x"))
    assert potential(model) == pytest.approx(expected, rel=1e-12)


def test_contractive_by_a_deterministic_is_the_closed_form():
    model = network(contractive=dict(weight=0.5, pattern="mu", wrt="hid1"))
    assert potential(model) == pytest.approx(-0.5 * len(X) * (W2**2).sum(), rel=1e-12)


def test_a_pattern_of_outputs_leaves_data_out():
    both = np.abs(sigmoid(X @ W1)).sum() + np.abs(sigmoid(X @ W1) @ W2 + B2).sum()
    assert potential(network(hidden_l1=dict(weight=1, pattern="*"))) == pytest.approx(-both / 2, rel=1e-12)


def test_a_glob_that_begins_with_an_exclamation_mark_takes_a_deterministic_out():
    model = network(hidden_l1=dict(weight=1, pattern=["*", "!mu"]))
    assert potential(model) == pytest.approx(-np.abs(sigmoid(X @ W1)).sum(), rel=1e-12)


def test_a_live_weight_changes_the_logp_without_compiling_again():
    weight = regkit.Live(0.5)
    logp = network(weight_l1=weight).compile_logp()
    before = float(logp(POINT))
    weight.set(2)
    assert before - float(logp(POINT)) == pytest.approx(1.5 * (np.abs(W1).sum() + np.abs(W2).sum()) / 2, rel=1e-9)


def test_nuts_samples_and_records_the_terms():
    with network(hidden_l1=dict(weight=0.1, pattern="hid1"), weight_l2=0.5):
        samples = pm.sample(
            draws=4, tune=4, chains=1, cores=1, random_seed=1, progressbar=False, compute_convergence_checks=False
        )
    posterior = samples.posterior
    assert posterior["w1"].shape == (1, 4, 3, 4)
    assert len(np.unique(posterior["w1"].values[0, :, 0, 0])) > 1
    expected = 0.1 * np.abs(posterior["hid1"].values).sum(axis=(2, 3))
    np.testing.assert_allclose(posterior["regkit::hidden_l1"].values, expected, rtol=1e-12)


def test_advi_fits_and_samples():
    with network(hidden_l1=dict(weight=0.1, pattern="hid1"), weight_l2=0.5):
        fit = pm.fit(5, method="advi", random_seed=1, progressbar=False)
        samples = fit.sample(3, random_seed=1)
    assert np.isfinite(fit.hist).all()
    assert samples.posterior["w1"].shape == (1, 3, 3, 4)


def test_a_sum_over_a_minibatch_is_scaled_by_the_weight_and_a_mean_over_its_examples_by_the_number_of_all():
    same = np.repeat(X[:1], 20, axis=0)  # whichever rows are drawn, the values are the same
    values = []
    for options in (dict(weight=0.1 * 20 / 5), dict(weight=0.1 * 20, reduction="batch")):
        with pm.Model() as model:
            w = pm.Flat("w", shape=(3, 4))
            pm.Deterministic("hid1", pt.sigmoid(pm.Minibatch(same, batch_size=5) @ w))
            regkit_pymc.regularize(hidden_l1=dict(pattern="hid1", **options))
        values.append(potential(model, {"w": W1}))
    assert values == pytest.approx([-0.1 * sigmoid(same @ W1).sum()] * 2, rel=1e-12)


def test_prior_predictive_draws_do_not_know_of_the_penalty_and_pymc_says_so():
    model = coefficients([(2, 2)], lambda name, shape: pm.Normal(name, shape=shape), weight_l1=1e6)
    with pytest.warns(UserWarning, match="effect of Potentials on other parameters is ignored"):
        samples = pm.sample_prior_predictive(draws=100, model=model, random_seed=3)
    assert samples.prior["w0"].std() > 0.5


def test_an_empty_call_adds_nothing():
    model = network()
    assert model.potentials == []
    assert [variable.name for variable in model.deterministics] == ["hid1", "mu"]


# What is refused


@pytest.mark.parametrize("alias", ["hidden_l1", "contractive"])
def test_a_regularizer_of_outputs_without_a_pattern_is_asked_for_one(alias):
    with pytest.raises(regkit.OptionError) as error:
        network(**{alias: 0.1})
    assert str(error.value) == (
        f"{alias}: {regkit.load(alias).__name__} needs a pattern. A PyMC model does not define which deterministics "
        f"are layers. Name some: {alias}=dict(weight=..., pattern='hid1'). There is: hid1, mu"
    )


def test_contractive_without_wrt_is_asked_for_it():
    with pytest.raises(regkit.NoMatchError) as error:
        network(contractive=dict(weight=0.1, pattern="hid1"))
    assert str(error.value) == (
        "contractive: the output of the first layer, '(model)', is not among the outputs: hid1. Pass wrt"
    )


def test_a_pattern_that_names_data_is_told_that_they_are_left_out():
    with pytest.raises(regkit.NoMatchError) as error:
        network(hidden_l1=dict(weight=0.1, pattern="x"))
    assert str(error.value) == (
        "hidden_l1: pattern 'x' matches none of the outputs: hid1, mu. Patterns select no data, so these are left "
        "out: x"
    )


def test_members_that_change_graphs_are_refused_by_name_with_the_reason():
    with pytest.raises(regkit.GraphError) as error:
        network(weight_l2=0.1, hidden_noise=0.1, dropout=[dict(weight=0.1, pattern="hid1")] * 2)
    assert str(error.value) == (
        "hidden_noise, dropout, dropout[1]: a PyMC model has one graph, for fitting and for predictions, and its logp "
        "has no draws in it, so no outputs can be changed. Leave these out"
    )


def test_members_that_act_after_a_step_are_refused_by_name():
    with pytest.raises(regkit.GraphError) as error:
        network(weight_nonnegative=1, weight_l1=dict(weight=0.1, by="proximal"))
    assert str(error.value) == (
        "weight_nonnegative, weight_l1 act on parameters after an optimizer's step, and a PyMC model is not trained in "
        "steps. Leave them out"
    )


def test_a_call_without_a_model_says_where_to_call():
    with pytest.raises(regkit.GraphError) as error:
        regkit_pymc.regularize(weight_l2=0.1)
    assert str(error.value) == (
        "regularize got no model on the context stack. Call it within `with pm.Model():`, after the deterministics "
        "that patterns name, or pass model="
    )


def test_what_is_not_a_model_or_not_a_name_is_refused():
    with pytest.raises(regkit.GraphError, match=r"^regularize got model='m'\. Call it within"):
        regkit_pymc.regularize(model="m", weight_l2=0.1)
    with pytest.raises(regkit.OptionError, match=r"^regularize got name=3; accepted: a string that is not empty$"):
        regkit_pymc.regularize(model=network(), name=3, weight_l2=0.1)


def test_a_misspelt_alias_is_answered_with_the_suggestion():
    with pytest.raises(regkit.UnknownAliasError, match=r"provides 'hiden_l1'\. Did you mean 'hidden_l1'\?"):
        network(hiden_l1=0.1)


def test_a_second_call_of_one_name_is_refused_and_leaves_the_model_as_it_was():
    model = network(weight_l2=0.1)
    before = list(model.named_vars)
    with pytest.raises(regkit.OptionError) as error:
        regkit_pymc.regularize(model=model, weight_l1=0.1)
    assert str(error.value) == (
        "the model has 'regkit' already. Regularize a model in one call, or give a further call another name, "
        "such as name='regkit2'"
    )
    assert list(model.named_vars) == before


def test_a_second_call_of_another_name_does_not_see_the_terms_of_the_first():
    model = network(hidden_l1=dict(weight=0.1, pattern="hid1"))
    (term,) = regkit_pymc.regularize({"hidden_l1": dict(weight=1, pattern="*")}, name="more", model=model)
    hidden = sigmoid(X @ W1)
    expected = (np.abs(hidden).sum() + np.abs(hidden @ W2 + B2).sum()) / 2
    assert [p.name for p in model.potentials] == ["regkit", "more"]
    assert potential(model) == pytest.approx(-expected - 0.1 * np.abs(hidden).sum(), rel=1e-12)
    assert term.weight == 1


@pytest.mark.parametrize(
    "changed",
    [
        lambda model: pm.do(model, {"b2": B2}),
        lambda model: pm.observe(model, {"b2": B2}),
        clone_model,
        lambda model: clone_model(clone_model(model)),
    ],
    ids=["do", "observe", "clone", "clone of a clone"],
)
def test_terms_are_not_outputs_of_models_that_pymc_makes_of_this_one(changed):
    model = changed(network(hidden_l1=dict(weight=0.1, pattern="hid1"), weight_l2=0.2))
    assert {"regkit::hidden_l1", "regkit::weight_l2"} < {variable.name for variable in model.deterministics}
    regkit_pymc.regularize({"hidden_l1": dict(weight=1, pattern="*")}, name="more", model=model)
    point = {name: value for name, value in POINT.items() if name in {rv.name for rv in model.free_RVs}}
    hidden = sigmoid(X @ W1)
    expected = (np.abs(hidden).sum() + np.abs(hidden @ W2 + B2).sum()) / 2
    found = model.compile_logp(vars=[model["more"]])(point)
    assert float(found) == pytest.approx(-expected, rel=1e-12)


def test_a_penalty_that_fails_leaves_the_model_as_it_was():
    model = network()
    before = list(model.named_vars)
    with pytest.raises(regkit.NoMatchError):
        regkit_pymc.regularize(model=model, weight_l2=0.1, hidden_l1=dict(weight=1, pattern="hid9"))
    assert list(model.named_vars) == before


@pytest.mark.subprocess
@pytest.mark.parametrize("version", ["5.28.5", "6.3.9", "7.0.0rc1"])
def test_a_pymc_that_was_not_tried_is_refused_when_the_plugin_is_imported(version, tmp_path):
    installed = tmp_path / f"pymc-{version}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pymc\nVersion: {version}\n")
    ran = subprocess.run(
        [sys.executable, "-c", "import regkit_pymc"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr.splitlines()[-1] == (
        f"ImportError: regkit-pymc works with PyMC from 6.4 to below 7, and {version} is installed: "
        "pip install 'pymc>=6.4,<7'"
    )


def test_the_versions_that_are_checked_are_those_that_pip_is_told():
    declared = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"pymc>={regkit_pymc.OLDEST},<{regkit_pymc.BELOW}" in declared


def test_the_examples_of_docstrings_are_true():
    modules = [sys.modules[f"regkit_pymc.{name}"] for name in ("_regularize", "_prior")]
    assert [tuple(doctest.testmod(module)) for module in modules] == [(0, 5), (0, 6)]
