"""dtypes stay as they are, and weights can live in the graph."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import regkit


class Sum(regkit.Regularizer):
    """The sum of one output, so that expected values can be seen."""

    def loss(self, outputs):
        ((_, output),) = regkit.select_outputs(outputs, self.pattern or "*")
        return output.sum()


WEIGHTS = {
    "python": lambda lib: 0.1,
    "numpy64": lambda lib: np.float64(0.1),
    "numpy32": lambda lib: np.float32(0.1),
    "integer": lambda lib: 2,
    "shared64": lambda lib: lib.shared(np.float64(0.1)),
    "shared32": lambda lib: lib.shared(np.float32(0.1)),
}


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_has_the_penaltys_dtype_whatever_the_weight(lib, floatX, dtype, weight):
    z = lib.tensor("z", dtype)
    loss = regkit.build(label=Sum(weight=WEIGHTS[weight](lib))).loss([], {"hid1:out": z})
    assert loss.dtype == dtype
    value = lib.evaluate(loss, z=np.array([[1.0, 2.0]], dtype))
    assert value.dtype == dtype
    assert value == pytest.approx(6 if weight == "integer" else 0.3, rel=1e-6)


def test_an_integer_penalty_becomes_floatx_before_it_meets_its_weight(lib, floatX):
    z = lib.tensor("z", "int32")
    loss = regkit.build(label=Sum(weight=0.1)).loss([], {"hid1:out": z})
    assert loss.dtype == floatX
    assert lib.evaluate(loss, z=np.array([[1, 2]], "int32")) == pytest.approx(0.3)


def test_a_constant_that_a_plugin_works_out_leaves_the_dtype_of_the_rest(lib):
    class Constant(regkit.Regularizer):
        def loss(self):
            return 2.5

    z = lib.tensor("z", "float32")
    loss = regkit.build(a=Constant(weight=2), b=Sum(weight=1)).loss([], {"hid1:out": z})
    assert loss.dtype == "float32"
    assert lib.evaluate(loss, z=np.ones((1, 2), "float32")) == 7
    assert lib.function([], regkit.build(a=Constant(weight=2)).loss([], {"hid1:out": z}))() == 5


def test_a_live_weight_of_a_constant_penalty_stays_live_and_leaves_dtypes(lib):
    class Constant(regkit.Regularizer):
        def loss(self):
            return 2.0

    weight = lib.shared(np.float64(1.0))
    z = lib.tensor("z", "float32")
    loss = regkit.build(a=Constant(weight=weight), b=Sum(weight=1)).loss([], {"hid1:out": z})
    assert loss.dtype == "float32"
    step = lib.function([z], loss)
    assert step(np.ones((1, 2), "float32")) == 4
    weight.set_value(10.0)
    assert step(np.ones((1, 2), "float32")) == 22
    eager = regkit.build(a=Constant(weight=1), b=Sum(weight=1)).loss([], {"hid1:out": np.ones(2, "float32")})
    assert (eager, eager.dtype) == (4, "float32")


def test_a_shared_weight_is_live(lib):
    weight = lib.shared(np.float64(0.5), name="weight")
    z = lib.tensor("z")
    step = lib.function([z], regkit.build(label=Sum(weight=weight)).loss([], {"hid1:out": z}))
    assert step(np.ones((2, 2))) == 2
    weight.set_value(0.25)
    assert step(np.ones((2, 2))) == 1


def test_a_symbolic_weight_is_an_input_of_the_function(lib):
    weight = lib.tensor("weight", ndim=0)
    z = lib.tensor("z")
    step = lib.function([z, weight], regkit.build(label=Sum(weight=weight)).loss([], {"hid1:out": z}))
    assert step(np.ones((2, 2)), 0.5) == 2
    assert step(np.ones((2, 2)), 0.25) == 1


def test_a_live_weight_is_written_down_and_logged(lib):
    weight = lib.shared(np.float64(0.5), name="strength")
    regs = regkit.build(hidden_l1=weight)
    assert repr(regs) == "build(hidden_l1=strength)"
    weight.set_value(0.25)
    assert regs.config()["hidden_l1"]["weight"] == 0.25
    with pytest.raises(regkit.OptionError, match="cannot be written down: .* is symbolic"):
        regkit.build(hidden_l1=lib.tensor("w", ndim=0)).config()
    assert regkit.build(hidden_l1=weight * 2).config()["hidden_l1"]["weight"] == 0.5


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda regs: pickle.loads(pickle.dumps(regs))])
def test_a_set_with_a_live_weight_can_be_copied_and_pickled(lib, copied):
    regs = regkit.build(hidden_l1=dict(weight=lib.shared(np.float64(0.5)), pattern="hid*"))
    z = lib.tensor("z")
    regs.loss([], {"hid1:out": z})
    again = copied(regs)
    assert again.config() == regs.config()
    assert lib.evaluate(again.loss([], {"hid1:out": z}), z=np.ones((2, 2))) == 2


def test_a_live_weight_has_its_present_value_for_arrays(lib):
    weight = lib.shared(np.float64(0.5))
    regs = regkit.build(label=Sum(weight=weight))
    assert regs.loss([], {"hid1:out": np.ones((2, 2), "float32")}) == 2
    assert regs.loss([], {"hid1:out": np.ones((2, 2), "float32")}).dtype == "float32"


def test_a_weight_that_is_no_scalar_is_refused(lib):
    with pytest.raises(
        regkit.GraphError, match="alias 'hidden_l1': HiddenL1 got weight=w of type .*; accepted: a finite"
    ):
        regkit.build(hidden_l1=lib.tensor("w", ndim=1))
    with pytest.raises(regkit.GraphError, match="alias 'hidden_l1': HiddenL1 got weight=w of type"):
        regkit.build(hidden_l1=lib.shared(np.zeros(3), name="w"))


def test_a_weight_that_is_no_real_number_is_refused(lib):
    with pytest.raises(regkit.OptionError, match="HiddenL1 got weight=.*complex128.*; accepted: a finite real"):
        regkit.build(hidden_l1=lib.shared(np.complex128(1j)))


def test_arrays_and_expressions_cannot_be_outputs_of_one_call(lib):
    outputs = {"hid1:out": lib.tensor("z"), "hid2:out": np.ones((2, 2))}
    with pytest.raises(regkit.GraphError) as error:
        regkit.build(label=Sum("hid1:out", 1)).loss([], outputs)
    assert str(error.value) == (
        f"'hid1:out' is an expression of {lib.name} and 'hid2:out' one of numpy. "
        "Expressions of different libraries cannot be in one graph"
    )


def test_a_penalty_that_is_no_scalar_is_named_with_its_type(lib):
    class Vector(regkit.Regularizer):
        def loss(self, outputs):
            return outputs["hid1:out"].sum(axis=0)

    with pytest.raises(regkit.GraphError, match="bad: Vector returned a penalty of type .*; a penalty is a scalar"):
        regkit.build(bad=Vector(weight=1)).loss([], {"hid1:out": lib.tensor("z")})
