"""regkit's regularizers in a PyMC model: `regularize` subtracts their weighted penalties from the logp.

Outputs are the model's deterministics, parameters its free variables, by the names that PyMC gives them.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import regkit
from regkit import hosts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["regularize"]
__version__ = "0.3.0"

#: The versions of PyMC that work: from the first to below the second. pyproject.toml has the same.
OLDEST, BELOW = "6.4", "7"

#: Name of the one layer, without outputs, that has the free variables.
LAYER = "(model)"


def regularize(
    options: Mapping[str, Any] | None = None, /, *, name: str = "regkit", model: Any = None, **aliases: Any
) -> list[regkit.Term]:
    r"""Add regularizers to a model: a `pm.Potential` of :math:`-\sum_r w_r \, p_r`, weight times penalty.

    Beside it stands a `pm.Deterministic` for each :math:`w_r \, p_r`, called ``regkit::hidden_l1`` and so on. Call it
    after the deterministics that patterns name.

    Parameters
    ----------
    options : mapping of str to value, optional
        Aliases and values as read from JSON or TOML.
    name : str, default "regkit"
        Name of the potential, and the beginning of the names of the terms. A second call for one model needs another.
    model : pm.Model, optional
        By default that of the ``with`` block.
    **aliases : value
        As `regkit.build` takes them. A regularizer of outputs needs a ``pattern``, for deterministics (``sub::hid1`` in
        a nested model); one of parameters takes all free variables unless it has one. Other options that name outputs,
        such as the ``wrt`` of ``contractive``, may name a `pm.Data` too.

    Returns
    -------
    list of regkit.Term
        ``(name, weight, penalty, weighted)`` of each regularizer that has a penalty.

    Raises
    ------
    regkit.GraphError
        If there is no model, or a regularizer changes graphs, or parameters after a step.
    regkit.NoMatchError
        If a pattern matches nothing.
    regkit.OptionError
        If a regularizer of outputs has no pattern, the model has variables of these names, or a name or a value is not
        accepted.
    regkit.UnknownAliasError
        If a keyword is not an alias.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     w = pm.Flat("w", shape=(2, 2))
    ...     hid1 = pm.Deterministic("hid1", np.eye(2) @ w)
    ...     terms = regularize(hidden_l1=dict(weight=0.5, pattern="hid*"), weight_l2=0.1)
    >>> [variable.name for variable in (*model.potentials, *model.deterministics)]
    ['regkit', 'hid1', 'regkit::hidden_l1', 'regkit::weight_l2']
    >>> print(model.compile_logp()({"w": np.array([[1.0, -2.0], [0.0, 3.0]])}))  # -(0.5 * 6 + 0.1 * 14)
    -4.4
    """
    import pymc as pm

    model = model if model is not None else pm.Model.get_context(error_if_none=False)
    if not isinstance(model, pm.Model):
        what = "no model on the context stack" if model is None else f"model={model!r}"
        raise regkit.GraphError(
            f"regularize got {what}. Call it within `with pm.Model():`, after the deterministics that patterns name, "
            "or pass model="
        )
    regs = regkit.build(options, **aliases)
    members = hosts.members(regs, "regularize")
    outputs = {z.name: z for z in model.deterministics if not hasattr(z.tag, "regkit_term")}
    _check(members, name, model, outputs)
    terms = [term for member in members for term in _terms(hosts.subset(regs, [member.name]), member, outputs, model)]
    regs.log()
    for term in terms:
        pm.Deterministic(f"{name}::{term.name}", term.weighted, model=model).tag.regkit_term = True
    if terms:
        pm.Potential(name, -hosts.total(terms), model=model)
    return terms


def _check(members: Sequence[hosts.Member], name: str, model: Any, outputs: Mapping[str, Any]) -> None:
    """Raise before the model has been touched."""
    if not isinstance(name, str) or not name:
        raise regkit.OptionError(f"regularize got name={name!r}; accepted: a string that is not empty")
    changing = [member.name for member in members if member.changes_graph]
    if changing:
        raise regkit.GraphError(
            f"{', '.join(changing)}: a PyMC model has one graph, for fitting and for predictions, and its logp has no "
            "draws in it, so no outputs can be changed. Leave these out"
        )
    hosts.check_no_steps(members, "a PyMC model is not trained in steps")
    hosts.check_patterns(members, outputs, "A PyMC model does not define which deterministics are layers. Name some")
    for wanted in (name, *(f"{name}::{member.name}" for member in members)):
        full = model.name_for(wanted)
        if model.named_vars.tree_contains(full) or full in model.coords:
            raise regkit.OptionError(
                f"the model has {full!r} already. Regularize a model in one call, or give a further call another name, "
                f"such as name={name + '2'!r}"
            )


def _terms(
    regs: regkit.RegularizerSet, member: hosts.Member, outputs: Mapping[str, Any], model: Any
) -> list[regkit.Term]:
    """Return the terms of a set of one member. Data that its pattern does not select are among its outputs."""
    selected = member.globs or ("*",) if member.selects != "params" else ()
    taken = [x.name for x in model.data_vars if selected and hosts.matches(x.name, selected)]
    data = {x.name: x for x in model.data_vars if x.name not in taken}
    layer = regkit.Layer(LAYER, {w.name: w for w in model.free_RVs})
    try:
        return regs.terms([layer], {**outputs, **data})
    except regkit.NoMatchError as error:
        if taken and member.globs is not None:
            raise regkit.NoMatchError(
                f"{error}. Patterns select no data, so these are left out: {', '.join(taken)}"
            ) from None
        raise


def _check_version() -> None:
    """Raise if the PyMC that is installed is not one that works."""
    works = f"regkit-pymc works with PyMC from {OLDEST} to below {BELOW}"
    try:
        installed = metadata.version("pymc")
    except metadata.PackageNotFoundError:
        raise ImportError(f"{works}, and none is installed: pip install 'pymc>={OLDEST},<{BELOW}'") from None
    numbers = [int(part) for part in installed.split(".")[:2]]
    if not [int(part) for part in OLDEST.split(".")] <= numbers < [int(BELOW)]:
        raise ImportError(f"{works}, and {installed} is installed: pip install 'pymc>={OLDEST},<{BELOW}'")


_check_version()
