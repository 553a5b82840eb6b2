"""Penalties of parameters: the formulas with their reductions, what is selected, and every promise of a regularizer."""

from __future__ import annotations

import numpy as np
import pytest
from regkit_weights import ElasticNet, GroupLasso, WeightL1, WeightL2

import regkit
import regkit.testing


class Param(np.ndarray):
    name = None


def param(name, values):
    value = np.asarray(values).view(Param)
    value.name = name
    return value


W = param("hid1.w", [[3.0, -4.0], [0.0, 0.0]])
V = param("out.w", [[1.0], [2.0]])
LAYERS = [
    regkit.Layer("in:out"),
    regkit.Layer("hid1:out", [W, param("hid1.b", [5.0, 5.0])]),
    regkit.Layer("out:out", [V]),
]


def divided(values, w, reduction):
    return np.sum(values) / {"sum": 1, "mean": np.size(values), "batch": w.shape[0]}[reduction]


def of_each(penalty):
    """A twin of the network of the checks, from the penalty of one array."""

    def twin(regularizer, layers, outputs):
        params = regkit.testing.selected(regularizer, layers).values()
        return np.mean([penalty(regularizer, param) for param in params if param.ndim > 1])

    return twin


l1 = of_each(lambda self, w: divided(np.abs(w), w, self.reduction))
l2 = of_each(lambda self, w: divided(w**2, w, self.reduction))
elastic = of_each(
    lambda self, w: divided(self.l1_ratio * np.abs(w) + (1 - self.l1_ratio) / 2 * w**2, w, self.reduction)
)
groups = of_each(
    lambda self, w: divided(np.sqrt(w.shape[1 - self.axis]) * np.linalg.norm(w, axis=1 - self.axis), w, self.reduction)
)

test_promises_of_weight_l1 = regkit.testing.pytest_checks("weight_l1", twin=l1)
test_promises_of_weight_decay = regkit.testing.pytest_checks("weight_decay", twin=l2, options={"reduction": "mean"})
test_promises_of_elastic_net = regkit.testing.pytest_checks("elastic_net", twin=elastic, options={"l1_ratio": 0.3})
test_promises_of_group_lasso = regkit.testing.pytest_checks("group_lasso", twin=groups, options={"axis": 1})


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        (WeightL1(), (7 + 3) / 2),
        (WeightL1("hid1.*"), 7),
        (WeightL1(reduction="mean"), (7 / 4 + 3 / 2) / 2),
        (WeightL1(reduction="batch"), (7 / 2 + 3 / 2) / 2),
        (WeightL2(), (25 + 5) / 2),
        (WeightL2("out.w", reduction="mean"), 5 / 2),
        (ElasticNet("hid1.w", l1_ratio=0.25), 0.25 * 7 + 0.75 / 2 * 25),
        (GroupLasso("hid1.w"), np.sqrt(2) * 5),
        (GroupLasso("hid1.w", axis=1), np.sqrt(2) * (3 + 4)),
        (GroupLasso("hid1.w", axis=1, reduction="mean"), np.sqrt(2) * (3 + 4) / 2),
    ],
)
def test_examples_worked_by_hand(regularizer, expected):
    assert regularizer.loss(LAYERS) == pytest.approx(expected, rel=1e-12)


