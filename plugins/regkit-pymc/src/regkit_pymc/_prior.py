"""Penalties as normalized priors of flat variables: with the constants that weights depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.traversal import ancestors
from pytensor.xtensor.type import XTensorVariable

import regkit
from regkit import hosts

from ._regularize import PRIOR, Prior, add, check, is_term, model_of, terms_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def prior(
    options: Mapping[str, Any] | None = None, /, *, name: str = "prior", model: Any = None, **aliases: Any
) -> list[regkit.Term]:
    r"""Add penalties of weights to a model as priors: a `pm.Potential` of their normalized log densities.

    The density of the variables :math:`W_i`, i from :math:`\Omega`, that a penalty p with the weight w counts is

    .. math:: \frac{\exp(-w \, p(W))}{\int \exp(-w \, p(V)) \, dV}

    so the weight may be a random variable of the model. With :math:`r_i = w / (|\Omega| \, n_i)`, where :math:`n_i` is
    that of the reduction, the elements of ``weight_l1`` have the distribution :math:`\mathrm{Laplace}(0, 1 / r_i)`,
    those of ``weight_l2`` :math:`\mathcal{N}(0, 1 / (2 r_i))`. ``elastic_net`` and ``group_lasso`` have normalizers
    of a closed form too.

    Parameters
    ----------
    options : mapping of str to value, optional
        Aliases and values as read from JSON or TOML.
    name : str, default "prior"
        Name of the potential, and the beginning of the names of the terms.
    model : pm.Model, optional
        By default that of the ``with`` block.
    **aliases : value
        ``weight_l1``, ``weight_l2``, ``elastic_net``, ``group_lasso`` and their other aliases, as `regkit.build` takes
        them. The variables are `pm.Flat`, and each has one prior.

    Returns
    -------
    list of regkit.Term
        In ``weighted``, minus the log density.

    Raises
    ------
    regkit.OptionError
        If a regularizer is none of those, a weight is 0, a variable is not `pm.Flat` or has two priors, the model has
        variables of these names, or a name or a value is not accepted.
    regkit.GraphError
        If there is no model, or a regularizer acts after a step.
    regkit.NoMatchError
        If a pattern matches nothing.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     strength = pm.HalfNormal("strength")
    ...     w = pm.Flat("w", shape=(2, 2))
    ...     terms = prior(weight_l1=strength)
    >>> with pm.Model() as by_hand:
    ...     strength = pm.HalfNormal("strength")
    ...     w = pm.Laplace("w", 0, 1 / strength, shape=(2, 2))
    >>> point = {"strength_log__": np.log(0.5), "w": np.array([[1.0, -2.0], [0.0, 3.0]])}
    >>> print(f"{model.compile_logp()(point):.6f} {by_hand.compile_logp()(point):.6f}")
    -9.589116 -9.589116
    """
    model = model_of("prior", model)
    regs = regkit.build(options, **aliases)
    members = hosts.members(regs, "prior")
    check(members, "prior", name, model)
    densities = {member.name: _density(member) for member in members}
    terms = terms_of(regs, members, model)
    counted = {term.name: _counted(term.penalty, model) for term in terms}
    _check_variables(counted, model)
    for i, (term, member) in enumerate(zip(terms, members)):
        variables = [one.values if isinstance(one, XTensorVariable) else one for one in counted[term.name]]
        log_normalizer = densities[term.name](member.regularizer, term.penalty, variables)
        terms[i] = term._replace(weighted=term.weighted + log_normalizer)
    regs.log()
    add(terms, name, model, PRIOR)
    return terms


def _counted(expression: Any, model: Any) -> list[Any]:
    """Return the free variables that an expression is computed from directly."""
    found = set(ancestors([expression], blockers=model.free_RVs))
    return [variable for variable in model.free_RVs if variable in found]


def _check_variables(counted: Mapping[str, Sequence[Any]], model: Any) -> None:
    owner: dict[str, str] = {}
    for term in model.deterministics:
        if is_term(term, Prior):
            owner.update({variable.name: term.name for variable in _counted(term, model)})
    for member, variables in counted.items():
        for variable in variables:
            op = variable.owner.op
            if not isinstance(getattr(op, "core_op", op), pm.Flat.rv_type):  # of pymc.dims, the one without dims
                raise regkit.OptionError(
                    f"{member}: {variable.name!r} has a prior, and beside it the density would not be normalized. Make "
                    "it a pm.Flat, or add a penalty: regkit_pymc.regularize"
                )
            if variable.name in owner:
                raise regkit.OptionError(
                    f"{variable.name!r} has two priors, {owner[variable.name]} and {member}, whose product is not "
                    "normalized. elastic_net is the prior of weight_l1 and weight_l2 together"
                )
            owner[variable.name] = member


# Logarithms of the integrals of exp(-w p). Regularizers are known by their names, so regkit-weights need not be there.


def _density(member: hosts.Member) -> Callable[[Any, Any, Sequence[Any]], Any]:
    """Return the function for the log normalizer of a member's penalty; OptionError if there is none."""
    cls = type(member.regularizer)
    density = NORMALIZERS.get(f"{cls.__module__.partition('.')[0]}.{cls.__name__}")
    if density is None:
        raise regkit.OptionError(
            f"{member.name}: the normalizer of {cls.__name__} is not known in a closed form. Known are those of "
            f"{', '.join(name.rpartition('.')[2] for name in NORMALIZERS)}. regkit_pymc.regularize adds it as a penalty"
        )
    weight = member.regularizer.weight
    if isinstance(weight, (int, float)) and weight == 0:
        raise regkit.OptionError(f"{member.name}: the weight is 0, for which there is no density. Leave it out")
    return density


