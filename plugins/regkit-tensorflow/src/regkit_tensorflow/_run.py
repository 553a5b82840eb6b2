"""One computation of a network in TensorFlow with the regularizers of a set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

import tensorflow as tf
from tensorflow.python.eager.record import could_possibly_record

import regkit
from regkit import hosts

from ._scope import Scope, is_open, within

if TYPE_CHECKING:
    from collections.abc import Sequence

Function = TypeVar("Function", bound=Callable[..., Any])


def as_written(function: Function) -> Function:
    """Keep AutoGraph from converting a function, and all that hooks call, whose branches are Python's."""
    return cast("Function", tf.autograph.experimental.do_not_convert(function))


class Run:
    r"""One computation of a network with regularizers: outputs are tapped in it, and then it has the loss.

    Make it for each computation, within the `tf.function` if there is one, tap the outputs that patterns are to find,
    and add its loss: :math:`\sum_r w_r \, p_r`, weight times penalty.

    Parameters
    ----------
    regs : regkit.RegularizerSet
        What `regkit.build` returns.
    layers : sequence of regkit.Layer, optional
        The layers of the network: their variables for penalties of weights, their order or roles for regularizers
        without a pattern. Without layers, those of outputs need a pattern.
    train : bool, default True
        Whether noise and dropout change the outputs. They draw from TensorFlow's global generator, so that
        `tf.random.set_seed` repeats a program.
    tape : tf.GradientTape, optional
        For penalties of derivatives: the persistent tape that records the network, and watches its inputs.
    seed : tensor of two integers, optional
        The seed of the draws instead of the global generator's, another for each computation.

    Raises
    ------
    regkit.OptionError
        If an argument is none of those, or a regularizer of outputs has no pattern and there are no layers.

    Examples
    --------
    >>> import regkit, regkit_tensorflow, tensorflow as tf
    >>> regs = regkit.build(hidden_l1=dict(weight=0.5, pattern="hid"))
    >>> @tf.function
    ... def loss(w, x):
    ...     run = regkit_tensorflow.Run(regs)
    ...     h = run.tap("hid", x @ w)
    ...     return tf.reduce_sum(h**2) + run.loss()
    >>> float(loss(tf.constant([[1.0], [-2.0]]), tf.eye(2)))  # 1 + 4, and half of 1 + 2
    6.5
    """

    def __init__(
        self,
        regs: regkit.RegularizerSet,
        layers: Sequence[Any] | None = None,
        *,
        train: bool = True,
        tape: Any = None,
        seed: Any = None,
    ) -> None:
        members = hosts.members(regs, "Run")
        if layers is not None and not isinstance(layers, Iterable):
            raise regkit.OptionError(f"Run got layers={layers!r}; accepted: a sequence of regkit.Layer, or None")
        self._layers = list(layers or ())
        hosts.check_layers(self._layers)
        if not self._layers:
            hosts.check_patterns(members, (), "Give one for names that are tapped, or give layers")
        self._graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        self._regs = regs
        self._members = members
        self._train = train
        self._tape = tape
        self._seed = seed
        self._outputs: dict[str, Any] = {}
        self._times: dict[str, int] = {}
        self._skipped: dict[str, None] = {}
        self._unrecorded: list[str] = []  # outputs that no tape has recorded
        # members that change outputs and have found none yet
        self._unchanged = [one for one in members if one.changes_graph and (train or one.in_predictions)]

    def __repr__(self) -> str:
        return f"Run({self._regs!r}, outputs={list(self._outputs)})"

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs tapped so far by their names, and the clean originals that regularizers kept."""
        return dict(self._outputs)

    @as_written
    def tap(self, name: str, value: Any) -> Any:
        """Show an output to the regularizers, and return it with their changes, to be used from there on.

        Parameters
        ----------
        name : str
            The name for patterns. Tapped again it is ``name@1``, then ``name@2``, which a pattern that matches the name
            matches too.
        value : tf.Tensor of floats

        Returns
        -------
        tf.Tensor
            The same, unless a regularizer changes it.

        Raises
        ------
        regkit.GraphError
            If it is not a tensor of floats, or the run was made outside of the `tf.function` that this is in.
        """
        if not isinstance(name, str) or not name or "@" in name:
            raise regkit.GraphError(f"tap got the name {name!r}; accepted: a string without @")
        dense = isinstance(value, (tf.Tensor, tf.Variable))
        if not dense or not value.dtype.is_floating:
            shown = f"of {value.dtype.name}" if dense else f"of type {type(value).__name__}"
            raise regkit.GraphError(f"output {name!r} is {shown}; accepted: a tf.Tensor of floats")
        if not tf.executing_eagerly() and not is_open(self._graph):
            raise regkit.GraphError(
                f"output {name!r} is tapped within a tf.function, and the run was made outside of it: the function "
                "would keep the changes of this run. Make the run, or open the watch, within the function"
            )
        value = tf.convert_to_tensor(value)
        times = self._times.get(name, 0)
        self._times[name] = times + 1
        outputs = {name: value}
        changing = self._changing(name)
        if changing:
            chosen = self._regs if self._train else hosts.subset(self._regs, [member.name for member in changing])
            with within(self._scope()):
                chosen.modify_graph(outputs, self._layers)
            still = {member.name for member in hosts.unchanged(self._regs, outputs)}
            self._unchanged = [member for member in self._unchanged if member.name in still]
        for each, output in outputs.items():
            full = f"{each}@{times}" if times else each
            self._outputs[full] = output
            if not could_possibly_record():
                self._unrecorded.append(full)
        return outputs[name]

    def check_changes(self) -> None:
        """Raise a `regkit.NoMatchError` if a regularizer that changes outputs was shown none; `loss` does so too."""
        names = [*self._times, *self._skipped]
        for member in self._unchanged:
            if member.globs is not None:
                raise hosts.no_match(member, member.globs, outputs=names)
            raise regkit.NoMatchError(
                f"{member.name}: {type(member.regularizer).__name__} changes none of the outputs that were tapped: "
                f"{hosts.listed(names)}"
            )

    def check_recorded(self) -> None:
        """Raise a `regkit.GraphError` for an output that no tape has recorded, where one does; `loss` does so too."""
        for name in self._unrecorded if could_possibly_record() else ():
            if any((one.penalizes and one.looks_at(name)) or one in self._changing(name) for one in self._members):
                raise regkit.GraphError(
                    f"output {name!r} was computed where no tape records, as within tf.recompute_grad or "
                    "tape.stop_recording(). Gradients would lack its penalties and changes. Return it from there, and "
                    "tap it by a name that the pattern matches, or take it out of the pattern"
                )

    def _changing(self, name: str) -> list[Any]:
        """Return the members that change an output of a name."""
        return [one for one in self._members if one.changes(name) and (self._train or one.in_predictions)]

    def skip(self, name: str) -> None:
        """Name an output that is not tapped, such as tokens, so that patterns can take it out: ``["*", "!tokens"]``."""
        self._skipped[name] = None

    @as_written
    def loss(self) -> Any:
        """Return what the regularizers add to the loss, for all that was tapped: a scalar tensor, or the number 0.

        Raises
        ------
        regkit.NoMatchError
            If the pattern of a regularizer matches nothing of it, or nothing that it changes was tapped.
        regkit.GraphError
            If a penalty cannot be computed, or it is computed under a tape, and the output was not.
        """
        if self._train:
            hosts.count_loss(self._regs)
        return hosts.total(self.terms())

    @as_written
    def terms(self) -> list[regkit.Term]:
        """Return each regularizer's part of the loss, as `regkit.RegularizerSet.terms` does.

        Errors are those of `loss`.
        """
        hosts.check_given_layers(self._members, self._layers)
        chosen = self._that_count()
        self.check_changes()
        self.check_recorded()
        names = [*dict.fromkeys([*self._times, *self._outputs, *self._skipped])]
        params = [name for layer in self._layers for name, _ in hosts.named_params(layer)] if self._layers else None
        for member, glob in hosts.unmatched(self._members, outputs=names, params=params):
            if self._train or member.penalizes:
                there = {"outputs": names} if member.selects == "outputs" else {"parameters": params}
                raise hosts.no_match(member, [glob], **there)
        with within(self._scope()):
            return hosts.terms(chosen, self._layers, self._outputs)

    @as_written
    def metrics(self) -> dict[str, Any]:
        """Return scalars to look at by the names of member and scalar, as `regkit.RegularizerSet.metrics` does."""
        chosen = self._regs
        if not self._train:
            chosen = hosts.subset(chosen, [m.name for m in self._members if m.penalizes or m.in_predictions])
        with within(self._scope()):
            return hosts.metrics(chosen, self._layers, self._outputs)

    def _that_count(self) -> regkit.RegularizerSet:
        """Return the regularizers; in predictions those that have a penalty, since the others have changed nothing."""
        if self._train:
            return self._regs
        return hosts.subset(self._regs, [member.name for member in self._members if member.penalizes])

    def _scope(self) -> Scope:
        """Return the scope for hooks: with a new seed where they draw."""
        seed = self._seed
        if seed is None and self._train and self._regs.changes_graph:
            seed = tf.random.get_global_generator().uniform_full_int((2,), tf.int32)
        return Scope(seed, self._tape)


@as_written
def after_step(
    regs: regkit.RegularizerSet,
    variables: Mapping[str, Any],
    rate: Any,
    layers: Sequence[Any] = (),
    *,
    divisors: Mapping[str, Any] | None = None,
) -> None:
    r"""Assign to variables what the regularizers make of them after an optimizer's step.

    Parameters
    ----------
    regs : regkit.RegularizerSet
    variables : mapping of str to tf.Variable
        All parameters of the network by their full names. Those that are not trained count, and stay.
    rate : float, scalar tensor, or mapping of str to those
        The step size of the optimizer, or that of each variable: see `regkit.RegularizerSet.after_step`.
    layers : sequence of regkit.Layer, default ()
    divisors : mapping of str to tensor, optional
        By what the optimizer divides the gradient of each element: for Adam :math:`\sqrt{\hat v} + \epsilon`.

    Raises
    ------
    regkit.OptionError
        If `variables` is not such a mapping, or another argument is not accepted.
    regkit.GraphError, regkit.NoMatchError
        As `regkit.RegularizerSet.after_step`.

    Examples
    --------
    >>> import regkit, regkit_tensorflow, tensorflow as tf
    >>> w = tf.Variable([[0.75, -0.25]])
    >>> regkit_tensorflow.after_step(regkit.build(weight_l1=dict(weight=0.5, by="proximal")), {"w": w}, rate=1.0)
    >>> print(w.numpy())
    [[0.25 0.  ]]
    """
    if not isinstance(variables, Mapping) or not all(hasattr(one, "assign") for one in variables.values()):
        raise regkit.OptionError(
            f"after_step got variables={variables!r}; accepted: a dict of full names to tf.Variables, such as "
            "{'hid.w': w}"
        )
    values: dict[int, Any] = {}  # of a variable under two names one tensor, by which the core knows that it is one
    for variable in variables.values():
        values.setdefault(id(variable), tf.convert_to_tensor(variable))
    named = {name: values[id(variable)] for name, variable in variables.items()}
    changed = regs.after_step(named, rate, layers, divisors=divisors)
    for name, variable in variables.items():
        if getattr(variable, "trainable", True):
            variable.assign(changed[name])
