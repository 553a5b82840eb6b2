"""Regularizers that each break one promise, and some that keep all of them."""

from __future__ import annotations

import fnmatch
import functools
import itertools
import logging
import sys

import numpy as np

import regkit

#: Class -> the check that is to be the first to catch it.
WRONG: dict[type, str] = {}

#: Those of them that NumPy alone cannot show to be wrong.
NEEDS_GRAPH: set[type] = set()

DOCSTRING = """Penalize the squares of hidden outputs.

    The penalty is :math:`1/n \\sum_i \\|Z_i\\|_2^2`.

    Parameters
    ----------
    pattern : str, optional
    weight : float, default 0
    seed : int, default 0
    scale : float, default 1
    others : anything

    References
    ----------
    A test.

    Examples
    --------
    >>> 1 + 1
    2
    """


def wrong(check, needs_graph=False):
    """Say which check is to catch a class first."""

    def mark(cls):
        WRONG[cls] = check
        if needs_graph:
            NEEDS_GRAPH.add(cls)
        if cls.__doc__ is None:
            cls.__doc__ = DOCSTRING
        return cls

    return mark


def selected(self, outputs):
    return [regkit.graph.widened(z) for _, z in regkit.select_outputs(outputs, self.pattern or "hid?:out")]


def begins_alike(pattern):
    return (pattern or "hid")[:3] + "*"


def squares(self, outputs):
    terms = [(z * z).sum() for z in selected(self, outputs)]
    total = regkit.graph.total(terms)
    return total / regkit.graph.cast(len(terms), str(total.dtype))


class Power(regkit.Regularizer):
    __doc__ = DOCSTRING

    def loss(self, outputs):
        return squares(self, outputs)


class Noise(regkit.Regularizer):
    __doc__ = DOCSTRING

    def __init__(self, pattern=None, weight=0.0, seed=0):
        super().__init__(pattern, weight)
        self.seed = seed

    def modify_graph(self, outputs):
        for name, z in regkit.select_outputs(outputs, self.pattern or "hid?:out"):
            outputs[name + "-prenoise"] = z
            outputs[name] = self.noisy(name, z)

    def noisy(self, name, z):
        noise = regkit.graph.random_stream(z, [self.seed, *name.encode()]).normal(z)
        return z + regkit.graph.weight(self, z) * noise


class NearReference(regkit.Regularizer):
    __doc__ = DOCSTRING.replace("others :", "reference :")
    selects = "params"

    def __init__(self, pattern=None, weight=0.0, reference=None):
        super().__init__(pattern, weight)
        self.reference = reference

    def loss(self, layers):
        terms = []
        for name, w in regkit.select_params(layers, self.pattern):
            w = regkit.graph.widened(w)
            difference = w - regkit.graph.cast(np.asarray(self.reference[name]), str(w.dtype))
            terms.append((difference * difference).sum())
        return regkit.graph.total(terms)


class Slope(regkit.Regularizer):
    __doc__ = DOCSTRING

    def loss(self, outputs, layers):
        first = regkit.select_layers(layers, "input")[0].output_name
        slope = regkit.graph.gradient(squares(self, outputs), outputs[first])
        return regkit.graph.reduced_sum(slope * slope)


# Of the class


@wrong("hook_arguments_are_right")
class AsksForAnEpoch(regkit.Regularizer):
    def loss(self, outputs, epoch):
        return squares(self, outputs)


@wrong("constructor_works")
class CannotBeMade(Power):
    __doc__ = None

    def __init__(self, pattern=None, weight=0.0):
        super().__init__(pattern, weight, "and one too many")


@wrong("aliases_resolve_to_the_class")
class IsNotWhatItsAliasNames(Power):
    __doc__ = None


@wrong("scalar_equals_mapping")
class HalvesTheWeight(Power):
    __doc__ = None

    def __init__(self, pattern=None, weight=0.0):
        super().__init__(pattern, weight)
        if isinstance(weight, float):
            self.weight = weight / 2


@wrong("unknown_option_is_rejected")
class SwallowsOptions:
    def __init__(self, pattern=None, weight=0.0, **others):
        self.pattern, self.weight = pattern, weight

    @regkit.hookimpl
    def loss(self, outputs):
        return squares(self, outputs)


@wrong("bad_weight_is_rejected")
class TakesAnyWeight(Power):
    __doc__ = None

    def __init__(self, pattern=None, weight=0.0):
        self.pattern, self.weight = pattern, weight


