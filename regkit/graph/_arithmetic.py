"""Arithmetic that keeps dtypes as they are and does not mind how many terms there are."""

from __future__ import annotations

from .._engines import common_engine, engine, engine_of
from .._values import REDUCTIONS
from ..errors import GraphError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: Floats of 16 bits: sums of them overflow, or lose what is added.
HALVES = ("float16", "bfloat16")


def cast(value: Any, dtype: str) -> Any:
    """Return a number or an expression as one of the given dtype.

    Weights and counts go through this before they meet an expression: with floatX=float64, ``0.1 * x`` of a float32
    expression is float64, and dividing by ``x.shape[0]`` always is.

    Parameters
    ----------
    value : number or expression
    dtype : str

    Returns
    -------
    NumPy array of no dimensions, or expression

    Raises
    ------
    GraphError
        If it is neither, such as a `regkit.Live`, whose present value would stay in the graph for good.
    """
    own = engine_of(value)
    if own is not None:
        return own.cast(value, dtype)
    if not isinstance(value, (int, float)):
        raise GraphError(
            f"cast got {value!r}; accepted: a number or an expression. A weight, which may be live, becomes an "
            "expression by regkit.graph.weight(self, like)"
        )
    import numpy as np

    from .._engines._numpy import known_dtype

    return np.asarray(value, dtype=known_dtype(dtype))


def as_float(expression: Any) -> Any:
    """Return an expression whose dtype is a float: integers and bools become floatX (float64 in NumPy).

    Parameters
    ----------
    expression : expression

    Returns
    -------
    expression

    Examples
    --------
    >>> import numpy
    >>> as_float(numpy.array([1, 2])).dtype
    dtype('float64')
    """
    if str(expression.dtype).startswith(("int", "uint", "bool")):
        return cast(expression, engine(expression).float_type())
    return expression


def widened(expression: Any) -> Any:
    """Return an expression with room for squares, sums and counts: float16 and bfloat16 as float32.

    float16 ends at 65,504, and bfloat16 counts to 256. Integers and bools become floatX, other dtypes stay.

    Parameters
    ----------
    expression : expression

    Returns
    -------
    expression

    Examples
    --------
    >>> import numpy, regkit
    >>> z = numpy.array([300, 400], "float16")
    >>> print(numpy.sqrt((regkit.graph.widened(z) ** 2).sum()))
    500.0
    """
    expression = as_float(expression)
    return cast(expression, "float32") if str(expression.dtype) in HALVES else expression


def total(terms: Sequence[Any]) -> Any:
    r"""Return the sum of any number of scalar terms: :math:`\sum_i t_i`.

    Adding hundreds of terms one by one ends in a RecursionError, or in C sources of megabytes. Up to 16 terms are added
    in their order. In a graph more are stacked, 32 at a time, each stack times a vector of ones, and the products
    summed likewise: the library's rewriters do not flatten that into one sum again.

    Parameters
    ----------
    terms : sequence of scalar expressions
        At least one, all of one library.

    Returns
    -------
    scalar expression
        Its dtype is that of the terms, the widest where they differ.

    Raises
    ------
    GraphError
        If there are no terms, or they are of different libraries.

    Examples
    --------
    >>> import numpy, regkit
    >>> print(regkit.graph.total([numpy.float32(1.5), numpy.float32(2)]))
    3.5
    """
    terms = list(terms)
    own = common_engine((f"term {i}", term) for i, term in enumerate(terms))
    if own is None:
        raise GraphError("the total of no terms has no library and no dtype")
    for i, term in enumerate(terms):
        if getattr(term, "ndim", None) != 0:
            raise GraphError(f"term {i} of a total is not a scalar: it is of {own.described(term)}")
    return own.total(terms)


