"""HiddenKL keeps regkit's promises, and computes what Ng's notes say."""

import numpy as np
import pytest
from acme_sparsity import HiddenKL

import regkit
import regkit.testing


def kl(rho, mean):
    """KL divergence of two Bernoulli distributions."""
    return rho * np.log(rho / mean) + (1 - rho) * np.log((1 - rho) / (1 - mean))


def twin(regularizer, layers, outputs):
    """The penalty in NumPy, from the formula; `selected` gives the outputs that the pattern means."""
    selected = regkit.testing.selected(regularizer, layers, outputs).values()
    units = [z.reshape(-1, z.shape[-1]) for z in selected]
    return np.mean([sum(kl(regularizer.rho, mean) for mean in unit.mean(axis=0)) for unit in units])


test_promises = regkit.testing.pytest_checks("acme_kl", twin=twin, network=regkit.testing.Network("sigmoid"))
test_promises_in_time = regkit.testing.pytest_checks(
    "acme_kl", twin=twin, network=regkit.testing.Network("sigmoid", axes=3), options={"rho": 0.2}
)


def test_units_at_their_target_cost_nothing_and_others_what_the_formula_says():
    outputs = {"hid1": np.array([[0.1, 0.5], [0.3, 0.5]])}
    penalty = HiddenKL("hid1", rho=0.2).loss([], outputs)
    assert penalty == pytest.approx(0.2 * np.log(0.2 / 0.5) + 0.8 * np.log(0.8 / 0.5))


def test_it_is_built_from_its_alias_like_any_other():
    regs = regkit.build(acme_kl=dict(weight=3, rho=0.1, pattern="hid1"))
    assert repr(regs) == "build(acme_kl=dict(weight=3, pattern='hid1', rho=0.1))"


@pytest.mark.parametrize("rho", [0, 1, 0.0, 1.0, -0.1, "0.1", None, True])
def test_a_target_that_is_no_share_is_refused(rho):
    with pytest.raises(regkit.OptionError, match="accepted: a float between 0 and 1"):
        HiddenKL(rho=rho)
