"""What a NumPy twin needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np


def selected(
    regularizer: Any, layers: Sequence[Any], outputs: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return the arrays that a regularizer is about, for its NumPy twin.

    A twin is to be the penalty a second time, and not to lean on what it proves. So this goes by the standard library's
    `fnmatch` and not by `regkit.select_outputs`.

    Parameters
    ----------
    regularizer : Regularizer
        Its ``pattern`` is a glob, several, or None.
    layers : sequence of Layer
        First the input, last the output, between them hidden.
    outputs : mapping of str to array, optional
        All outputs by name. Without it the layers' parameters are selected from, by their names.

    Returns
    -------
    dict of str to array
        The outputs that the pattern matches, or those of all hidden layers where there is none; the parameters that the
        pattern matches, or all of them.

    Examples
    --------
    >>> import numpy, regkit.testing
    >>> network = regkit.testing.Network()
    >>> layers, outputs = network.connect(network.values(), numpy)
    >>> list(regkit.testing.selected(regkit.Regularizer(), layers, outputs))
    ['hid1:out', 'hid2:out']
    >>> list(regkit.testing.selected(regkit.Regularizer("hid2.*"), layers))
    ['hid2.w', 'hid2.b']
    """
    if outputs is None:
        arrays = {param.name: np.asarray(param) for layer in layers for param in layer.params}
        usual = list(arrays)
    else:
        arrays = dict(outputs)
        usual = [layer.output_name for layer in layers[1:-1]]
    pattern = regularizer.pattern
    if pattern is None:
        return {name: arrays[name] for name in usual}
    globs = [pattern] if isinstance(pattern, str) else pattern
    return {name: array for name, array in arrays.items() if any(fnmatchcase(name, glob) for glob in globs)}
