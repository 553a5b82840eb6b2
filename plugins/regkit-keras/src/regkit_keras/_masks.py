"""Penalties without padding and without examples of weight 0."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

import regkit
from regkit import hosts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What a penalty is divided by: nothing, the examples, or their positions.
NOTHING, EXAMPLES, POSITIONS = "nothing", "examples", "positions"


class _Masked(keras.layers.Layer):
    """Returns an output, and its mask if it has one: Keras passes that to layers."""

    supports_masking = True

    def call(self, z: Any, mask: Any = None) -> Any:
        """Return both."""
        return (z,) if mask is None else (z, mask)


@cache
def _layer() -> _Masked:
    return _Masked(name="masked")


def mask_of(z: Any) -> Any:
    """Return the mask that Keras has put on an output; None if there is none."""
    _, *masks = _layer()(z)
    return next(iter(masks), None)


def rows_of(sample_weight: Any) -> Any:
    """Return which examples, or which of their positions, have a weight, for one of several outputs at least.

    It has an axis for examples and, where a weight has one, an axis for positions. None without weights.

    Raises
    ------
    regkit.GraphError
        If weights have further axes.
    """
    rows = None
    for weights in keras.tree.flatten(sample_weight):
        if weights is None:
            continue
        kept = keras.ops.not_equal(keras.ops.convert_to_tensor(weights), 0)
        if len(kept.shape) > 2:
            raise regkit.GraphError(
                f"sample_weight has {len(kept.shape)} axes; with mask=True, it may have one for examples and one for "
                "their positions. Use mask=False"
            )
        kept = kept[:, 0] if len(kept.shape) == 2 and kept.shape[1] == 1 else kept
        if rows is not None and len(rows.shape) != len(kept.shape):
            rows, kept = (one if len(one.shape) == 2 else keras.ops.expand_dims(one, 1) for one in (rows, kept))
        rows = kept if rows is None else keras.ops.logical_or(rows, kept)
    return rows


class Masking:
    """Penalties of a set without what is masked.

    Parameters
    ----------
    members : sequence of hosts.Member
    """

    def __init__(self, members: Sequence[hosts.Member]) -> None:
        self._members = {member.name: member for member in members}
        self._divisors: dict[tuple[str, int, bool], str] = {}  # by member, number of axes, whether it is by position

    def terms(
        self,
        regs: regkit.RegularizerSet,
        terms: Sequence[regkit.Term],
        layers: Sequence[regkit.Layer],
        outputs: Mapping[str, Any],
        masks: Mapping[str, Any],
        sample_weight: Any,
    ) -> list[regkit.Term]:
        """Return terms of all positions as those of what is not masked.

        Parameters
        ----------
        regs : regkit.RegularizerSet
        terms : sequence of regkit.Term
        layers : sequence of regkit.Layer
        outputs : mapping of str to tensor
        masks : mapping of str to tensor of bool
            Those that Keras has put on outputs, by the names of these.
        sample_weight : tensor, a structure of them, or None

        Raises
        ------
        regkit.GraphError
            If positions that are left out cannot be left out of a penalty.
        """
        rows = rows_of(sample_weight)
        found = []
        for term in terms:
            member = self._members[term.name]
            if member.selects != "params":
                pattern = getattr(member.regularizer, "pattern", None)
                selected = regkit.select_outputs(outputs, pattern, layers)
                if rows is not None or any(name in masks for name, _ in selected):
                    alone = hosts.subset(regs, [member.name])
                    each = [self._of_one(alone, member, name, z, masks.get(name), rows) for name, z in selected]
                    term = term._replace(penalty=None, weighted=keras.ops.mean(keras.ops.stack(each)))
            found.append(term)
        return found

    def _of_one(
        self, alone: regkit.RegularizerSet, member: hosts.Member, name: str, z: Any, mask: Any, rows: Any
    ) -> Any:
        if rows is None and mask is None:
            return _penalty(alone, name, z).weighted
        if rows is not None and len(rows.shape) == 2 and len(z.shape) < 3:  # an example is one position
            rows = keras.ops.any(rows, axis=1)
        by_position = mask is not None or len(rows.shape) == 2
        case = member.name, len(z.shape), by_position
        if case not in self._divisors:
            self._divisors[case] = _divisor(alone, member, name, len(z.shape), mask is not None, by_position)
        divisor = self._divisors[case]
        length = keras.ops.shape(z)[0]
        if rows is not None and isinstance(length, int) and isinstance(rows.shape[0], int) and length != rows.shape[0]:
            raise regkit.GraphError(
                f"{member.name}: output {name!r} has {length} rows for {rows.shape[0]} examples, so examples of "
                "weight 0 cannot be left out. Use mask=False, or a pattern without it"
            )
        if rows is not None and len(rows.shape) == 2:
            positions, weights = z.shape[1], rows.shape[1]
            if isinstance(positions, int) and isinstance(weights, int) and positions != weights:
                raise regkit.GraphError(
                    f"{member.name}: output {name!r} has {positions} positions, and sample_weight has {weights}, so "
                    "positions of weight 0 cannot be left out. Use mask=False, or a pattern without it"
                )
        kept = rows if mask is None else keras.ops.cast(mask, "bool")
        if mask is not None and rows is not None:
            rows = rows if len(rows.shape) == 2 else keras.ops.expand_dims(rows, 1)
            kept = keras.ops.logical_and(kept, rows)
        wide = keras.ops.reshape(kept, (*keras.ops.shape(kept), *[1] * (len(z.shape) - len(kept.shape))))
        weighted = _penalty(alone, name, keras.ops.where(wide, z, keras.ops.zeros_like(z))).weighted
        if divisor == NOTHING:
            return weighted
        counted = keras.ops.any(kept, axis=1) if divisor == EXAMPLES and by_position else kept
        share = keras.ops.mean(keras.ops.cast(counted, weighted.dtype))
        return keras.ops.divide_no_nan(weighted, share)


def _penalty(alone: regkit.RegularizerSet, name: str, z: Any) -> regkit.Term:
    (term,) = hosts.terms(alone, [regkit.Layer(name, role="hidden")], {name: z})
    return term


def _divisor(
    alone: regkit.RegularizerSet, member: hosts.Member, name: str, axes: int, padded: bool, by_position: bool
) -> str:
    """Return what a penalty is divided by, which is found by trying it on three examples, of which one is left out.

    Zeros in the place of what is left out have to add nothing to it.
    """
    if axes < 2:
        raise regkit.GraphError(f"{member.name}: output {name!r} has {axes} axes; a mask is for two or more")
    shape = (3, 4, *[3] * (axes - 2))
    z = np.random.default_rng(0).uniform(0.2, 0.8, size=shape)
    along = axes > 2 or by_position  # positions are along the second axis; without one, an example is one
    lengths = np.array([4, 2 if by_position else 4, 0] if along else [1, 1, 0])
    filled = [one[None, :length] if along else one[None] for one, length in zip(z[:2], lengths)]
    zeros = z.copy()
    for one, length in zip(zeros, lengths):
        one[length if along or not length else 4 :] = 0
    counts, positions = lengths[:2], 3 * lengths.max()
    numbers = hosts.with_weights(alone, {member.name: 1.0})  # a live weight may be traced
    try:
        each = np.array([float(_penalty(numbers, name, one).penalty) for one in filled])
        got = float(_penalty(numbers, name, zeros).penalty)
    except regkit.RegkitError:  # it is of more than an output, or has a graph
        each, got = np.zeros(2), np.nan
    expected = {
        NOTHING: (got, each.sum()),
        EXAMPLES: (got * 3 / 2, each.mean()),
        POSITIONS: (got * positions / counts.sum(), (counts * each).sum() / counts.sum()),
    }
    for divisor, (scaled, wanted) in expected.items():
        if np.isclose(scaled, wanted, rtol=1e-9):
            return divisor
    what = "padding" if padded else "positions of weight 0" if by_position else "examples of weight 0"
    which = "positions" if by_position else "examples"
    raise regkit.GraphError(
        f"{member.name}: {what} cannot be left out of the penalty of {type(member.regularizer).__name__}, which is not "
        f"a sum over {which}. Use mask=False, or leave it out"
    )