@wrong("repr_round_trips")
class RepresentsItselfWithAnotherWeight(Power):
    __doc__ = None

    def __repr__(self):
        return f"{type(self).__name__}(weight={self.weight!r} + 1)"


@wrong("config_round_trips")
class StoresAnArgumentElsewhere(Power):
    __doc__ = None

    def __init__(self, pattern=None, weight=0.0, scale=1.0):
        super().__init__(pattern, weight)
        self._scale = scale


@wrong("pickles")
class KeepsAFunction(Power):
    __doc__ = None

    def __init__(self, pattern=None, weight=0.0):
        super().__init__(pattern, weight)
        self.reduce = lambda z: z.sum()


@wrong("log_is_one_record")
class LogsTwice(Power):
    __doc__ = None

    def log(self):
        super().log()
        super().log()


@wrong("log_is_one_record")
class LogsNothing(Power):
    __doc__ = None

    def log(self):
        pass


@wrong("log_is_one_record")
class LogsTwoLines(Power):
    __doc__ = None

    def log(self):
        logging.getLogger("acme").info("one\ntwo")


@wrong("docstring_has_its_sections")
class HasNoReferences(Power):
    """Penalize the squares of hidden outputs, :math:`z^2`.

    Parameters
    ----------
    pattern : str
    weight : float

    Examples
    --------
    >>> 1 + 1
    2
    """


@wrong("docstring_has_its_sections")
class DescribesNoArgument(Power):
    """Penalize the squares of hidden outputs, :math:`z^2`.

    Parameters
    ----------
    pattern : str

    References
    ----------
    A test.

    Examples
    --------
    >>> 1 + 1
    2
    """


@wrong("docstring_has_its_sections")
class HasNoEquation(Power):
    __doc__ = DOCSTRING.replace(":math:", "")


@wrong("docstring_example_runs")
class ShowsAFalseExample(Power):
    __doc__ = DOCSTRING.replace("\n    2\n", "\n    3\n")


@wrong("docstring_example_runs")
class ShowsNoExample(Power):
    __doc__ = DOCSTRING.replace(">>>", "")


@wrong("pattern_selects_what_the_class_states")
class SelectsParametersAndStatesOutputs(Power):
    __doc__ = None

    def loss(self, layers):
        selected = [regkit.graph.widened(w) for _, w in regkit.select_params(layers, self.pattern or "hid?.w")]
        return regkit.graph.total([(w * w).sum() for w in selected])


@wrong("pattern_selects_what_the_class_states")
class SelectsOutputsAndStatesParameters(Power):
    __doc__ = None
    selects = "params"


@wrong("pattern_selects_what_the_class_states")
class SelectsOutputsAndStatesNothing(Power):
    __doc__ = None
    selects = None


@wrong("pattern_selects_what_the_class_states")
class ChangesOutputsAndStatesParameters(Noise):
    __doc__ = None
    selects = "params"


@wrong("pattern_selects_what_the_class_states")
class StepsParametersAndStatesOutputs(regkit.Regularizer):
    def after_step(self, params, amount):
        for name, w in regkit.select_params([regkit.Layer("", params)], self.pattern):
            params[name] = w * (1 - regkit.graph.cast(amount, str(w.dtype)))


@wrong("pattern_selects_what_the_class_states")
class StatesASelectionThatThereIsNot(Power):
    __doc__ = None
    selects = "weights"


# Of the penalty


@wrong("penalty_is_a_scalar")
class ReturnsAnArray(Power):
    __doc__ = None

    def loss(self, outputs):
        z, *_ = selected(self, outputs)
        return (z * z).sum(axis=0)


@wrong("penalty_is_a_scalar")
class ReturnsNothing(Power):
    __doc__ = None

    def loss(self, outputs):
        regkit.select_outputs(outputs, self.pattern or "hid?:out")


@wrong("penalty_is_a_scalar")
class ReadsAnOutputThatItIsNotGiven(Power):
    __doc__ = None

    def loss(self, outputs):
        return squares(self, outputs) + outputs["hid1:pre"].sum()


@wrong("loss_leaves_the_outputs_alone")
class ChangesAnOutputInPlace(Power):
    __doc__ = None

    def loss(self, outputs):
        for z in outputs.values():
            z *= 2
        return squares(self, outputs)


@wrong("loss_leaves_the_outputs_alone")
class ChangesAParameterInPlace(Power):
    __doc__ = None

    def loss(self, layers, outputs):
        for _, w in regkit.select_params(layers):
            w *= 2
        return squares(self, outputs)


