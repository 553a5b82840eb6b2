"""Which methods are hooks, with which arguments, and how pluggy calls them."""

from __future__ import annotations

import functools
import inspect
import logging

import numpy as np
import pytest

import regkit
from regkit._regularizer import HOOKS

LOSS = "Expected loss(self, layers, outputs), or fewer of these arguments"


def refused(cls) -> str:
    """What is said of a class when it is first used, without its name."""
    with pytest.raises(regkit.HookSignatureError) as error:
        regkit.build(label=cls())
    return str(error.value).replace(f"{cls.__module__}.{cls.__qualname__}", "C")


def make(**methods):
    """A regularizer class with these methods."""
    return type("C", (regkit.Regularizer,), methods)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda self, layer: 0, f"C.loss has unknown argument 'layer'. {LOSS}"),
        (lambda self, layers, outputs=None: 0, f"C.loss has argument 'outputs' with a default. {LOSS}"),
        (lambda self, *args: 0, f"C.loss has *args. {LOSS}"),
        (lambda self, **kwargs: 0, f"C.loss has **kwargs. {LOSS}"),
        (lambda self, *, outputs: 0, f"C.loss has keyword-only argument 'outputs'. {LOSS}"),
        (lambda: 0, f"C.loss has no self. {LOSS}"),
        (lambda self, a, b=1, *c, d, **e: 0, "C.loss has argument 'b' with a default, unknown argument 'a', "
         f"keyword-only argument 'd', *c, **e. {LOSS}"),
        (3, "C.loss is 3. Write it as a method: loss(self, layers, outputs)"),
    ],
)  # fmt: skip
def test_a_hook_with_other_arguments_is_refused_in_words(loss, said):
    assert refused(make(loss=loss)) == said


def test_a_class_that_overrides_nothing_is_refused():
    assert refused(make(penalty=lambda self: 0)).startswith("C has no hook. Override one of modify_graph(")


def test_a_marked_method_that_is_no_hook_is_refused():
    class Marked:
        @regkit.hookimpl
        def lose(self, layers, outputs):
            """Misspelt."""

    assert refused(Marked) == (
        "C marks 'lose', which is not a hook. The hooks are modify_graph(self, outputs, layers), "
        "loss(self, layers, outputs), after_step(self, params, amount, layers, divisors), "
        "metrics(self, layers, outputs), log(self)"
    )


@pytest.mark.parametrize("option", ["tryfirst", "trylast", "wrapper", "hookwrapper", "optionalhook"])
def test_ordering_and_wrapper_options_are_refused(option):
    assert refused(make(loss=regkit.hookimpl(lambda self: 0, **{option: True}))) == (
        f"C.loss is marked with {option}. "
        "Use @regkit.hookimpl without options: regularizers run in the order the user wrote"
    )


def test_a_marked_class_of_any_base_is_a_regularizer(network):
    class Duck:
        weight = 0.5

        @regkit.hookimpl
        def loss(self, outputs):
            return outputs["hid1:out"].sum()

        def log(self):
            raise AssertionError("not marked, so no hook")

    layers, outputs = network
    regs = regkit.build(duck=Duck())
    regs.log()
    assert regs.loss(layers, outputs) == pytest.approx(0.5 * outputs["hid1:out"].sum())


class Mixin:
    def loss(self, outputs):
        return outputs["hid1:out"].sum()


def test_a_hook_of_a_base_counts_where_python_finds_it(network):
    before = type("Before", (Mixin, regkit.Regularizer), {})
    layers, outputs = network
    assert regkit.build(a=before(weight=1)).loss(layers, outputs) == pytest.approx(outputs["hid1:out"].sum())
    behind = type("Behind", (regkit.Regularizer, Mixin), {})
    assert "has no hook" in refused(behind)


def test_a_marked_hook_that_is_overridden_without_a_mark_is_refused():
    class Base:
        @regkit.hookimpl
        def loss(self):
            return 1.0

    class C(Base):
        def loss(self):
            return 2.0

    assert refused(C) == "C.loss overrides a hook. Mark it too with @regkit.hookimpl"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda outputs: {**outputs}, "a: modify_graph of C returned .*, and has to change the outputs in place"),
        (lambda outputs: outputs.clear(), "a: modify_graph of C took 'hid1:out' away. A changed output keeps its name"),
        (
            lambda outputs: outputs.update({"hid1:out": None}),
            "'hid1:out': None of type builtins.NoneType is not an expr",
        ),
    ],
)
def test_a_hook_that_does_not_change_the_outputs_in_place_is_refused(change, said):
    regs = regkit.build(a=make(modify_graph=lambda self, outputs: change(outputs))())
    with pytest.raises(regkit.GraphError, match=said):
        regs.modify_graph({"hid1:out": np.ones(2)})


def test_what_a_plugin_says_wrong_still_shows_the_plugins_line(network):
    def loss(self, outputs):
        return regkit.select_outputs(outputs, "nothing")

    with pytest.raises(regkit.NoMatchError, match="a: pattern 'nothing' matches none") as error:
        regkit.build(a=make(loss=loss)(weight=1)).loss(*network)
    assert any(entry.frame.code.name == "loss" and __file__ in str(entry.path) for entry in error.traceback)