def mean(terms: Sequence[Any]) -> Any:
    r"""Return the mean of any number of scalar terms: :math:`\frac{1}{n} \sum_i t_i`.

    Parameters
    ----------
    terms : sequence of scalar expressions
        At least one, all of one library.

    Returns
    -------
    scalar expression
        In the widest dtype of the terms; float16 and bfloat16 become float32, and integers floatX.

    Raises
    ------
    GraphError
        If there are no terms, or they are of different libraries.

    Examples
    --------
    >>> import numpy, regkit
    >>> print(regkit.graph.mean([numpy.float32(1.5), numpy.float32(2)]))
    1.75
    """
    terms = list(terms)
    result = total([widened(term) for term in terms])
    return result / cast(len(terms), str(result.dtype))


def reduced_sum(elements: Any, reduction: str = "sum", name: str = "the array") -> Any:
    r"""Return the sum of all elements of an array, divided by how many there are of what the reduction says.

    :math:`\frac{1}{n} \sum_j e_j`, n being 1 for ``"sum"``, the number of elements for ``"mean"`` and the length of
    axis 0, the number of examples, for ``"batch"``. An empty array gives 0.

    Parameters
    ----------
    elements : expression
        Of any shape. Integers become floatX first.
    reduction : {"sum", "mean", "batch"}, default "sum"
    name : str, optional
        What an error calls the array.

    Returns
    -------
    scalar expression
        In the dtype of the elements; float32 for float16 and bfloat16.

    Raises
    ------
    GraphError
        If ``"batch"`` meets an array without axes.
    OptionError
        If the reduction is none of the three.

    Examples
    --------
    >>> import numpy, regkit
    >>> print(regkit.graph.reduced_sum(numpy.array([[1.0, 2.0], [0.0, 3.0]]), "batch"))
    3.0
    """
    if reduction not in REDUCTIONS:
        accepted = ", ".join(map(repr, REDUCTIONS))
        raise OptionError(f"reduced_sum got reduction={reduction!r}; accepted: {accepted}")
    elements = widened(elements)
    result = elements.sum()
    if reduction != "sum":
        if reduction == "batch" and elements.ndim == 0:
            raise GraphError(f"{name} has no axes, so reduction='batch' has no axis 0 to divide by")
        count = elements.size if reduction == "mean" else elements.shape[0]
        result = result / cast(count + (count < 1), str(result.dtype))  # that of an empty array is 0 / 1
    return result


def sparsity(outputs: Sequence[Any]) -> dict[str, Any]:
    r"""Return how sparse outputs are: means over outputs :math:`Z_i` of (examples, ..., units).

    Parameters
    ----------
    outputs : sequence of expressions
        At least one, all of one library.

    Returns
    -------
    dict of str to scalar expression
        ``zeros``, the share of elements that are exactly 0; ``l0``, the number of units that are not 0 in an example;
        ``dead``, the share of units that are 0 in all examples. NaN is not 0. An array without axes counts as one unit,
        and one without elements as zero everywhere.

    Examples
    --------
    >>> import numpy, regkit
    >>> z = numpy.array([[1.0, 0.0, 0.0, 2.0], [3.0, 0.0, 0.0, 0.0]])
    >>> {name: float(value) for name, value in regkit.graph.sparsity([z]).items()}
    {'zeros': 0.625, 'l0': 1.5, 'dead': 0.5}
    """
    found = [_sparsity(widened(z)) for z in outputs]
    return {name: mean([one[name] for one in found]) for name in ("zeros", "l0", "dead")}


def _sparsity(z: Any) -> dict[str, Any]:
    dtype = str(z.dtype)
    z = z if z.ndim else z.reshape((1,))
    zeros = cast(abs(z) <= 0, dtype)
    active = cast(1, dtype) - zeros
    in_none = cast(active.sum(axis=tuple(range(z.ndim - 1))) <= 0, dtype)
    l0 = reduced_sum(active, "mean") * cast(z.shape[-1], dtype)
    return {"zeros": _share(zeros, dtype), "l0": l0, "dead": _share(in_none, dtype)}


def _share(flags: Any, dtype: str) -> Any:
    """Return the mean of zeros and ones; 1 for an empty array."""
    empty = flags.size < 1
    return (flags.sum() + cast(empty, dtype)) / cast(flags.size + empty, dtype)