@wrong("penalty_is_finite")
class DividesByZero(Power):
    __doc__ = None

    def loss(self, outputs):
        penalty = squares(self, outputs)
        return penalty / (penalty - penalty)


@wrong("penalty_has_the_dtype_of_the_outputs")
class ReturnsFloat64(Power):
    __doc__ = None

    def loss(self, outputs):
        return squares(self, outputs).astype("float64")


@wrong("penalty_has_the_dtype_of_the_outputs", needs_graph=True)
class DividesByACount(Power):
    __doc__ = None

    def loss(self, outputs):
        z, *_ = selected(self, outputs)
        return (z * z).sum() / (z.size + 1)


@wrong("penalty_is_deterministic")
class CountsItself(Power):
    __doc__ = None
    _count = itertools.count(1)

    def loss(self, outputs):
        penalty = squares(self, outputs)
        return penalty * regkit.graph.cast(next(self._count), str(penalty.dtype))


@wrong("penalty_is_that_of_the_graph_given")
class RemembersThePenaltyOfItsFirstGraph(Power):
    __doc__ = None

    def loss(self, outputs):
        if not hasattr(self, "_penalty"):
            self._penalty = squares(self, outputs)
        return self._penalty


@wrong("unmatched_outputs_do_not_count")
class ReadsAnOutputWhateverItsPattern(Power):
    __doc__ = None

    def loss(self, outputs):
        return squares(self, outputs) + regkit.graph.widened(outputs["hid1:out"]).sum()


@wrong("unmatched_outputs_do_not_count")
class ReadsOutputsThatBeginAlike(Power):
    __doc__ = None
    selects = None

    def loss(self, outputs):
        alike = regkit.select_outputs(outputs, begins_alike(self.pattern))
        return regkit.graph.total([regkit.graph.widened(z).sum() for _, z in alike])


@wrong("unmatched_outputs_do_not_count")
class SelectsParametersWhateverItsPattern(Power):
    __doc__ = None
    selects = "params"

    def loss(self, layers):
        regkit.select_params(layers, self.pattern)
        selected = [regkit.graph.widened(w) for _, w in regkit.select_params(layers, "*.w")]
        return regkit.graph.total([(w * w).sum() for w in selected])


@wrong("unmatched_outputs_do_not_count")
class ReadsEveryParameter(Power):
    __doc__ = None

    def loss(self, layers, outputs):
        penalty = squares(self, outputs)
        params = [regkit.graph.widened(w) for _, w in regkit.select_params(layers, "*.w")]
        return regkit.graph.total([penalty, *((w * w).sum() for w in params)])


@wrong("nothing_matched_is_an_error")
class IsSilentWhereNothingMatches(Power):
    __doc__ = None

    def loss(self, outputs):
        try:
            return squares(self, outputs)
        except regkit.NoMatchError:
            return 0.0


@wrong("nothing_matched_is_an_error")
class StepsInSilenceWhereNothingMatches(regkit.Regularizer):
    selects = "params"

    def after_step(self, params, amount):
        for name in fnmatch.filter(params, self.pattern or "*"):
            params[name] = params[name] * (1 - regkit.graph.cast(amount, str(params[name].dtype)))


@wrong("loss_is_linear_in_the_weight")
class WeighsItself(Power):
    __doc__ = None

    def loss(self, outputs):
        penalty = squares(self, outputs)
        return penalty * regkit.graph.cast(self.weight, str(penalty.dtype))


@wrong("weight_may_be_live", needs_graph=True)
class FreezesTheWeight(Power):
    __doc__ = None

    def __init__(self, pattern=None, weight=0.0):
        super().__init__(pattern, weight)
        if hasattr(self.weight, "get_value"):
            self.weight = float(self.weight.get_value())


@wrong("weight_may_be_live", needs_graph=True)
class FreezesALiveWeight(Power):
    __doc__ = None

    def __init__(self, pattern=None, weight=0.0):
        super().__init__(pattern, weight)
        if isinstance(weight, regkit.Live):
            self.weight = weight.value


@wrong("weight_may_be_live", needs_graph=True)
class RefusesAWeightThatALiveMayBecome(Power):
    __doc__ = None

    def __init__(self, pattern=None, weight=0.0):
        super().__init__(pattern, weight)
        if isinstance(weight, float) and weight >= 1:
            raise regkit.OptionError("at most 1")


