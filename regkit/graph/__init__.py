"""The little that differs between graph libraries.

A regularizer says most of what it needs with operators: ``abs(z).sum()`` works on every library and on NumPy arrays.
What cannot be said so is here. Each function looks at the expression it is given and uses the library that made it:

| function | does |
| --- | --- |
| `library` | tells which library made an expression |
| `Engine` | what a distribution subclasses to bring another library: see `regkit.graph.engine` |
| `functions` | gives the module that has its ``exp``, ``log``, ``sqrt`` and so on |
| `absolute` | gives the absolute value with one derivative at 0 on every library |
| `cast` | keeps dtypes as they are where a number meets an expression |
| `widened` | makes floats of integers, and float32 of float16 and bfloat16 |
| `weight` | gives a regularizer's weight, a number, live or symbolic, for an expression |
| `total`, `mean` | add any number of terms, and divide by how many there are |
| `reduced_sum` | adds up an array: as it is, per element or per example |
| `sparsity` | tells the share of zeros, of dead units, the number of active ones |
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
