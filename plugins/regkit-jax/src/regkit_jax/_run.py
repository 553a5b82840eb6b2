"""One computation of a network in JAX with the regularizers of a set."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import regkit

from . import traces
from .derivatives import Derivatives
from .live import with_live
from .scope import A_KEY, Scope, within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: What ends the name of an output that was tapped before: ``act``, ``act@1``, ``act@2``.
NUMBERED = re.compile(r"@\d+$")

#: An output as it was given, and as the regularizers left it.
GIVEN, LEFT = "given", "left"


class Run:
    r"""One computation of a network with regularizers: outputs are tapped in it, and then it has the loss.

    Make it inside of the function that JAX transforms, tap what patterns are to find, and add its loss:
    :math:`\sum_r w_r \, p_r`, weight times penalty.

    Parameters
    ----------
    regs : regkit.RegularizerSet
        What `regkit.build` returns.
    layers : sequence of regkit.Layer, optional
        The layers of the network: their parameters for penalties of weights, their order or roles for regularizers
        without a pattern.
    key : JAX key, optional
        What noise and dropout draw from; another for each step. Without one nothing changes the outputs, as is right
        for predictions.
    live : mapping of str to number or scalar array, optional
        The present values of live weights by the names of their members: what ``regs.live()`` gives, as the transformed
        function got it for an argument.
    again : callable, optional
        For penalties of derivatives: ``again(run)`` computes the network and taps its outputs in the run that it gets.
        It is called once more for each derivative.

    Raises
    ------
    regkit.OptionError
        If an argument is none of those.
    regkit.GraphError
        If a number for `live` would be a constant of a compiled function.

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
    ) -> None:
        if not isinstance(regs, regkit.RegularizerSet):
            raise regkit.OptionError(f"Run got regs={regs!r}; accepted: what regkit.build returns")
        if again is not None and not callable(again):
            raise regkit.OptionError(f"Run got again={again!r}; accepted: a function of a run, or None")
        if layers is not None and not isinstance(layers, Iterable):
            raise regkit.OptionError(f"Run got layers={layers!r}; accepted: a sequence of regkit.Layer, or None")
        self.key = _checked_key(key)
        # another set of the same regularizers: one that begins anew draws the same from the same key
        self._regs = regs[:] if live is None else with_live(regs, live)
        self._layers = [_with_arrays(layer) for layer in layers or ()]
        self._again = again
        self._tracing: bool | None = None  # of a computation for derivatives: whether the run that it is of was traced
        self._derivatives: Any = None if again is None else Derivatives(self._once_more, self._places, self.key)
        self._replaced: dict[Any, Any] = {}
        self._given: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}

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
            What patterns know it by. Tapped again, ``act`` is ``act@1`` and then ``act@2``, and a pattern that matches
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
            If it is not an array of floats, the name not a string, or the function that the run was made for has
            ended.
        """
        self._check_name(name)
        self._check_open(list(self._outputs)[:1])
        times = next(times for times in range(len(self._given) + 1) if _numbered(name, times) not in self._given)
        full = _numbered(name, times)
        given = self._replaced.get((GIVEN, full), as_output(name, value))
        self._given[full] = given
        outputs = {name: given}
        if self.key is not None and self._regs.changes_graph:
            with within(self._scope(self._derivatives)):
                self._regs.modify_graph(outputs, self._layers)
        left = outputs[name] = self._replaced.get((LEFT, full), outputs[name])
        for each, output in outputs.items():
            kept = _numbered(each, times)
            if kept in self._outputs:
                raise regkit.GraphError(
                    f"{kept!r} is kept beside {full!r}, and was tapped before. Call it something else"
                )
            self._outputs[kept] = output
        return left

    def loss(self) -> Any:
        """Return what the regularizers add to the loss, for all that was tapped: a scalar array, or the number 0.

        Raises
        ------
        regkit.NoMatchError
            If the pattern of a regularizer matches nothing of it.
        regkit.GraphError
            If a penalty cannot be computed, or the run is used after the function it was made for ended.
        """
        with within(self._scope(self._derivatives and self._derivatives.more())):
            return self._that_count().loss(self._layers, self._tapped())

    def terms(self) -> list[Any]:
        """Return each regularizer's part of the loss, as `regkit.RegularizerSet.terms` does.

        Errors are those of `loss`.
        """
        with within(self._scope(self._derivatives and self._derivatives.more())):
            return self._that_count().terms(self._layers, self._tapped())

    def _tapped(self) -> dict[str, Any]:
        self._check_open(self._outputs)
        return dict(self._outputs)

    def _that_count(self) -> regkit.RegularizerSet:
        """The regularizers; without a key those that have a penalty, since the others have not changed anything."""
        if self.key is not None or not self._regs.changes_graph:
            return self._regs
        members = (self._regs[i : i + 1] for i, member in enumerate(self._regs) if _has_penalty(member))
        return sum(members, start=self._regs[:0])

    def _scope(self, derivatives: Any) -> Scope:
        self._context = copy_context()
        if self._tracing is not None:
            return Scope(self.key, derivatives, self._tracing)
        if self.key is not None and traces.staged() and not isinstance(self.key, jax.core.Tracer):
            raise regkit.GraphError(
                "the key is a constant of a function that JAX compiles, which would draw the same at every call. Pass "
                "it to the function as an argument"
            )
        return Scope(self.key, derivatives, traces.tracing())

    def _check_name(self, name: Any) -> None:
        if not isinstance(name, str) or not name or NUMBERED.search(name):
            raise regkit.GraphError(
                f"tap got the name {name!r}; accepted: a string that does not end in @ and a number, which is how an "
                "output is called that is tapped again"
            )

    def _check_open(self, names: Any) -> None:
        for name in names:
            if traces.ended(self._outputs[name]):
                raise regkit.GraphError(
                    f"output {name!r} was tapped in a function that JAX has transformed (jit, grad, vmap, checkpoint, "
                    "scan) and that has ended, so nothing can be computed from it. Make the Run inside of that "
                    "function, and return from there what loss() gives"
                )

    # Once more, for derivatives

    def _places(self, expression: Any) -> tuple[tuple[str, str], ...]:
        """Where an expression stands in the computation: which outputs are it, as they were given or were left."""
        places = (((GIVEN, name), value) for name, value in self._given.items())
        left = (((LEFT, name), value) for name, value in self._outputs.items() if name in self._given)
        return tuple(place for place, value in (*places, *left) if value is expression)

    def _once_more(self, values: list[tuple[Any, Any]], key: Any, derivatives: Any) -> None:
        """Compute everything again with other values in some places."""
        run = copy.copy(self)
        run.key, run._derivatives = key, derivatives
        run._regs = self._regs[:]
        run._given, run._outputs = {}, {}
        run._replaced = {place: value for places, value in values for place in places}
        run._tracing = traces.tracing() if self._tracing is None else self._tracing
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


def _numbered(name: str, times: int) -> str:
    return f"{name}@{times}" if times else name


def as_output(name: str, value: Any) -> jax.Array:
    """Return an output as a JAX array of floats.

    Raises
    ------
    GraphError
        If it is not one.
    """
    array = as_array(value)
    if array is None:
        shown = "None" if value is None else f"of type {type(value).__module__}.{type(value).__qualname__}"
        raise regkit.GraphError(f"output {name!r} is {shown}; accepted: a JAX array of floats")
    if not is_floats(array):
        raise regkit.GraphError(
            f"output {name!r} is of {array.dtype}; accepted: a JAX array of floats, such as what is computed from it"
        )
    return array


def is_floats(value: Any) -> bool:
    """Tell whether a value is a JAX array of floats."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.floating)