def _rates(regularizer: Any, penalty: Any, variables: Sequence[Any]) -> list[Any]:
    """Return the weight of the sum of each variable's elements, or groups, in the weighted penalty."""
    weight = regkit.graph.weight(regularizer, penalty)
    return [weight / (len(variables) * _divisor(regularizer, variable)) for variable in variables]


def _divisor(regularizer: Any, variable: Any) -> Any:
    if regularizer.reduction == "mean":
        return variable.shape[regularizer.axis] if hasattr(regularizer, "axis") else variable.size
    return variable.shape[0] if regularizer.reduction == "batch" else 1


def _laplace(regularizer: Any, penalty: Any, variables: Sequence[Any]) -> Any:
    rates = _rates(regularizer, penalty, variables)
    return sum(variable.size * (np.log(2) - pt.log(rate)) for variable, rate in zip(variables, rates))


def _normal(regularizer: Any, penalty: Any, variables: Sequence[Any]) -> Any:
    rates = _rates(regularizer, penalty, variables)
    return sum(variable.size * (np.log(np.pi) - pt.log(rate)) / 2 for variable, rate in zip(variables, rates))


def _elastic_net(regularizer: Any, penalty: Any, variables: Sequence[Any]) -> Any:
    ratio = regularizer.l1_ratio
    if ratio == 1:
        return _laplace(regularizer, penalty, variables)
    total = 0
    for variable, rate in zip(variables, _rates(regularizer, penalty, variables)):
        half = rate * (1 - ratio) / 2  # the integral of exp(-a |x| - b x^2) is sqrt(pi / b) erfcx(a / (2 sqrt(b)))
        edge = pt.log(pt.erfcx(rate * ratio / (2 * pt.sqrt(half)))) if ratio else 0
        total = total + variable.size * ((np.log(np.pi) - pt.log(half)) / 2 + edge)
    return total


def _group_lasso(regularizer: Any, penalty: Any, variables: Sequence[Any]) -> Any:
    total = 0
    for variable, rate in zip(variables, _rates(regularizer, penalty, variables)):
        groups = variable.shape[regularizer.axis]
        size = variable.size / groups
        # a sphere in p dimensions has the area 2 pi^(p / 2) / gamma(p / 2), and the integral over the radius is
        # gamma(p) / r^p
        sphere = np.log(2) + size / 2 * np.log(np.pi) - pt.gammaln(size / 2)
        radius = pt.gammaln(size) - size * pt.log(rate * pt.sqrt(size))
        total = total + groups * (sphere + radius)
    return total


NORMALIZERS = {
    "regkit_weights.WeightL1": _laplace,
    "regkit_weights.WeightL2": _normal,
    "regkit_weights.ElasticNet": _elastic_net,
    "regkit_weights.GroupLasso": _group_lasso,
}
