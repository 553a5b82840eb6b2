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
from pytensor_ml.optim import to_updates  # noqa: E402
from pytensor_ml.optim.base import Gradients, read_rate  # noqa: E402

from ._finding import find_layers  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytensor_ml.optim.base import LearningRate, Transform, Updates

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
    """

    def __init__(self, loss: Loss, regularizers: regkit.RegularizerSet, roles: Mapping[str, str] | None = None) -> None:
        if not isinstance(loss, Loss):
            raise regkit.OptionError(
                f"regularized got {loss!r}; accepted: a loss of pytensor-ml, such as pytensor_ml.loss.SquaredError()"
            )
        self._members = hosts.members(regularizers, "Regularized")
        self._is_followed = False
        self.without = loss
        self.regularizers = regularizers
        self.roles = dict(roles or {})

    def target_ndim(self, prediction_ndim: int) -> int:
        """Return what the loss without regularizers says."""
        return self.without.target_ndim(prediction_ndim)

    def target_dtype(self, prediction_dtype: str) -> str:
        """Return what the loss without regularizers says."""
        return self.without.target_dtype(prediction_dtype)

    def after_step(self, rate: LearningRate) -> Transform:
        r"""Return what regularizers do after a step as the last transform of a chain.

        Parameters
        ----------
        rate : float, scalar variable, or schedule
            The step size of the optimizer, as the rule before takes it. A proximal step has the zeros of the closed
            form where a step is the rate times the gradient: under momentum :math:`\mu` that is the rate over
            :math:`1 - \mu`.

        Raises
        ------
        regkit.OptionError
            By ``compile_train``, if a proximal step follows a rule that divides gradients, such as adam, or no rule.

        Examples
        --------
        >>> import regkit_pytensor_ml
        >>> from pytensor_ml.layers import Input, Linear
        >>> from pytensor_ml.loss import SquaredError
        >>> from pytensor_ml.model import Model
        >>> from pytensor_ml.optim import chain, sgd
        >>> model = Model(Linear("fc", n_in=4, n_out=1)(Input("X", shape=(None, 4)))).initialize(seed=0)
        >>> loss = regkit_pytensor_ml.regularized(SquaredError(), weight_l1=dict(weight=0.1, by="proximal"))
        >>> step = model.compile_train(chain(sgd(0.05), loss.after_step(0.05)), loss)
        """
        self._is_followed = True

        def transform(loss_gradients_or_updates: Any, parameters: Sequence[Any]) -> Updates:
            updates = to_updates(loss_gradients_or_updates, parameters)
            if isinstance(updates, Gradients):
                raise regkit.OptionError(
                    "after_step has no rule before it. Write chain(sgd(rate), loss.after_step(rate))"
                )
            self._check_rule(updates, parameters)
            now, clock = read_rate(rate, "regkit")
            new = {parameter: updates[parameter] for parameter in parameters}
            changed = self.regularizers.after_step(new, now, [regkit.Layer("parameters", list(parameters))])
            return updates.replacing({**changed, **clock})

        return transform

    def _check_rule(self, updates: Updates, parameters: Sequence[Any]) -> None:
        """Raise for a proximal step after a rule that keeps more of a parameter than a velocity, such as adam."""
        names = tuple(f"{parameter.name}/" for parameter in parameters)
        kept = [str(one.name) for one in updates if str(one.name).startswith(names)]
        other = [name for name in kept if not name.endswith("/velocity")]
        proximal = [member.name for member in self._members if member.is_proximal]
        if other and proximal:
            raise regkit.OptionError(
                f"{proximal[0]}: a proximal step needs a rule whose step is a number times the gradient, such as sgd, "
                f"and this one keeps {other[0]!r}. Use sgd, or by='gradient'"
            )

    def loss(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of the changed prediction, plus the penalties."""
        stepping = [member.name for member in self._members if member.changes_params]
        if stepping and not self._is_followed:
            raise regkit.GraphError(
                f"{', '.join(stepping)} acts on parameters after the optimizer's step. Write "
                "compile_train(chain(rule, loss.after_step(rate)), loss) with the rate of the rule"
            )
        # A copy: their rules rewrite in place the graph that they differentiate, and the model's own is to stay.
        copied = clone_get_equiv([], [y_pred], copy_inputs=False, copy_orphans=False)[y_pred]
        done = self.regularizers.regularize(find_layers(copied, self.roles), also=[copied])
        loss = self.without(y_true, *done.also)
        return loss + done.loss if done.terms else loss