@wrong("penalty_equals_the_numpy_twin")
class AveragesWhereItsTwinSums(Power):
    __doc__ = None

    def loss(self, outputs):
        z, *_ = selected(self, outputs)
        return (z * z).mean()

    def twin(self, layers, outputs):
        z, *_ = selected(self, outputs)
        return (z * z).sum()


@wrong("gradient_agrees_with_finite_differences", needs_graph=True)
class HidesHalfOfItsGradient(Power):
    __doc__ = None

    def loss(self, outputs):
        z, *_ = selected(self, outputs)
        made_by = regkit.graph.library(z)
        hidden = z if made_by == "numpy" else sys.modules[f"{made_by}.gradient"].disconnected_grad(z)
        return (z * hidden).sum()


@wrong("gradient_is_not_zero_everywhere", needs_graph=True)
class RoundsItsOutputs(Power):
    __doc__ = None

    def loss(self, outputs):
        return regkit.graph.total([z.round().sum() for z in selected(self, outputs)])


@wrong("penalty_and_gradient_are_finite_with_a_dead_unit")
class DividesByTheSquaresOfEachUnit(Power):
    __doc__ = None

    def loss(self, outputs):
        return regkit.graph.total(
            [(abs(z).sum(axis=0) ** 2 / (z * z).sum(axis=0)).sum() for z in selected(self, outputs)]
        )


@wrong("penalty_and_gradient_are_finite_at_zero")
class DividesByTheSquaresOfAll(Power):
    __doc__ = None

    def loss(self, outputs):
        return regkit.graph.total([abs(z).sum() ** 2 / (z * z).sum() for z in selected(self, outputs)])


@wrong("penalty_and_gradient_are_finite_at_zero", needs_graph=True)
class TakesTheRootOfAllSquares(Power):
    __doc__ = None

    def loss(self, outputs):
        return regkit.graph.total([(z * z).sum() ** 0.5 for z in selected(self, outputs)])


@wrong("penalty_and_gradient_are_finite_for_large_numbers")
class SumsFourthPowers(Power):
    __doc__ = None

    def loss(self, outputs):
        return regkit.graph.total([(z * z * z * z).sum() for z in selected(self, outputs)])


@wrong("penalty_and_gradient_are_finite_for_large_numbers")
class SumsFourthPowersOfWeights(Power):
    __doc__ = None
    selects = "params"

    def loss(self, layers):
        selected = [regkit.graph.widened(w) for _, w in regkit.select_params(layers, self.pattern or "hid?.w")]
        return regkit.graph.total([(w * w * w * w).sum() for w in selected])


@wrong("penalty_and_gradient_are_finite_without_examples")
class DividesByTheNumberOfExamples(Power):
    __doc__ = None

    def loss(self, outputs):
        return regkit.graph.total(
            [(z * z).sum() / regkit.graph.cast(z.shape[0], str(z.dtype)) for z in selected(self, outputs)]
        )


@wrong("penalty_of_float16_is_that_of_float32")
class SumsInHalfPrecision(Power):
    __doc__ = None

    def loss(self, outputs):
        return regkit.graph.total([abs(z).sum() for _, z in regkit.select_outputs(outputs, self.pattern or "hid?:out")])


@wrong("penalty_of_float16_is_that_of_float32")
class SquaresInHalfPrecision(Power):
    __doc__ = None

    def loss(self, outputs):
        selected = regkit.select_outputs(outputs, self.pattern or "hid?:out")
        return regkit.graph.mean([regkit.graph.reduced_sum(z * z, "mean") for _, z in selected])


@wrong("penalty_of_float16_is_that_of_float32")
class SumsSquaresOfWeightsInHalfPrecision(Power):
    __doc__ = None
    selects = "params"

    def loss(self, layers):
        return regkit.graph.total([(w * w).sum() for _, w in regkit.select_params(layers, self.pattern or "hid?.w")])


@functools.lru_cache
def _power_op(made_by):
    """An operation that is wrong only in the default mode.

    It says that it equals every other of its kind, whatever its exponent is, so that rewriting merges two into one.
    PyTensor 3.0 merges them when they are made; there its C code is wrong instead.
    """
    wrong_in_c = made_by == "pytensor" and sys.modules[made_by].__version__.startswith("3.0.")
    op = sys.modules["pytensor.link.c.op"].COp if wrong_in_c else sys.modules[f"{made_by}.graph.op"].Op
    apply = sys.modules[f"{made_by}.graph.basic"].Apply

    class RaiseTo(op):
        __props__ = ("exponent",) if wrong_in_c else ()

        def __init__(self, exponent):
            self.exponent = exponent

        def make_node(self, z):
            return apply(self, [z], [z.type()])

        def c_code(self, node, name, inputs, outputs, sub):
            return (
                f"Py_XDECREF({outputs[0]}); {outputs[0]} = (PyArrayObject*)PyArray_NewCopy({inputs[0]}, NPY_ANYORDER);"
            )

        def perform(self, node, inputs, outputs, *_):
            outputs[0][0] = inputs[0] ** self.exponent

        def grad(self, inputs, gradients):
            return [gradients[0] * self.exponent * inputs[0] ** (self.exponent - 1)]

        L_op = pullback = lambda self, inputs, _outputs, gradients: self.grad(inputs, gradients)

    return RaiseTo


