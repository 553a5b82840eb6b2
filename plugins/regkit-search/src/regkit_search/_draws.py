"""What compiled functions draw, begun anew for each trial."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import Any

import numpy as np

import regkit

#: The smaller of the two moduli of MRG31k3p, the generator in the libraries' ``sandbox.rng_mrg``. Integers from 1 up to
#: it are states of both of its halves.
MODULUS = 2147462579


class Draws:
    """The random generators of compiled functions: those of noise and dropout, and your own.

    Your own may be those of ``RandomStream`` or ``MRG_RandomStream``. A function moves its generators on at every call,
    so that what a trial draws would depend on the trials before it. Made in `prepare`, after compiling, and begun in
    `evaluate`, they are a matter of the trial alone::

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
        # it follows from the seed of the regularizer, and is the same in every process. Those that would draw the same
        # are told apart by the order in which they were made, which variables are numbered in
        self._generators: list[tuple[Any, list[int]]] = []
        equal: Counter[int] = Counter()
        for variable in sorted(shared.values(), key=_made):
            own = _own(variable)
            if own is not None:
                self._generators.append((variable, [own, equal[own]]))
                equal[own] += 1

    def begin(self, seed: int) -> None:
        """Have all generators begin anew.

        Parameters
        ----------
        seed : int
            Such as ``trial.seed``. One seed gives the same draws every time, of each generator others, also of those
            that were made with one seed.
        """
        for variable, own in self._generators:
            variable.set_value(_begun(variable.get_value(), np.random.SeedSequence([seed, *own])))

    def __repr__(self) -> str:
        return f"<draws of {len(self._generators)} generators>"


def _made(variable: Any) -> int:
    """When a variable was made, among all of its library."""
    return int(variable.auto_name.rpartition("_")[2])


def _own(variable: Any) -> int | None:
    """What tells a generator from others that are in another state; None if a variable is not a generator."""
    value = variable.get_value()
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        return int.from_bytes(value.bytes(16), "little")
    update = getattr(variable, "default_update", None)
    if update is not None and update.owner is not None and type(update.owner.op).__module__.endswith(".rng_mrg"):
        return int.from_bytes(sha256(value.tobytes()).digest()[:16], "little")
    return None


def _begun(value: Any, sequence: np.random.SeedSequence) -> Any:
    """Return a generator of the kind that is given, which begins from a seed."""
    if isinstance(value, np.random.Generator):
        return np.random.Generator(type(value.bit_generator)(sequence))
    if isinstance(value, np.random.RandomState):
        return np.random.RandomState(np.random.MT19937(sequence))
    return np.random.default_rng(sequence).integers(1, MODULUS, value.shape, value.dtype)