def test_a_group_of_zeros_has_a_gradient_of_zero(lib):
    w = lib.tensor("hid1.w")
    penalty = GroupLasso().loss([regkit.Layer("hid1:out", [w])])
    gradient = lib.evaluate(lib.grad(penalty, w), **{"hid1.w": np.asarray(W)})
    np.testing.assert_allclose(gradient, np.sqrt(2) * np.array([[0.6, -0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("regularizer", [WeightL2("hid?.b"), GroupLasso("hid?.b")])
def test_biases_alone_are_an_error_that_names_them(regularizer):
    with pytest.raises(regkit.NoMatchError) as error:
        regularizer.loss(LAYERS)
    assert str(error.value) == "pattern 'hid?.b' matches only parameters without two dimensions: hid1.b"


def test_a_vector_counts_where_a_pattern_is_its_name():
    layers = [regkit.Layer("hid1:out", {"w": np.ones((1, 4)), "b": np.array([3.0, -4.0])})]
    assert WeightL1("b").loss(layers) == 7
    assert WeightL2(["w", "b"]).loss(layers) == (4 + 25) / 2
    assert ElasticNet("b", l1_ratio=0).loss(layers) == 12.5
    assert WeightL2("?").loss(layers) == WeightL2().loss(layers) == 4
    with pytest.raises(regkit.NoMatchError, match="matches only parameters without two dimensions: b"):
        GroupLasso("b").loss(layers)


def test_a_pattern_that_matches_nothing_names_the_parameters():
    with pytest.raises(regkit.NoMatchError, match=r"'hid9.w' matches none of the parameters: hid1.w, hid1.b, out.w"):
        WeightL1("hid9.w").loss(LAYERS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightL1(reduction="max"), "WeightL1 got reduction='max'; accepted: 'sum', 'mean', 'batch'"),
        (lambda: GroupLasso(reduction="batch"), "GroupLasso got reduction='batch'; accepted: 'sum', 'mean'"),
        (lambda: GroupLasso(axis=2), "GroupLasso got axis=2; accepted: 0, 1"),
        (lambda: GroupLasso(axis=1.0), "GroupLasso got axis=1.0; accepted: 0, 1"),
        (lambda: GroupLasso(axis=True), "GroupLasso got axis=True; accepted: 0, 1"),
        (lambda: ElasticNet(l1_ratio=1.5), "ElasticNet got l1_ratio=1.5; accepted: a finite real number from 0 to 1"),
    ],
)
def test_an_option_that_is_none_is_refused(make, message):
    with pytest.raises(regkit.OptionError) as error:
        make()
    assert str(error.value) == message


def test_a_ratio_of_numpys_floats_is_one_of_pythons():
    assert type(ElasticNet(l1_ratio=np.float32(0.5)).l1_ratio) is float


def test_parameters_without_a_name_count_beside_named_ones_and_are_named_by_their_place():
    unnamed = np.array([[10.0, 10.0]])
    layers = [regkit.Layer("hid1:out", [param("hid1.w", [[1.0, 1.0], [1.0, 1.0]]), unnamed])]
    assert WeightL2(reduction="sum").loss(layers) == (4 + 200) / 2
    assert WeightL2("hid1:out.param1").loss(layers) == 200


def test_an_axis_of_numpys_integers_is_one_of_pythons_so_that_a_config_can_hold_it():
    assert type(GroupLasso(axis=np.int64(1)).axis) is int


def test_a_tensor_of_four_dimensions_counts_like_a_matrix():
    filters = param("conv.w", np.arange(16.0).reshape(2, 2, 2, 2))
    assert WeightL1().loss([regkit.Layer("conv:out", [filters])]) == 120


#: What a norm is tried on beside 1: squares underflow, overflow; the smallest and largest that have a norm.
SIZES = {"float64": (1e-300, 1e-200, 1e200, 1e307), "float32": (1e-38, 1e-30, 1e30, 1e37), "float16": (1e-4, 1e3)}
#: How near a value of a dtype is to that in arithmetic of more bits.
NEAR = {"float64": 1e-6, "float32": 1e-5, "float16": 2e-3}
GROUPS = np.array([[1.0, 2.0, -2.0], [0.0, 0.0, 0.0], [-3.0, 0.0, 4.0]])


@pytest.mark.parametrize("dtype", SIZES)
def test_groups_of_any_size_have_their_norm_and_gradient(lib, dtype):
    w = lib.tensor("hid1.w", dtype)
    penalty = GroupLasso().loss([regkit.Layer("hid1:out", [w])])
    function = lib.function([w], [penalty, lib.grad(penalty, w)])
    for size in SIZES[dtype]:
        found, gradient = function((GROUPS * size).astype(dtype))
        assert found == pytest.approx(np.sqrt(3) * 8 * size, rel=NEAR[dtype], abs=0)
        expected = np.sqrt(3) * GROUPS / [[3], [1], [5]]
        np.testing.assert_allclose(gradient, expected, rtol=NEAR[dtype], atol=0)


def test_groups_of_any_size_have_their_norm_and_gradient_in_the_default_mode(lib):
    w = lib.tensor("hid1.w")
    penalty = GroupLasso().loss([regkit.Layer("hid1:out", [w])])
    function = lib.function([w], [penalty, lib.grad(penalty, w)], default_mode=True)
    for size in SIZES["float64"]:
        found, gradient = function(GROUPS * size)
        assert found == pytest.approx(np.sqrt(3) * 8 * size, rel=1e-6, abs=0)
        np.testing.assert_allclose(gradient, np.sqrt(3) * GROUPS / [[3], [1], [5]], rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", SIZES)
def test_groups_of_any_size_have_their_norm_in_arrays(dtype):
    for size in SIZES[dtype]:
        found = GroupLasso().loss([regkit.Layer("hid1:out", [param("hid1.w", (GROUPS * size).astype(dtype))])])
        assert found.dtype == ("float32" if dtype == "float16" else dtype)  # until it has its weight
        assert found == pytest.approx(np.sqrt(3) * 8 * size, rel=NEAR[dtype], abs=0)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_a_parameter_without_elements_counts_nothing(lib, axis, shape):
    w = lib.tensor("hid1.w")
    for reduction in ("sum", "mean"):
        regularizer = GroupLasso(axis=axis, reduction=reduction)
        assert regularizer.loss([regkit.Layer("hid1:out", [param("hid1.w", np.zeros(shape))])]) == 0
        penalty = regularizer.loss([regkit.Layer("hid1:out", [w])])
        assert lib.evaluate(penalty, **{"hid1.w": np.zeros(shape)}) == 0


@pytest.mark.parametrize(
    "regularizer",
    [WeightL1(), WeightL2(), ElasticNet(), WeightL2(reduction="mean"), ElasticNet(reduction="batch"), GroupLasso()],
)
def test_float16_gives_what_float64_gives(regularizer):
    rng = np.random.default_rng(4)
    halves = [param(name, rng.normal(size=(30, 40)).astype("float16")) for name in ("hid1.w", "hid2.w")]
    layers, wide = ([regkit.Layer("hid1:out", params)] for params in (halves, [twice(w) for w in halves]))
    found = regularizer.loss(layers)
    assert found.dtype == "float32"  # until it has its weight
    assert found == pytest.approx(regularizer.loss(wide), rel=NEAR["float16"])


def twice(w):
    """A parameter in float64."""
    return param(w.name, w.astype("float64"))


@pytest.mark.parametrize(
    ("regularizer", "value", "expected"),
    [
        (GroupLasso(reduction="mean"), 0.01, 3),  # sqrt(300) * sqrt(300 * 0.01^2)
        (WeightL2(reduction="mean"), 250, 62500),  # 300 * 300 squares of 62,500
        (ElasticNet(l1_ratio=0.0, reduction="mean"), 300, 45000),  # half of squares of 90,000
        (WeightL1(reduction="batch"), 1, 300),
    ],
)
def test_float16_counts_and_sums_beyond_its_largest_number(regularizer, value, expected):
    twins = [param(name, np.full((300, 300), value, "float16")) for name in ("hid1.w", "hid2.w")]
    assert regularizer.loss([regkit.Layer("hid1:out", twins)]) == pytest.approx(expected, rel=NEAR["float16"])


def test_parameters_without_a_name_count_beside_named_ones():
    layers = [regkit.Layer("hid1:out", [param("hid1.w", np.full((1, 4), 1.0)), np.full((1, 4), 10.0)])]
    assert WeightL2().loss(layers) == (4 + 400) / 2
