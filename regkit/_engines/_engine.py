"""Engine: the functions that regkit needs of a library of arrays or graphs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .._weights import Live


class Engine:
    """A library of arrays or graphs, as regkit uses it. An engine of a third party is a subclass of this.

    A distribution declares its engine by an entry point, and regkit imports it with the first array::

        [project.entry-points."regkit.engines"]
        jaxlib = "regkit_jax.engine:ENGINE"

    The key is the package in which the class of the arrays, or one of its bases, is defined. If the engine has a class
    of expressions itself, the attribute ``regkit_engine`` of that class is the engine.

    Hooks are written for expressions that behave like NumPy's arrays: operators, ``shape``, ``ndim``, ``size``,
    ``dtype`` (whose ``str`` is NumPy's name of it), ``T``, ``sum``, ``mean``, ``max``, ``argmax``, ``reshape``,
    ``flatten``, ``astype``, ``dot`` and indexing. If the arrays of a library do not, `wrap` puts an expression around
    each array; hosts pass and get the arrays themselves.

    Attributes
    ----------
    name : str
        The name that `regkit.graph.library` returns, also for messages.
    plain : bool
        Whether regkit treats its scalars as plain numbers, like NumPy's.
    wraps : bool
        Whether `wrap` does anything, so that hooks get expressions in place of arrays.
    rebuilds : bool
        Whether `RegularizerSet.apply` can rebuild a finished graph of it with changes.
    """

    name = ""
    plain = False
    wraps = False
    rebuilds = False

    def owns(self, value: Any) -> bool:
        """Return whether a value, of a class of the engine's packages, is an array or expression of it."""
        raise NotImplementedError

    def wrap(self, array: Any) -> Any:
        """Return an array as hooks see it; an expression unchanged."""
        return array

    def unwrap(self, expression: Any) -> Any:
        """Return the array of an expression that `wrap` made; others unchanged."""
        return expression

    def native(self, hook: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """Call a hook of a regularizer that is written for this engine, with arrays in the place of expressions.

        Parameters
        ----------
        hook : callable
        arguments : sequence
            The arguments of the hook: layers, mappings of names to expressions, which it may change, or a scalar.

        Returns
        -------
        expression, dict of str to expression, or None
            The result of the hook.
        """
        return hook(*arguments)

    def eager(self, expression: Any) -> bool:
        """Return whether the value of an expression is known now, and not only when a compiled function runs."""
        raise NotImplementedError

    def described(self, expression: Any) -> str:
        """Return a description of an expression for messages, such as ``shape (3,)``."""
        return f"shape {tuple(expression.shape)}"

    def unfit(self, expression: Any) -> str:
        """Return why hooks cannot take an expression, such as ``complex numbers``; an empty string if they can."""
        return "complex numbers" if str(expression.dtype).startswith("complex") else ""

    def float_type(self) -> str:
        """Return the default dtype of floats in the library, which integers become."""
        raise NotImplementedError

    def functions(self) -> Any:
        """Return the module, or an object like it, that has functions of expressions under NumPy's names."""
        raise NotImplementedError

    def constant(self, value: float, dtype: str) -> Any:
        """Return a number as a scalar expression."""
        raise NotImplementedError

    def cast(self, expression: Any, dtype: str) -> Any:
        """Return an expression in another dtype, a scalar with its gradient too."""
        return expression if str(expression.dtype) == dtype else expression.astype(dtype)

    def total(self, terms: Sequence[Any]) -> Any:
        """Return the sum of one or more scalar expressions."""
        result = terms[0]
        for term in terms[1:]:
            result = result + term
        return result

    def held(self, expression: Any) -> Any:
        """Return an expression of the same value that gradients do not pass through."""
        raise NotImplementedError

    def absolute(self, expression: Any) -> Any:
        """Return the absolute value; an engine of a library in which its derivative at 0 is not 0 has another way."""
        return abs(expression)

    def gradient(self, cost: Any, wrt: Sequence[Any]) -> Sequence[Any]:
        """Return the derivatives of a scalar by each of several expressions; GraphError where there are none."""
        raise NotImplementedError

    def jacobian(self, vector: Any, wrt: Any) -> Any:
        """Return the derivatives of each element of a vector, along a first axis; GraphError where there are none."""
        raise NotImplementedError

    def draw(self, distribution: str, like: Any, seed: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        """Return random draws of the shape of an expression of floats, in its dtype or a wider one.

        Parameters
        ----------
        distribution : {"normal", "uniform"}
            The standard normal distribution, or the uniform one from 0 to 1.
        like : expression
        seed : numpy.random.SeedSequence
            A different one for every draw.

        Returns
        -------
        draws : expression
        updates : list of (shared variable, expression)
            The generators with their next states, for functions of graph libraries; empty elsewhere.
        """
        raise NotImplementedError

    def live(self, weight: Live, like: Any) -> Any:
        """Return a live weight as a number or scalar expression that can meet an expression."""
        return weight.value

    def shared_scalar(self, value: float) -> Any:
        """Return a new shared scalar with ``set_value``, for a `Live`. For engines whose `live` uses it."""
        raise NotImplementedError

    def shared(self, weight: Live) -> Any:
        """Return the shared scalar of a live weight, the same at every call: `shared_scalar` makes it."""
        return weight._variable(self)

    def value_of(self, scalar: Any) -> float:
        """Return the present value of a scalar expression; GraphError if none is known."""
        raise NotImplementedError

    def laboratory(self) -> Any:
        """Return the library as the conformance kit uses it: a `regkit.testing.Laboratory`."""
        raise NotImplementedError