def as_array(value: Any) -> jax.Array | None:
    """Return the JAX array that a value is, holds (as a parameter of Flax does) or, from NumPy, becomes; or None."""
    if isinstance(value, jax.Array):
        return value
    if hasattr(value, "__jax_array__") or isinstance(value, (np.ndarray, np.generic)):
        return jnp.asarray(value)
    return None


def _with_arrays(layer: Any) -> Any:
    """A layer whose parameters are arrays: itself, unless some are objects that hold them."""
    held = [hasattr(param, "__jax_array__") and not isinstance(param, jax.Array) for param in _params(layer)]
    if not any(held):
        return layer
    names = layer.params if isinstance(layer.params, dict) else layer.param_names
    params = [param if (array := as_array(param)) is None else array for param in _params(layer)]
    return regkit.Layer(layer.output_name, dict(zip(names, params)), role=getattr(layer, "role", None))


def _params(layer: Any) -> list[Any]:
    params = getattr(layer, "params", ())
    return list(params.values() if isinstance(params, dict) else params)


def _has_penalty(regularizer: Any) -> bool:
    return getattr(type(regularizer), "loss", None) not in (None, regkit.Regularizer.loss)


def _checked_key(key: Any) -> Any:
    if key is None:
        return None
    array = as_array(key)
    if array is not None:
        typed = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
        if (typed and array.ndim == 0) or (not typed and array.dtype == jnp.uint32 and array.ndim == 1):
            return array
    shown = repr(key) if array is None else f"an array of {array.dtype} and shape {array.shape}"
    raise regkit.OptionError(f"Run got key={shown}; accepted: {A_KEY}, or None where nothing is to be changed")
