"""The conformance kit: a good regularizer passes, and each wrong one is caught first by the check meant for it."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import regkit
from regkit.testing import CHECKS, Network, check_regularizer, selected
from regkit.testing._run import Conformance
from regkit.testing._subject import Subject


@pytest.fixture
def wrong(installed):
    """The module of wrong regularizers, installed."""
    installed("wrong_regularizers")
    return importlib.import_module("acme_wrong")


def squares(self, layers, outputs):
    return np.mean([np.sum(z**2) for z in selected(self, layers, outputs).values()])


def first_failure(cls, libraries):
    """The name of the first check that a class fails."""
    aliases = ("wrong_alias",) if "Alias" in cls.__name__ else ()
    twin = getattr(cls, "twin", None)
    outcomes = Conformance(Subject(cls, aliases=aliases, twin=twin), libraries=libraries).outcomes()
    return next((outcome.check for outcome in outcomes if outcome.status == "failed"), None)


@pytest.fixture
def assert_each_is_caught_first_by_its_check(caught):
    """Try classes, and remember for the summary of the run what caught them."""

    def run(classes, expected, libraries):
        found = {cls.__name__: (first_failure(cls, libraries), expected[cls]) for cls in classes}
        caught.update(found)
        assert {name: pair for name, pair in found.items() if pair[0] != pair[1]} == {}

    return run


def test_each_wrong_regularizer_is_caught_first_by_the_check_meant_for_it_in_arrays(
    wrong, assert_each_is_caught_first_by_its_check
):
    classes = [cls for cls in wrong.WRONG if cls not in wrong.NEEDS_GRAPH]
    assert_each_is_caught_first_by_its_check(classes, wrong.WRONG, [])


@pytest.mark.slow
def test_each_wrong_regularizer_is_caught_first_by_the_check_meant_for_it_in_graphs(
    wrong, lib, assert_each_is_caught_first_by_its_check
):
    assert_each_is_caught_first_by_its_check(wrong.NEEDS_GRAPH, wrong.WRONG, [lib.name])


def test_every_check_has_a_wrong_regularizer(wrong):
    of_modules = {"import_loads_no_graph_library"}  # a test below: it needs a module that imports a library
    assert set(wrong.WRONG.values()) | of_modules == set(CHECKS)


def test_a_plugin_that_imports_a_graph_library_is_caught_by_the_check_of_imports(
    lib, tmp_path, monkeypatch, assert_each_is_caught_first_by_its_check
):
    source = (
        f"import {lib.name}\nimport regkit\n\n\nclass Heavy(regkit.Regularizer):\n    def loss(self):\n        pass\n"
    )
    (tmp_path / "acme_imports_a_library.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    heavy = importlib.import_module("acme_imports_a_library").Heavy
    assert_each_is_caught_first_by_its_check([heavy], {heavy: "import_loads_no_graph_library"}, [])


@pytest.mark.graph
@pytest.mark.parametrize("name", ["Power", "Noise"])
def test_a_good_regularizer_passes_every_check(wrong, name):
    twin = squares if name == "Power" else None
    report = check_regularizer(getattr(wrong, name), aliases=["wrong_alias"] if name == "Power" else (), twin=twin)
    assert report.passed
    assert {"class", "numpy"} <= report.counts().keys()


def test_every_library_that_is_installed_is_used(wrong, lib):
    counts = check_regularizer(wrong.Power, twin=squares).counts()
    assert list(counts) == ["class", "numpy", lib.name]
    apply = [name for name, check in CHECKS.items() if check.hook == "loss" or "pattern" in name]
    apply.remove("loss_leaves_the_outputs_alone")  # which graphs cannot show
    assert counts[lib.name]["passed"] == len(apply)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "SelectsParametersAndStatesOutputs",
            "selects is 'outputs', and its pattern selects parameters: 'hid2.*' works and 'hid2:*' does not. "
            "Set selects = 'params' in the class",
        ),
        (
            "SelectsOutputsAndStatesParameters",
            "selects is 'params', and its pattern selects outputs: 'hid2:*' works and 'hid2.*' does not. "
            "Set selects = 'outputs' in the class",
        ),
        (
            "ChangesOutputsAndStatesParameters",
            "selects is 'params', and its pattern selects outputs: 'hid2:*' works and 'hid2.*' does not. "
            "Set selects = 'outputs' in the class",
        ),
        ("StatesASelectionThatThereIsNot", "selects is 'weights'; accepted: 'outputs', 'params', None"),
    ],
)
def test_a_class_that_selects_something_else_than_it_states_learns_what_to_set(check_fails, name, words):
    assert check_fails(name, "numpy") == f"numpy-pattern_selects_what_the_class_states: {name}.{words}"


def test_a_sum_in_half_precision_is_reported_beside_that_of_single_precision(check_fails):
    words = r"numpy-penalty_of_float16_is_that_of_float32: the loss of float16 outputs is inf, and \d+.* in float32\. "
    assert re.match(words + r"regkit\.graph\.widened makes room", check_fails("SumsInHalfPrecision", "numpy"))


def test_checks_of_a_gradient_penalty_do_not_apply_to_arrays(wrong):
    outcomes = check_regularizer(wrong.Slope, aliases=(), libraries=[]).outcomes
    reasons = {outcome.reason for outcome in outcomes if outcome.where == "numpy" and outcome.status != "passed"}
    assert reasons == {
        "its hooks ask for a derivative, and numpy has none: Slope: an array has its value and no graph, "
        "so it has no gradient",
        "no NumPy twin was given",
        "it has no modify_graph hook",
        "it has no after_step hook",
    }


def test_another_error_of_a_gradient_penalty_is_a_failure_on_arrays(wrong, monkeypatch):
    monkeypatch.setattr(wrong.Slope, "loss", lambda self, outputs: regkit.graph.cast("one", "float64"))
    report = Conformance(Subject(wrong.Slope, aliases=()), libraries=[]).report()
    assert "failed: numpy-penalty_is_a_scalar: GraphError: Slope: cast got 'one'" in str(report)


def half_of_the_parameters(network):
    return {name: 0.5 * value for name, value in network.values().items() if name != "in:out"}


@pytest.mark.graph
def test_a_regularizer_with_arrays_in_the_shapes_of_the_network_passes_every_check(wrong):
    def twin(regularizer, layers, outputs):
        return sum(np.sum((w - regularizer.reference[n]) ** 2) for n, w in selected(regularizer, layers).items())

    network = Network("sigmoid")
    report = check_regularizer(
        wrong.NearReference,
        aliases=(),
        twin=twin,
        network=network,
        options={"reference": half_of_the_parameters(network)},
    )
    passed = {outcome.check for outcome in report.outcomes if outcome.status == "passed"}
    assert {"repr_round_trips", "config_round_trips", "pickles", "penalty_equals_the_numpy_twin"} <= passed


def test_an_argument_that_the_checks_cannot_make_up_is_named_with_the_way_to_give_it():
    outcome = Conformance(Subject(regkit.load("weight_distance"), aliases=()), libraries=[]).outcome(
        "class", "constructor_works"
    )
    assert outcome.status == "failed"
    assert outcome.reason.startswith("it needs reference, which the checks cannot make up. Give options= ")


def test_a_number_cannot_make_a_class_that_needs_more_than_a_weight(wrong, monkeypatch):
    def needy(self, pattern=None, weight=0.0, reference=None):
        if reference is None:
            raise regkit.OptionError("NearReference needs reference=")
        regkit.Regularizer.__init__(self, pattern, weight)
        self.reference = reference

    monkeypatch.setattr(wrong.NearReference, "__init__", needy)
    subject = Subject(wrong.NearReference, aliases=(), options={"reference": half_of_the_parameters(Network())})
    outcome = Conformance(subject, libraries=[]).outcome("class", "scalar_equals_mapping")
    assert (outcome.status, outcome.reason) == (
        "not applicable",
        "a number cannot make one: NearReference needs reference=",
    )


def test_checks_of_gradients_do_not_apply_to_what_acts_after_the_step(wrong, lib):
    class Held(wrong.NearReference):
        changes_params = True

        def loss(self, layers):
            return regkit.graph.held(super().loss(layers))

    subject = Subject(Held, aliases=(), options={"reference": half_of_the_parameters(Network())})
    conformance = Conformance(subject, libraries=[lib.name])
    for check in ("gradient_agrees_with_finite_differences", "gradient_is_not_zero_everywhere"):
        outcome = conformance.outcome(lib.name, check)
        assert outcome.reason == "it acts after the optimizer's step, so its penalty may have no gradient"


@pytest.mark.parametrize(
    "array",
    [np.arange(2000), np.linspace(0, 1, 7, dtype="float32"), np.array([1 / 3, np.inf]), np.array([[True], [False]])],
    ids=["long", "float32", "infinite", "bools"],
)
def test_an_array_comes_back_from_the_repr_with_every_element(wrong, array):
    subject = Subject(wrong.NearReference, aliases=(), options={"reference": array})
    CHECKS["repr_round_trips"].run(subject)


def test_an_array_of_which_the_repr_has_less_is_no_round_trip(wrong, monkeypatch):
    subject = Subject(wrong.NearReference, aliases=(), options={"reference": np.array([0.123456])})
    monkeypatch.setattr(
        wrong.NearReference, "__repr__", lambda self: f"NearReference(None, 0.25, {self.reference.round(3)!r})"
    )
    with pytest.raises(AssertionError, match="reference=array"):
        CHECKS["repr_round_trips"].run(subject)


def test_a_library_that_cannot_be_imported_fails_its_checks_in_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "aesara", None)
    report = Conformance(Subject("hidden_l1"), libraries=["aesara"]).report()
    assert "failed: aesara-pattern_selects_what_the_class_states: aesara is installed and cannot be imported: " in str(
        report
    )


@pytest.mark.parametrize(
    ("pattern", "outputs", "params"),
    [
        (["*", "!hid*"], ["in:out", "out:out"], ["out.w", "out.b"]),
        ("!hid1*", ["hid2:out"], ["hid2.w", "hid2.b", "out.w", "out.b"]),
        (["!hid1*", "in*"], ["in:out", "hid2:out"], ["hid2.w", "hid2.b", "out.w", "out.b"]),
    ],
)
def test_a_twin_is_given_what_globs_leave_in(pattern, outputs, params):
    network = Network()
    layers, arrays = network.connect(network.values(), np)
    regularizer = regkit.Regularizer(pattern)
    assert list(selected(regularizer, layers, arrays)) == outputs
    assert list(selected(regularizer, layers)) == params


def test_checks_that_depend_on_a_failed_one_are_not_reached(wrong):
    report = Conformance(Subject(wrong.AsksForAnEpoch, aliases=()), libraries=[]).report()
    assert report.counts()["class"]["failed"] == 1
    statuses = {outcome.check: outcome.status for outcome in report.outcomes if outcome.where == "numpy"}
    assert set(statuses.values()) == {"not reached"}
    with pytest.raises(AssertionError) as error:
        check_regularizer(wrong.AsksForAnEpoch, aliases=(), libraries=[])
    assert str(error.value).startswith("acme_wrong:AsksForAnEpoch: breaks a promise\n  class     0 passed, 1 failed, ")
    line = wrong.AsksForAnEpoch.loss.__code__.co_firstlineno - 1
    assert str(error.value).endswith(
        f"acme_wrong.py:{line}\n  {12 + len(statuses)} checks that depend on it were not reached"
    )
    assert "it depends on class-hook_arguments_are_right, which failed" not in str(error.value)


def test_a_failure_points_at_the_line_of_the_authors_code_that_raised_it(tmp_path, monkeypatch):
    hook = "    def loss(self, outputs):\n        return outputs['no']\n"
    source = f"import regkit\n\n\nclass Asks(regkit.Regularizer):\n{hook}"
    (tmp_path / "acme_asks.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    asks = importlib.import_module("acme_asks").Asks
    report = Conformance(Subject(asks, aliases=()), libraries=[]).report()
    at = {outcome.check: outcome.at for outcome in report.outcomes if outcome.status == "failed"}
    assert at["docstring_has_its_sections"] == "acme_asks.py:4"
    assert at["penalty_is_a_scalar"] == "acme_asks.py:6"
    (reason,) = [outcome.reason for outcome in report.outcomes if outcome.check == "penalty_is_a_scalar"]
    assert reason.startswith(
        "GraphError: Asks: the hook asked for the output 'no', which its regularizer does not look"
    )
    assert "\n  at acme_asks.py:6\n  " in str(report)
    assert "return outputs['no']" not in str(report)
    assert "return outputs['no']" in report.text(traceback=True)
    assert "not reached: class-docstring_example_runs" in report.text(traceback=True)


def test_check_fails_a_ratio_that_has_no_value_at_zero(check_fails):
    said = check_fails("DividesByTheSquaresOfAll", "numpy")
    assert said == (
        "numpy-penalty_and_gradient_are_finite_at_zero: where all outputs and parameters are 0 the penalty is nan"
    )


def test_check_fails_a_root_that_has_no_gradient_at_zero(check_fails, lib):
    said = check_fails("TakesTheRootOfAllSquares", lib.name)
    assert said == (
        f"{lib.name}-penalty_and_gradient_are_finite_at_zero: where all outputs and parameters are 0 "
        "the penalty is 0.0, and its gradient by in:out has nan"
    )


def test_check_fails_a_penalty_that_trains_nothing(check_fails, lib):
    said = check_fails("RoundsItsOutputs", lib.name)
    assert said.startswith(
        f"{lib.name}-gradient_is_not_zero_everywhere: the gradient by the input and by all parameters"
    )


@pytest.fixture
def check_fails(wrong):
    """Run `regkit check` on a wrong regularizer and return the first failure that it prints."""

    def run(name, library):
        from click.testing import CliRunner

        from regkit.cli import regkit as command_line

        done = CliRunner().invoke(command_line, ["check", f"acme_wrong:{name}", "--library", library])
        assert done.exit_code == 1
        failure, *_ = [line for line in done.output.splitlines() if line.startswith("failed: ")]
        return failure[len("failed: ") :]

    return run


@pytest.mark.subprocess
def test_python_without_docstrings_is_told_and_not_failed(wrong):
    program = [sys.executable, "-OO", "-m", "regkit", "check", "hidden_l1", "--library", "numpy"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    told = "not applicable: class-docstring_has_its_sections, class-docstring_example_runs: python -OO takes docstrings"
    assert told in done.stdout


def test_a_failure_that_was_declared_with_its_reason_is_no_failure(wrong):
    report = check_regularizer(
        wrong.LogsTwice, aliases=(), libraries=[], expected_failures={"log_is_one_record": "it is talkative"}
    )
    assert report.counts()["class"]["expected failure"] == 1
    assert "expected failure: class-log_is_one_record: it is talkative" in str(report)


def test_a_declared_failure_that_passes_is_a_failure(wrong):
    with pytest.raises(
        AssertionError, match="it passes, and was declared to fail: it is talkative. Take the declaration"
    ):
        check_regularizer(
            wrong.Power, aliases=(), libraries=[], expected_failures={"log_is_one_record": "it is talkative"}
        )


def test_what_depends_on_a_declared_failure_says_so(wrong):
    declared = {"numpy-penalty_is_finite": "on purpose"}
    report = Conformance(Subject(wrong.DividesByZero, aliases=()), declared, []).report()
    reasons = {outcome.check: outcome.reason for outcome in report.outcomes if outcome.status == "not applicable"}
    assert reasons["loss_is_linear_in_the_weight"] == (
        "it depends on numpy-penalty_is_finite, which is expected to fail: on purpose"
    )


@pytest.mark.parametrize(
    ("argument", "given", "accepted"),
    [
        ("aliases", "hidden_l1", "a sequence of names"),
        ("options", 3, "a mapping"),
        ("twin", 3, "a function"),
        ("network", "small", "a regkit.testing.Network"),
        ("expected_failures", ["pickles"], "a mapping of checks to reasons"),
        ("libraries", "numpy", "a sequence of theano, aesara, pytensor, numpy"),
    ],
)
def test_an_argument_of_another_kind_is_refused_by_name(wrong, argument, given, accepted):
    with pytest.raises(regkit.OptionError) as error:
        check_regularizer(wrong.Power, **{argument: given})
    assert str(error.value).startswith(f"{argument} is {given!r}; accepted: {accepted}")


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"no_such_check": "why"}, "expected_failures names 'no_such_check', which is not a check. The checks: hook_"),
        ({"pickles": " "}, "expected_failures['pickles'] is ' '; accepted: the reason, in words"),
    ],
)
def test_an_expected_failure_needs_a_check_and_a_reason(wrong, declared, message):
    with pytest.raises(regkit.OptionError) as error:
        check_regularizer(wrong.Power, expected_failures=declared)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("given", [dict, 3, len])
def test_what_is_not_a_regularizer_is_refused(given):
    with pytest.raises(regkit.OptionError) as error:
        check_regularizer(given)
    assert str(error.value) == f"{given!r} is not a regularizer. Accepted: an alias, or a class with hooks"


def test_a_class_that_no_alias_names_says_that_it_has_none(wrong):
    with pytest.raises(AssertionError, match=r"no installed alias names this class. .* give aliases=\(\)"):
        check_regularizer(wrong.Noise, libraries=[])


def test_a_class_that_marks_its_hooks_passes(monkeypatch):
    class Marked:
        """Penalize hidden outputs, :math:`z^2`.

        Parameters
        ----------
        none

        References
        ----------
        A test.

        Examples
        --------
        >>> 1 + 1
        2
        """

        @regkit.hookimpl
        def loss(self, outputs):
            z = regkit.graph.widened(outputs["hid1:out"])
            return (z * z).sum()

    monkeypatch.setattr(Marked, "__module__", "__main__")
    report = check_regularizer(Marked, aliases=(), twin=lambda self, layers, outputs: np.sum(outputs["hid1:out"] ** 2))
    assert report.counts()["numpy"]["passed"] >= 4


def test_the_checks_leave_loggers_and_settings_as_they_were(wrong, lib):
    def settings():
        config = lib.module.config
        return logging.getLogger().level, logging.getLogger("regkit").level, config.floatX, config.cxx

    before = settings()
    check_regularizer(wrong.Power, libraries=[lib.name])
    assert settings() == before


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "linear"])
@pytest.mark.parametrize("axes", [2, 3])
def test_the_network_computes_the_same_in_graphs_as_in_arrays(lib, activation, axes):
    network = Network(activation, axes)
    values = network.values()
    inputs = lib.inputs(values)
    _, symbolic = network.connect(inputs, lib.tensor_module)
    _, arrays = network.connect(values, np)
    assert list(symbolic) == ["in:out", "hid1:out", "hid2:out", "out:out"]
    for name, found in zip(symbolic, lib.values(inputs, list(symbolic.values()), values)):
        assert found.ndim == axes
        np.testing.assert_allclose(found, arrays[name], rtol=1e-12)


def test_each_layer_computes_the_activation_of_its_product():
    network = Network("sigmoid")
    values = network.values()
    layers, outputs = network.connect(values, np)
    expected = 1 / (1 + np.exp(-(values["in:out"] @ values["hid1.w"] + values["hid1.b"])))
    np.testing.assert_allclose(outputs["hid1:out"], expected)
    assert [[param.name for param in layer.params] for layer in layers] == [
        [],
        ["hid1.w", "hid1.b"],
        ["hid2.w", "hid2.b"],
        ["out.w", "out.b"],
    ]


@pytest.mark.parametrize("wrong_arguments", [{"activation": "sin"}, {"axes": 1}])
def test_a_network_that_there_is_not_is_refused(wrong_arguments):
    with pytest.raises(regkit.OptionError, match="Network got .*; accepted: "):
        Network(**wrong_arguments)


@pytest.mark.subprocess
def test_pytest_runs_one_test_for_each_check(pytester_file):
    result = pytester_file(
        """
        import acme_wrong, numpy, regkit.testing
        test_power = regkit.testing.pytest_checks(
            acme_wrong.Power, libraries=[], twin=lambda self, layers, outputs: numpy.mean(
                [numpy.sum(z**2) for z in regkit.testing.selected(self, layers, outputs).values()]
            )
        )
        test_twice = regkit.testing.pytest_checks(
            acme_wrong.LogsTwice, libraries=[], aliases=(), expected_failures={"log_is_one_record": "it is talkative"}
        )
        test_wrong = regkit.testing.pytest_checks(acme_wrong.LogsNothing, aliases=(), libraries=[])
        test_epoch = regkit.testing.pytest_checks(acme_wrong.AsksForAnEpoch, aliases=(), libraries=[])
        """
    )
    lines = result.stdout.splitlines()
    assert any("::test_power[numpy-penalty_equals_the_numpy_twin] PASSED" in line for line in lines), lines
    assert any("::test_twice[class-log_is_one_record] XFAIL" in line for line in lines)
    failed = [line.partition("::")[2].partition(" - ")[0] for line in lines if line.startswith("FAILED")]
    assert failed == ["test_wrong[class-log_is_one_record]", "test_epoch[class-hook_arguments_are_right]"]
    assert any(
        "::test_power[numpy-change_is_deterministic] SKIPPED (it has no modify_graph hook)" in line for line in lines
    )
    not_reached = "SKIPPED (not reached: it depends on class-hook_arguments_are_right, which failed)"
    assert any(f"::test_epoch[class-pickles] {not_reached}" in line for line in lines), lines
    assert "acme_wrong:Power: keeps every promise" in result.stdout
    assert "  numpy     16 passed, 13 not applicable" in result.stdout


def test_a_costly_check_is_done_once_for_a_class_that_is_tried_with_several_options(wrong, lib):
    done = {}
    reports = []
    for name in ("test_of_a_quarter", "test_of_a_half"):
        conformance = Conformance(Subject(wrong.Power, options={"pattern": "hid1:*"}), libraries=[lib.name])
        conformance.share(done, name)
        reports.append(conformance.report())
    of_both = [
        {outcome.check: (outcome.status, outcome.reason) for outcome in report.outcomes if outcome.where == lib.name}
        for report in reports
    ]
    differ = {name: (of_both[0][name], of_both[1][name]) for name in of_both[0] if of_both[0][name] != of_both[1][name]}
    assert differ == {
        "penalty_is_the_same_in_the_default_mode": (("passed", ""), ("not applicable", "done by test_of_a_quarter"))
    }


@pytest.fixture
def pytester_file(wrong, tmp_path):
    """Run a test file in another process."""

    def run(source):
        (tmp_path / "test_file.py").write_text(textwrap.dedent(source))
        path = [str(Path(wrong.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--color=no", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "200"},
        )

    return run