def test_hooks_take_any_of_their_arguments_in_any_order_and_through_decorators(network):
    layers, outputs = network
    given = {}

    def noisy(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)

        return wrapper

    class Swapped(regkit.Regularizer):
        def modify_graph(self, layers, outputs):
            given["modify_graph"] = (layers, dict(outputs))

        @noisy
        def loss(self, outputs, layers):
            given["loss"] = (layers, outputs)

        @staticmethod
        def log():
            given["log"] = True

    regs = regkit.build(label=Swapped())
    regs.modify_graph({"hid1:out": outputs["hid1:out"]}, layers)
    assert regs.loss(layers, outputs) == 0
    regs.log()
    assert given["modify_graph"] == (layers, {"hid1:out": outputs["hid1:out"]})
    assert given["loss"][0] is layers
    assert given["loss"][1] == outputs
    assert given["log"]


def test_regularizers_that_compare_equal_keep_their_own_results_in_the_users_order(network):
    class Constant(regkit.Regularizer):
        def __init__(self, value, weight=1.0):
            super().__init__(None, weight)
            self.value = value

        def __eq__(self, other):
            return True

        __hash__ = None

        def loss(self):
            return self.value

    regs = regkit.build(label=[Constant(3.0), Constant(None), Constant(1.0), Constant(2.0)])
    assert [(term.name, term.penalty) for term in regs.terms(*network)] == [
        ("label", 3.0), ("label[2]", 1.0), ("label[3]", 2.0),
    ]  # fmt: skip


def test_modify_graph_runs_in_the_users_order_in_place(network):
    class Append(regkit.Regularizer):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def modify_graph(self, outputs):
            outputs["hid1:out"] = outputs["hid1:out"] * 10 + self.value

    outputs = {"hid1:out": np.array(0.0)}
    regkit.build(b=Append(1), a=Append(2), c=[Append(3), Append(4)]).modify_graph(outputs)
    assert outputs["hid1:out"] == 1234


def test_log_is_one_info_record_each_in_order(caplog):
    class Custom(regkit.Regularizer):
        def log(self):
            logging.getLogger("acme").info("mine")

    with caplog.at_level(logging.INFO):
        regkit.build(
            hidden_l1=[dict(weight=0.1, pattern="hid3:out"), 1, dict(weight=2, pattern=["hid1:*", "hid2:*"])],
            c=Custom(),
        ).log()
    assert caplog.record_tuples == [
        ("regkit", logging.INFO, "regularizer: 0.1 * HiddenL1(hid3:out) [hidden_l1, reduction=sum]"),
        ("regkit", logging.INFO, "regularizer: 1 * HiddenL1(all hidden layers) [hidden_l1[1], reduction=sum]"),
        ("regkit", logging.INFO, "regularizer: 2 * HiddenL1(hid1:*, hid2:*) [hidden_l1[2], reduction=sum]"),
        ("acme", logging.INFO, "mine"),
    ]


def test_a_symbolic_weight_is_logged_as_it_is_and_a_shared_one_with_its_value(lib, caplog):
    shared = lib.shared(np.asarray(0.25))
    with caplog.at_level(logging.INFO):
        regkit.build(
            a=regkit.load("hidden_l1")("h", shared), b=regkit.load("hidden_l1")("h", lib.tensor("w", ndim=0))
        ).log()
    assert caplog.messages == [
        "regularizer: 0.25 (live) * HiddenL1(h) [a, reduction=sum]",
        "regularizer: w * HiddenL1(h) [b, reduction=sum]",
    ]


def test_a_log_of_odd_names_is_one_line(caplog):
    with caplog.at_level(logging.INFO):
        regkit.build({"two\nlines": regkit.load("hidden_l1")("h\n", 1)}).log()
    assert caplog.messages == [r"regularizer: 1 * HiddenL1(h\n) [two\nlines, reduction=sum]"]


def test_what_a_hook_raises_comes_out_as_it_is(network):
    class Failing(regkit.Regularizer):
        def loss(self):
            raise ZeroDivisionError("in the plugin")

    with pytest.raises(ZeroDivisionError, match="in the plugin"):
        regkit.build(label=Failing()).loss(*network)


def test_the_specifications_are_the_hooks_that_a_regularizer_has():
    for name, arguments in HOOKS.items():
        assert tuple(inspect.signature(getattr(regkit.Regularizer, name)).parameters) == ("self", *arguments)


def test_a_hook_for_which_the_adapter_has_no_method_keeps_sets_from_starting(monkeypatch):
    monkeypatch.setitem(HOOKS, "anew", ("outputs",))
    with pytest.raises(regkit.HookSignatureError, match="the adapter has no method for the hook 'anew'"):
        regkit.build(hidden_l1=1).log()


def test_a_metric_may_be_a_plain_number():
    class Counting(regkit.Regularizer):
        def metrics(self, layers):
            return {"layers": len(layers), "share": 0.5}

    regs = regkit.build(counting=Counting())
    assert regs.metrics([regkit.Layer("hid")], {}) == {"counting.layers": 1, "counting.share": 0.5}
