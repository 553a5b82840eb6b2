"""Functions for what differs between graph libraries.

Most of a regularizer can be written with operators and methods: ``abs(z).sum()`` works on every library and on NumPy
arrays. The rest is here. Each function uses the library of the expression that it gets:

| function | does |
| --- | --- |
| `library` | returns the name of the library of an expression |
| `Engine` | base class of engines, which bring other libraries |
| `functions` | returns the module with ``exp``, ``log``, ``sqrt`` and so on |
| `absolute` | returns the absolute value, with one derivative at 0 on every library |
| `cast` | gives a number the dtype of an expression |
| `widened` | converts integers to floats, and float16 and bfloat16 to float32 |
| `weight` | returns a regularizer's weight, a number, live or symbolic, for an expression |
| `total`, `mean` | add any number of terms, and divide by how many there are |
| `reduced_sum` | adds up an array: the sum, the mean over elements, or the mean over examples |
| `sparsity` | returns the shares of zeros and of dead units, and the number of active units |
| `gradient`, `jacobian` | differentiate a scalar, a vector |
| `held` | keeps gradients from passing through an expression |
| `random_stream` | draws random numbers that differ from call to call of a compiled function |
| `rebuild` | changes named expressions of a finished graph, and everything that depends on them |
"""

from .._engines import Engine, functions, library
from ._arithmetic import absolute, cast, mean, reduced_sum, sparsity, total, widened
from ._gradients import gradient, held, jacobian
from ._random import random_stream
from ._rebuild import rebuild
from ._weights import weight

__all__ = [
    "Engine",
    "absolute",
    "cast",
    "functions",
    "gradient",
    "held",
    "jacobian",
    "library",
    "mean",
    "random_stream",
    "rebuild",
    "reduced_sum",
    "sparsity",
    "total",
    "weight",
    "widened",
]
