"""What hosts ask of a set: which outputs a member has to be shown, and the set with other weights."""

from __future__ import annotations

import numpy as np
import pytest

import regkit
from regkit import hosts


class Between(regkit.Regularizer):
    """A penalty of outputs, and of one that another option names."""

    def __init__(self, pattern=None, weight=0.0, wrt="in"):
        super().__init__(pattern, weight)
        self.wrt = wrt

    def loss(self, outputs):
        return 0.0


class Marked:
    """A class that does not say which outputs it looks at."""

    @regkit.hookimpl
    def loss(self, outputs):
        return 0.0

    def __repr__(self):
        return "Marked()"


class OfWeights(regkit.Regularizer):
    selects = "params"

    def loss(self, layers):
        return 0.0


WANTED = [
    (Between("hid*"), {"hid1": True, "in": True, "out": False}),
    (Between("hid1@1"), {"hid1": True, "hid2": False}),
    (Between("*@1"), {"hid1": True}),
    (Between(["hid*", "!hid2"]), {"hid1": True, "hid2": False, "out": False}),
    (Between(["hid*", "!hid2@1"]), {"hid2": True, "out": False}),
    (Between("!hid2"), {"hid1": True, "hid2": False}),
    (Marked(), {"hid1": True}),
    (OfWeights("hid*"), {"hid1": False}),
]


@pytest.mark.parametrize(("regularizer", "wanted"), WANTED, ids=repr)
def test_a_member_wants_outputs_that_it_looks_at_and_those_before_a_later_one(regularizer, wanted):
    (member,) = hosts.members(regkit.build(a=regularizer), "test")
    assert {name: member.wants(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("regularizer", "wanted"),
    [(Between("hid*"), ["hid1", "in"]), (Between("!hid2"), ["in"]), (Marked(), []), (OfWeights("hid*"), [])],
    ids=repr,
)
def test_an_output_that_is_not_of_floats_is_wanted_if_an_option_names_it(regularizer, wanted):
    (member,) = hosts.members(regkit.build(a=regularizer), "test")
    assert [name for name in ("hid1", "in", "out") if member.wants(name, floats=False)] == wanted


def test_a_set_with_other_weights_has_the_same_names_and_leaves_the_first_as_it_was():
    regs = regkit.build(hidden_l1=[dict(weight=0.1, pattern="a"), dict(weight=regkit.Live(0.2), pattern="a")])
    second = hosts.subset(regs, ["hidden_l1[1]"])
    changed = hosts.with_weights(second, {"hidden_l1[1]": 3.0})
    outputs = {"a": np.array([1.0, -1.0])}
    assert [(term.name, term.weight, term.weighted) for term in changed.terms(outputs)] == [("hidden_l1[1]", 3.0, 6.0)]
    assert [float(term.weighted) for term in regs.terms(outputs)] == pytest.approx([0.2, 0.4])


def test_a_weight_that_a_class_does_not_accept_is_refused_where_it_is_used():
    regs = hosts.with_weights(regkit.build(hidden_l1=dict(weight=1, pattern="a")), {"hidden_l1": -1.0})
    with pytest.raises(regkit.OptionError, match="hidden_l1: HiddenL1 got weight=-1.0; accepted: a finite real number"):
        regs.loss({"a": np.ones(2)})


@pytest.mark.parametrize("call", [lambda regs: regs.apply({}), lambda regs: regs.regularize([])])
def test_no_outputs_are_an_error_for_a_set_that_changes_graphs(call):
    regs = regkit.build(dropout=dict(weight=0.5, pattern="hid"))
    with pytest.raises(regkit.NoMatchError, match="dropout: pattern 'hid' matches none of the outputs: none"):
        call(regs)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["lstm", "out"]),
        (["*", "!out"], ["lstm"]),
        ("lstm:0", ["lstm"]),
        ("out:0", ["out"]),
        ("hid*", []),
        (["hid*", "!lstm"], []),
    ],
)
def test_modules_that_were_not_called_are_those_that_a_pattern_matches(pattern, expected):
    regs = regkit.build(hidden_l1=dict(weight=1, pattern=pattern), weight_l2=dict(weight=1, pattern="out"))
    members = hosts.members(regs, "watch")
    assert hosts.uncalled(members, ["hid1", "hid2", "lstm", "out"], ["hid1", "hid2:0", "hid2:1"]) == expected


def test_calls_of_a_class_are_stood_in_for_until_the_last_block_ends():
    class Base:
        def __call__(self, x):
            return 2 * x

    class Derived(Base):
        pass

    seen, before = [], Base.__call__
    calls = hosts.Calls(lambda module, call: (seen.append(type(module)), call())[1])
    first, second = calls.of([Derived]), calls.of([Base])
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Derived()(3) == 6
    second.__exit__(None, None, None)
    assert seen == [Derived]
    assert Base.__call__ is before
    assert "__call__" not in vars(Derived)
    assert hosts.Calls.owner(int) is None
