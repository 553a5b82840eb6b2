"""pytensor-ml with regkit's regularizers: a loss of theirs that has every installed alias as a keyword."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import regkit
from regkit import hosts

ACCEPTED = "0.3"
if version("pytensor-ml").split(".")[:2] != ACCEPTED.split("."):
    raise ImportError(
        f"regkit-pytensor-ml works with pytensor-ml {ACCEPTED}, and {version('pytensor-ml')} is installed. "
        f'Install what works: pip install "pytensor-ml=={ACCEPTED}.*"'
    )

from pytensor.graph.basic import clone_get_equiv  # noqa: E402 - what the version is checked for
from pytensor_ml.loss import Loss  # noqa: E402

from ._finding import find_layers  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Regularized", "find_layers", "regularized"]
__version__ = "0.3.0"


def regularized(
    loss: Loss,
    options: Mapping[str, Any] | None = None,
    /,
    *,
    roles: Mapping[str, str] | None = None,
    **aliases: Any,
) -> Regularized:
    """Return a loss of pytensor-ml with regularizers.

    Parameters
    ----------
    loss : pytensor_ml.loss.Loss
        What to minimize beside the penalties.
    options : mapping of str to value, optional
        Aliases and values as read from JSON or TOML.
    roles : mapping of str to {"input", "hidden", "output"}, optional
        Of layers, by the names of their main outputs, in the place of those that `find_layers` finds.
    **aliases : value
        As `regkit.build` takes them.

    Returns
    -------
    Regularized
        For ``model.compile_train`` and all else that takes a loss. Predictions of the model stay as they are.

    Raises
    ------
    regkit.OptionError
        If `loss` is not a loss of pytensor-ml, or a value is not accepted.
    regkit.UnknownAliasError
        If a keyword is not an installed alias.
    """
    return Regularized(loss, regkit.build(options, **aliases), roles)


class Regularized(Loss):
    """A loss with regularizers, which `regularized` makes.

    Attributes
    ----------
    without : pytensor_ml.loss.Loss
        The loss without them.
    regularizers : regkit.RegularizerSet
    roles : dict of str to str
        Of layers, in the place of those that are found.

    Raises
    ------
    regkit.OptionError
        If these are not a loss of pytensor-ml and a set of regularizers.
    regkit.GraphError
        If a regularizer changes parameters after a step.
    """

    def __init__(self, loss: Loss, regularizers: regkit.RegularizerSet, roles: Mapping[str, str] | None = None) -> None:
        if not isinstance(loss, Loss):
            raise regkit.OptionError(
                f"regularized got {loss!r}; accepted: a loss of pytensor-ml, such as pytensor_ml.loss.SquaredError()"
            )
        hosts.check_no_steps(hosts.members(regularizers, "Regularized"), "a loss of pytensor-ml has no part in that")
        self.without = loss
        self.regularizers = regularizers
        self.roles = dict(roles or {})

    def target_ndim(self, prediction_ndim: int) -> int:
        """Return what the loss without regularizers says."""
        return self.without.target_ndim(prediction_ndim)

    def target_dtype(self, prediction_dtype: str) -> str:
        """Return what the loss without regularizers says."""
        return self.without.target_dtype(prediction_dtype)

    def loss(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of the changed prediction, plus the penalties."""
        # A copy: their rules rewrite in place the graph that they differentiate, and the model's own is to stay.
        copied = clone_get_equiv([], [y_pred], copy_inputs=False, copy_orphans=False)[y_pred]
        done = self.regularizers.regularize(find_layers(copied, self.roles), also=[copied])
        loss = self.without(y_true, *done.also)
        return loss + done.loss if done.terms else loss