@wrong("penalty_is_the_same_in_the_default_mode", needs_graph=True)
class UsesAnOperationThatIsMergedWithAnother(Power):
    __doc__ = None

    def loss(self, outputs):
        z, *_ = selected(self, outputs)
        made_by = regkit.graph.library(z)
        if made_by == "numpy":
            return (z**2).sum() + (z**1).sum()
        power = _power_op(made_by)
        return power(2)(z).sum() + power(1)(z).sum()


# Of changes


@wrong("changed_output_keeps_name_and_type")
class LosesTheName(Noise):
    __doc__ = None

    def modify_graph(self, outputs):
        for name, z in regkit.select_outputs(outputs, self.pattern or "hid?:out"):
            outputs[name + "-noisy"] = self.noisy(name, z)
            del outputs[name]


@wrong("changed_output_keeps_name_and_type")
class WidensTheDtype(Noise):
    __doc__ = None

    def noisy(self, name, z):
        return super().noisy(name, z).astype("float64")


@wrong("changed_output_keeps_name_and_type")
class AddsAnAxis(Noise):
    __doc__ = None

    def noisy(self, name, z):
        return super().noisy(name, z)[None]


@wrong("original_stays_beside_the_changed_output")
class ThrowsTheOriginalAway(Noise):
    __doc__ = None

    def modify_graph(self, outputs):
        for name, z in regkit.select_outputs(outputs, self.pattern or "hid?:out"):
            outputs[name] = self.noisy(name, z)


@wrong("original_stays_beside_the_changed_output")
class KeepsACopyOfTheChanged(Noise):
    __doc__ = None

    def modify_graph(self, outputs):
        super().modify_graph(outputs)
        for name in [name for name in outputs if name.endswith("-prenoise")]:
            outputs[name] = outputs[name.partition("-")[0]]


@wrong("only_matched_outputs_change")
class ChangesOutputsThatBeginAlike(Noise):
    __doc__ = None
    selects = None

    def modify_graph(self, outputs):
        for name, z in regkit.select_outputs(outputs, begins_alike(self.pattern)):
            outputs[name + "-prenoise"] = z
            outputs[name] = self.noisy(name, z)


@wrong("change_is_deterministic")
class DrawsFromTheSystem(Noise):
    __doc__ = None

    def noisy(self, name, z):
        return z + regkit.graph.random_stream(z).normal(z)


@wrong("random_streams_are_not_shared")
class DrawsTheSameForEverySeed(Noise):
    __doc__ = None

    def noisy(self, name, z):
        return z + regkit.graph.random_stream(z, 5).normal(z)


@wrong("random_streams_are_not_shared")
class DrawsTheSameForEveryOutput(Noise):
    __doc__ = None

    def noisy(self, name, z):
        return super().noisy("any", z)


@wrong("change_follows_a_live_weight")
class TakesItsWeightForANumber(Noise):
    __doc__ = None

    def noisy(self, name, z):
        noise = regkit.graph.random_stream(z, [self.seed, *name.encode()]).normal(z)
        return z + regkit.graph.cast(float(self.weight), str(z.dtype)) * noise


@wrong("change_follows_a_live_weight", needs_graph=True)
class ReadsTheValueOfItsWeight(Noise):
    __doc__ = None

    def noisy(self, name, z):
        weight = self.weight.value if isinstance(self.weight, regkit.Live) else self.weight
        noise = regkit.graph.random_stream(z, [self.seed, *name.encode()]).normal(z)
        return z + regkit.graph.cast(weight, str(z.dtype)) * noise


@wrong("change_follows_a_live_weight")
class ReadsTheValueOfItsWeightWhenItIsMade(Noise):
    __doc__ = None

    def __init__(self, pattern=None, weight=0.0, seed=0):
        super().__init__(pattern, weight.value if isinstance(weight, regkit.Live) else weight, seed)


