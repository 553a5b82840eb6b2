"""One computation of a network in JAX with the regularizers of a set."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypedDict

import jax

import regkit
from regkit import hosts

from . import _internals
from ._axes import checked_axes, folded, whole
from ._scope import Derivatives, Scope, within
from ._values import (
    as_array,
    as_output,
    check_names,
    checked_key,
    checked_live,
    checked_stacked,
    is_floats,
    numbered,
    with_arrays,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: The end of the name of an output that was tapped before: ``act``, ``act@1``, ``act@2``.
NUMBERED = re.compile(r"@\d+$")

#: An output as it was given, and as the regularizers left it.
GIVEN, LEFT = "given", "left"


class Options(TypedDict, total=False):
    """The arguments of a `Run` that a watch takes too, beside its model and its set."""

    key: Any
    live: Mapping[str, Any] | None
    again: Callable[[Run], Any] | None
    stacked: Mapping[str, int] | None
    axis_name: str | tuple[str, ...] | None


class Run:
    r"""One computation of a network with regularizers: outputs are tapped in it, and then it has the loss.

    Make it inside of the function that JAX transforms, tap the outputs that patterns are for, and add its loss:
    :math:`\sum_r w_r \, p_r`, weight times penalty.

    Parameters
    ----------
    regs : regkit.RegularizerSet
        What `regkit.build` returns.
    layers : sequence of regkit.Layer, optional
        The layers of the network: their parameters for penalties of weights, their order or roles for regularizers
        without a pattern.
    key : JAX key, optional
        The source of the draws of noise and dropout; another for each step. Without one nothing changes the outputs,
        as is right for predictions.
    live : mapping of str to number or scalar array, optional
        The present values of live weights by the names of their members: ``regs.live()``, passed to the transformed
        function as an argument.
    again : callable, optional
        For penalties of derivatives: ``again(run)`` computes the network and taps its outputs in the run that it gets.
        It is called once more for each derivative.
    stacked : mapping of str to int, optional
        Parameters that hold those of several layers, as for ``scan``: an axis for each glob, ``{"blocks.*": 0}``. Each
        slice is a parameter, ``blocks.w``, ``blocks.w@1`` and so on.
    axis_name : str or tuple of str, optional
        The axes of ``shard_map``, ``pmap`` or ``vmap`` over which the batch is split. Penalties are then those of the
        whole batch, the same on each device, and the mean over devices of the gradients is that of the whole batch.
        Draws differ from device to device. Parameters are taken as they are.

    Raises
    ------
    regkit.OptionError
        If an argument is none of those, or both `again` and `axis_name` are given.
    regkit.GraphError
        If a number in `live` would be a constant of a compiled function, or there is no axis of that name.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, regkit, regkit_jax
    >>> regs = regkit.build(hidden_l1=dict(weight=0.5, pattern="hid"))
    >>> @jax.jit
    ... def loss(w, x):
    ...     run = regkit_jax.Run(regs)
    ...     h = run.tap("hid", jnp.dot(x, w))
    ...     return (h**2).sum() + run.loss()
    >>> print(loss(jnp.array([1.0, -2.0]), jnp.eye(2)))  # 1 + 4, and half of 1 + 2
    6.5
    """

    def __init__(
        self,
        regs: regkit.RegularizerSet,
        layers: Sequence[Any] | None = None,
        key: Any = None,
        live: Mapping[str, Any] | None = None,
        again: Callable[[Run], Any] | None = None,
        stacked: Mapping[str, int] | None = None,
        axis_name: str | tuple[str, ...] | None = None,
    ) -> None:
        members = hosts.members(regs, "Run")
        if again is not None and not callable(again):
            raise regkit.OptionError(f"Run got again={again!r}; accepted: a function of a run, or None")
        if layers is not None and not isinstance(layers, Iterable):
            raise regkit.OptionError(f"Run got layers={layers!r}; accepted: a sequence of regkit.Layer, or None")
        self._axes = checked_axes(axis_name, "Run")
        if self._axes and again is not None:
            raise regkit.OptionError(
                "Run got both again and axis_name, and a derivative cannot be taken through what devices gather. Give "
                "the penalties of derivatives a run of their own without axis_name: with reduction='batch' they are "
                "means over examples, so the mean over devices is that of the whole batch"
            )
        self.key = checked_key(key)
        self._key_here = folded(self.key, self._axes)
        if live is not None:
            regs = hosts.with_weights(regs, checked_live(regs, live, "Run"))
        self._all, self._shown = regs, members
        # another set of the same regularizers, since one that begins anew draws the same from the same key; without a
        # key those with a penalty, or a change that holds in predictions too
        self._members = [m for m in members if self.key is not None or m.penalizes or m.in_predictions]
        self._begin(regs)
        layers = list(layers or ())
        hosts.check_layers(layers)
        self._stacked = checked_stacked(stacked, "Run")
        check_names(self._stacked, [name for layer in layers for name, _ in hosts.named_params(layer)])
        self._layers = [with_arrays(layer, self._stacked) for layer in layers]
        self._again = again
        self._tracing: bool | None = None  # of a computation for derivatives: whether the run that it is of was traced
        self._derivatives: Any = None if again is None else Derivatives(self._once_more, self._places, self.key)
        self._replaced: dict[Any, Any] = {}
        self._given: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}
        self._skipped: dict[str, None] = {}
        # members that change outputs and have found none yet
        self._changing = [m for m in self._members if m.changes_graph and (self.key is not None or m.in_predictions)]
        self._unchanged = list(self._changing)
        # where parameters are looked at: the trace in which they were, which a compiled or differentiated function is
        # not if the run was made outside of it
        params = bool(self._layers) and any(m.penalizes and m.selects == "params" for m in self._members)
        self._opened = _internals.here() if params else None
        self._trace = _internals.running()[0]

    def _begin(self, regs: regkit.RegularizerSet) -> None:
        """Take new sets of the members, which have seen nothing: for penalties, and for changes of outputs."""
        self._regs = self._penalties = self._changes = hosts.subset(regs, [m.name for m in self._members])
        if self.key is None or self._axes:  # members that change outputs have not seen those of the whole batch
            self._penalties = hosts.subset(self._regs, [m.name for m in self._members if m.penalizes])
        if self.key is None:
            self._changes = hosts.subset(self._regs, [m.name for m in self._members if m.in_predictions])

    def __repr__(self) -> str:
        return f"Run({self._regs!r}, outputs={list(self._outputs)})"

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs tapped so far by their names, and the clean originals that regularizers kept."""
        return dict(self._outputs)

    def tap(self, name: str, value: Any) -> Any:
        """Show an output to the regularizers, and return what it is from there on.

        Parameters
        ----------
        name : str
            Its name for patterns. Tapped again, ``act`` is ``act@1`` and then ``act@2``, and a pattern that matches
            ``act`` matches these too.
        value : JAX array of floats
            NumPy's become JAX's.

        Returns
        -------
        JAX array
            The same, unless there is a key and a regularizer changes it.

        Raises
        ------
        regkit.GraphError
            If it is not an array of floats, the name not a string, or what a regularizer looks at or changes is tapped
            where the function of the run is not differentiated: within a `jax.custom_jvp`, or after its end.
        regkit.OptionError
            If a regularizer that changes outputs has no pattern, and there are no layers.
        """
        self._check_name(name)
        times = next(times for times in range(len(self._given) + 1) if numbered(name, times) not in self._given)
        full = numbered(name, times)
        given = self._replaced.get((GIVEN, full), as_output(name, value))
        self._given[full] = given
        outputs = {name: given}
        self._check_batch(name, given)
        self._check_differentiated(name)
        if self._changing:
            with within(self._scope(self._derivatives, self._key_here)):
                self._changes.modify_graph(outputs, self._layers)
            still = {member.name for member in hosts.unchanged(self._changes, outputs)}
            self._unchanged = [member for member in self._unchanged if member.name in still]
        left = outputs[name] = self._replaced.get((LEFT, full), outputs[name])
        for each, output in outputs.items():
            kept = numbered(each, times)
            if kept in self._outputs:
                raise regkit.GraphError(
                    f"{kept!r} is kept beside {full!r}, and was tapped before. Call it something else"
                )
            self._outputs[kept] = output
        return left

    def tap_all(self, path: str, output: Any) -> Any:
        """Show what a module returns, and return it as the regularizers leave it: for adapters of module libraries.

        Arrays in tuples and dicts are ``path:0`` and ``path:logits``; what no pattern matches is not tapped.
        """
        leaves, structure = jax.tree_util.tree_flatten_with_path(output, is_leaf=lambda leaf: leaf is None)
        tapped = []
        for inner, leaf in leaves:
            name = path + (":" + jax.tree_util.keystr(inner, simple=True, separator=".") if inner else "")
            if any(member.wants(name, is_floats(leaf)) for member in self._shown):
                leaf = self.tap(name, leaf)
            else:
                self.skip(name)
            tapped.append(leaf)
        return jax.tree_util.tree_unflatten(structure, tapped)

    def tap_each(self, name: str, stacked: Any) -> Any:
        """Show the outputs of several layers, stacked along the leading axis, as ``scan`` returns them; return them.

        Each slice is an output by itself, ``h``, ``h@1`` and so on, as if the layers were not scanned.

        Raises
        ------
        regkit.GraphError
            If a regularizer would change one of them: what is computed after them is there already. And as `tap`.
        """
        stacked = as_output(name, stacked)
        if not stacked.ndim:
            raise regkit.GraphError(f"tap_each got {name!r} without an axis; accepted: outputs stacked along the first")
        changing = [member.name for member in self._changing if member.wants(name, True) and member.changes(name)]
        if changing:
            raise regkit.GraphError(
                f"{changing[0]} would change the outputs {name!r}, and the scan that computed them is over. Write a "
                "loop over the layers"
            )
        for output in stacked:
            self.tap(name, output)
        return stacked

    def skip(self, name: str) -> None:
        """Name an output that is not tapped, such as tokens, so that patterns can take it out: ``["*", "!tokens"]``."""
        self._skipped[name] = None

    def mistakes(self, params: Any) -> bool:
        """Return whether a network computes with parameters that JAX transforms, and those of the run are others.

        For adapters. The penalties of the run's parameters would then have a gradient of 0.

        Parameters
        ----------
        params : pytree
            Parameters of a module that is called.
        """
        if self._opened is None or self._opened != _internals.here():
            return False
        own = [param for layer in self._layers for _, param in hosts.named_params(layer)]
        return _internals.beyond(map(as_array, jax.tree.leaves(params)), own)

    def loss(self) -> Any:
        """Return what the regularizers add to the loss, for all that was tapped: a scalar array, or the number 0.

        Raises
        ------
        regkit.NoMatchError
            If the pattern of a regularizer matches nothing of it, or, with a key, nothing that it changes was tapped.
        regkit.OptionError
            If a regularizer of outputs has no pattern, and there are no layers.
        regkit.GraphError
            If a penalty cannot be computed, or the run is used after the function it was made for ended.
        """
        hosts.count_loss(self._all)
        return hosts.total(self.terms())

    def terms(self) -> list[Any]:
        """Return each regularizer's part of the loss, as `regkit.RegularizerSet.terms` does.

        Errors are those of `loss`.
        """
        self._check_open("loss")
        self._check_trace()
        self._check_globs()
        self.check_changes()
        with within(self._scope(self._derivatives and self._derivatives.more(), self.key)):
            return hosts.terms(self._penalties, self._layers, self._whole_batch("loss"))

    def metrics(self) -> dict[str, Any]:
        """Return scalars to look at by the names of member and scalar, as `regkit.RegularizerSet.metrics` does.

        They are of all that was tapped. A function that is differentiated returns them beside its loss, for
        ``has_aux=True``. Errors are those of `loss`.

        Examples
        --------
        >>> import jax, jax.numpy as jnp, regkit, regkit_jax
        >>> regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="hid"))
        >>> @jax.jit
        ... def zeros(x):
        ...     run = regkit_jax.Run(regs)
        ...     run.tap("hid", jax.nn.relu(x))
        ...     return run.metrics()["hidden_l1.zeros"]
        >>> print(zeros(jnp.array([[1.0, -2.0, 3.0, -4.0]])))
        0.5
        """
        self._check_open("metrics")
        self._check_globs()
        self.check_changes()
        with within(self._scope(None, self.key)):
            return hosts.metrics(self._regs, self._layers, self._whole_batch("metrics"))

    def _looked_at(self, hook: str, main: Collection[str]) -> dict[str, Any]:
        """Return the outputs that members may look at in a hook; for some it may ask, as main outputs of layers."""
        looking = [m for m in self._members if hook in m.hooks]
        return {
            name: output
            for name, output in self._outputs.items()
            if any(m.looks_at(name) or (name in main and m.selects != "params") for m in looking)
        }

    def _whole_batch(self, hook: str) -> dict[str, Any]:
        """Return the outputs, those that members may look at in a hook being of the whole batch."""
        if not self._axes:
            return self._outputs
        looked_at = self._looked_at(hook, self._outputs if self._layers else ())
        return self._outputs | {name: whole(name, output, self._axes) for name, output in looked_at.items()}

    def _check_globs(self) -> None:
        """Raise for a glob that matches nothing, or takes nothing out."""
        hosts.check_given_layers(self._members, self._layers)
        outputs = [*self._outputs, *self._skipped]
        params = [name for layer in self._layers for name, _ in hosts.named_params(layer)] if self._layers else None
        for member, glob in hosts.unmatched(self._members, outputs=outputs, params=params):
            there = {"outputs": outputs} if member.selects == "outputs" else {"parameters": params}
            raise hosts.no_match(member, [glob], **there)

    def check_changes(self) -> None:
        """Raise for a regularizer that changes outputs and found none to change: for adapters, where a model has run.

        Raises
        ------
        regkit.NoMatchError
            With the names that there were.
        """
        for member in self._unchanged:
            tapped = list(dict.fromkeys(NUMBERED.sub("", name) for name in (*self._given, *self._skipped)))
            if member.globs is not None:
                raise hosts.no_match(member, member.globs, outputs=tapped)
            raise regkit.NoMatchError(
                f"{member.name}: {type(member.regularizer).__name__} changes none of the outputs that were tapped: "
                f"{hosts.listed(tapped)}"
            )

    def _scope(self, derivatives: Any, key: Any) -> Scope:
        self._context = copy_context()
        if self._tracing is not None:
            return Scope(key, derivatives, self._tracing)
        if self.key is not None and _internals.staged() and not isinstance(self.key, jax.core.Tracer):
            raise regkit.GraphError(
                "the key is a constant of a function that JAX compiles, which would draw the same at every call. Pass "
                "it to the function as an argument"
            )
        repeats = isinstance(self.key, jax.core.Tracer) and _internals.repeats(self.key)
        return Scope(key, derivatives, _internals.tracing(), repeats)

    def _check_name(self, name: Any) -> None:
        if not isinstance(name, str) or not name or NUMBERED.search(name):
            raise regkit.GraphError(
                f"tap got the name {name!r}; accepted: a string that does not end in @ and a number, which is how an "
                "output is called that is tapped again"
            )

    def _check_open(self, hook: str) -> None:
        """Raise for an output that a member looks at in a hook, and from which nothing can be computed any more.

        One that was only changed is right: what a model goes on with has come out of the transformation.
        """
        main = [layer.output_name for layer in self._layers if getattr(layer, "role", None) != "hidden"]
        for name, output in self._looked_at(hook, main).items():
            if _internals.ended(output):
                raise regkit.GraphError(
                    f"output {name!r} was tapped in a function that JAX has transformed (jit, grad, vmap, checkpoint, "
                    "scan) and that has ended, so nothing can be computed from it. Make the Run inside of that "
                    "function, and return from there what loss() gives"
                )

    def _check_trace(self) -> None:
        """Raise where the parameters that the run was given are constants of what JAX transforms here."""
        if self._opened is not None and self._opened != _internals.here():
            raise regkit.GraphError(
                "the run was made outside of the function that JAX transforms here (jit, grad, vmap, checkpoint, "
                "scan), so the parameters of its layers would be constants, with a gradient of 0. Make the Run, or "
                "open the watch, inside of the function that is differentiated or compiled, with its parameters"
            )

    def _check_differentiated(self, name: str) -> None:
        """Raise where what differentiates the function of the run does not see the output."""
        if any(trace is self._trace for trace in _internals.running()):
            return
        for member in self._members:
            if (member.penalizes and member.looks_at(name)) or (member in self._changing and member.changes(name)):
                raise regkit.GraphError(
                    f"{member.name}: output {name!r} is tapped where the transformation of the run is not: within a "
                    "function that has its derivative by jax.custom_jvp or jax.custom_vjp, which knows nothing of the "
                    "tap, or after the function that made the run has ended. Return the output from there, and tap it "
                    "where the run was made"
                )

    def _check_batch(self, name: str, output: Any) -> None:
        """Raise for one example under ``vmap`` where a regularizer divides by the examples."""
        if output.ndim < 2 and not self._axes and _internals.batched():
            for member in self._members:
                if member.looks_at(name) and getattr(member.regularizer, "reduction", None) == "batch":
                    raise regkit.GraphError(
                        f"{member.name}: reduction='batch' divides by the first axis of {name!r}, which under vmap is "
                        f"one example of shape {output.shape}. Use reduction='sum', and the mean of what vmap returns"
                    )

    # Once more, for derivatives

    def _places(self, expression: Any) -> tuple[tuple[str, str], ...]:
        """Return the places of an expression in the computation: the outputs that are it, as given or as left."""
        places = (((GIVEN, name), value) for name, value in self._given.items())
        left = (((LEFT, name), value) for name, value in self._outputs.items() if name in self._given)
        return tuple(place for place, value in (*places, *left) if value is expression)

    def _once_more(self, values: list[tuple[Any, Any]], key: Any, derivatives: Any) -> None:
        """Compute everything again with other values in some places."""
        run = copy.copy(self)
        run.key = run._key_here = key
        run._derivatives = derivatives
        run._opened, run._trace = None, _internals.running()[0]  # the trace here is that of the derivative
        run._begin(self._regs)
        run._given, run._outputs = {}, {}
        run._replaced = {place: value for places, value in values for place in places}
        run._tracing = _internals.tracing() if self._tracing is None else self._tracing
        # a hook is running here, whose name would be mixed into the seeds of draws; it was not when they were drawn
        self._context.copy().run(self._all_of, run)

    def _all_of(self, run: Run) -> None:
        self._compute(run)
        if not run._outputs:
            raise regkit.GraphError(
                "again tapped nothing in the run that it was given. It is called with a run of its own: "
                "def forward(run): ... run.tap(...)"
            )
        run.terms()

    def _compute(self, run: Run) -> None:
        assert self._again is not None
        self._again(run)
