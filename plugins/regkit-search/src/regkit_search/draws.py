"""What compiled functions draw, begun anew for each trial."""

from __future__ import annotations

from typing import Any

import numpy as np

import regkit


class Draws:
    """The random generators of compiled functions: those of noise and dropout, and your own.

    A function moves its generators on at every call, so that what a trial draws would depend on the trials before it.
    Made in `prepare`, after compiling, and begun in `evaluate`, they are a matter of the trial alone::

        draws = search.Draws(step)

        def evaluate(trial):
            draws.begin(trial.seed)

    Parameters
    ----------
    *functions
        Compiled by theano-pymc, Aesara or PyTensor. A function that draws nothing does no harm.

    Raises
    ------
    regkit.OptionError
        If one is not such a function.

    Examples
    --------
    >>> import regkit_search as search
    >>> search.Draws()
    <draws of 0 generators>
    """

    def __init__(self, *functions: Any) -> None:
        shared: dict[int, Any] = {}
        for function in functions:
            if not callable(getattr(function, "get_shared", None)):
                raise regkit.OptionError(
                    f"Draws got {function!r}; accepted: compiled functions of theano-pymc, Aesara or PyTensor. "
                    "On JAX, make a key from trial.seed and hand it to your step"
                )
            shared.update((id(variable), variable) for variable in function.get_shared())
        # Functions list their variables in no certain order. What a generator would draw now tells it from the others:
        # it follows from the seed of the regularizer, and is the same in every process
        self._generators = [
            (variable, int.from_bytes(value.bytes(16), "little"))
            for variable in shared.values()
            if isinstance(value := variable.get_value(), (np.random.Generator, np.random.RandomState))
        ]

    def begin(self, seed: int) -> None:
        """Have all generators begin anew.

        Parameters
        ----------
        seed : int
            Such as ``trial.seed``. One seed gives the same draws every time, of each generator others.
        """
        for variable, own in self._generators:
            sequence = np.random.SeedSequence([seed, own])
            value = variable.get_value()
            if isinstance(value, np.random.Generator):
                variable.set_value(np.random.Generator(type(value.bit_generator)(sequence)))
            else:
                variable.set_value(np.random.RandomState(np.random.MT19937(sequence)))

    def __repr__(self) -> str:
        return f"<draws of {len(self._generators)} generators>"