@wrong("change_is_the_same_in_the_default_mode", needs_graph=True)
class ChangesByAnOperationThatIsMergedWithAnother(regkit.Regularizer):
    def modify_graph(self, outputs):
        for name, z in regkit.select_outputs(outputs, self.pattern or "hid?:out"):
            made_by = regkit.graph.library(z)
            outputs[name + "-before"] = z
            if made_by == "numpy":
                outputs[name] = z**2 + z**3
            else:
                power = _power_op(made_by)
                outputs[name] = power(2)(z) + power(3)(z)


# Steps


class Shrinks(regkit.Regularizer):
    """A proximal step of the sum of squares."""

    __doc__ = DOCSTRING
    selects = "params"
    by = "proximal"

    def loss(self, layers):
        selected = regkit.select_params(layers, self.pattern)
        return regkit.graph.held(regkit.graph.total([(w * w).sum() for w in map(self.wide, dict(selected).values())]))

    @staticmethod
    def wide(w):
        return regkit.graph.widened(w)

    def after_step(self, params, amount):
        for name, w in regkit.select_params([regkit.Layer("", params)], self.pattern):
            params[name] = self.stepped(w, regkit.graph.cast(amount, str(w.dtype)))

    def stepped(self, w, amount):
        one = regkit.graph.cast(1, str(w.dtype))
        return w / (one + amount + amount)


@wrong("step_keeps_names_and_types")
class WidensParameters(Shrinks):
    __doc__ = None

    def stepped(self, w, amount):
        return w * np.ones(1, "float64")


@wrong("only_matched_parameters_step")
class StepsEveryParameter(Shrinks):
    __doc__ = None

    def after_step(self, params, amount):
        regkit.select_params([regkit.Layer("", params)], self.pattern)
        for name, w in params.items():
            params[name] = self.stepped(w, regkit.graph.cast(amount, str(w.dtype)))


@wrong("step_of_zero_changes_nothing")
class ShrinksAtAnyStep(Shrinks):
    __doc__ = None

    def stepped(self, w, amount):
        half = regkit.graph.cast(0.5, str(w.dtype))
        return super().stepped(w, amount) * half


@wrong("step_is_that_of_arrays", needs_graph=True)
class StepsTwiceInGraphs(Shrinks):
    __doc__ = None

    def stepped(self, w, amount):
        times = 1 if regkit.graph.library(w) == "numpy" else 2
        return super().stepped(w, amount * regkit.graph.cast(times, str(w.dtype)))


@wrong("step_takes_a_symbolic_rate", needs_graph=True)
class BranchesOnTheAmount(Shrinks):
    __doc__ = None

    def stepped(self, w, amount):
        return super().stepped(w, amount) if amount > 0 else w


@wrong("proximal_penalty_has_no_gradient", needs_graph=True)
class PenalizesBesideItsStep(Shrinks):
    __doc__ = None

    def loss(self, layers):
        selected = regkit.select_params(layers, self.pattern)
        return regkit.graph.total([(w * w).sum() for w in map(self.wide, dict(selected).values())])


@wrong("proximal_step_minimizes")
class ShrinksByHalf(Shrinks):
    __doc__ = None

    def stepped(self, w, amount):
        return super().stepped(w, amount * regkit.graph.cast(0.5, str(w.dtype)))


@wrong("proximal_step_takes_divisors")
class MultipliesByDivisors(Shrinks):
    __doc__ = None

    def after_step(self, params, amount, divisors):
        for name, w in regkit.select_params([regkit.Layer("", params)], self.pattern):
            share = regkit.graph.cast(amount, str(w.dtype))
            params[name] = self.stepped(w, share * divisors[name] if name in divisors else share)


@wrong("proximal_step_does_not_expand")
class CutsOff(Shrinks):
    """The proximal step of the number of elements that are not zero, which jumps."""

    __doc__ = None

    def loss(self, layers):
        selected = regkit.select_params(layers, self.pattern)
        count = [regkit.graph.cast(abs(w) > 0, "float64").sum() for _, w in selected]
        return regkit.graph.held(regkit.graph.cast(regkit.graph.total(count), str(selected[0][1].dtype)))

    def stepped(self, w, amount):
        return w * regkit.graph.cast(w * w > amount + amount, str(w.dtype))


@wrong("projection_is_the_nearest_point_of_its_set")
class ProjectsFar(Shrinks):
    __doc__ = None
    by = "projection"

    def stepped(self, w, amount):
        return abs(w)
