"""Penalties as a potential of a PyMC model, and deterministics of the terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymc as pm
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from pytensor.scalar.basic import Identity, same_out
from pytensor.tensor.elemwise import Elemwise

import regkit
from regkit import hosts

from ._dims import as_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        If a regularizer of outputs has no pattern, a weight depends on random variables, the model has variables of
        these names, or a name or a value is not accepted.
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
    model = model_of("regularize", model)
    regs = regkit.build(options, **aliases)
    members = hosts.members(regs, "regularize")
    check(members, "regularize", name, model)
    for member in members:
        check_weight(member, model)
    terms = terms_of(regs, members, model)
    regs.log()
    add(terms, name, model, TERM)
    return terms


def model_of(caller: str, model: Any) -> Any:
    """Return a model, or that of the ``with`` block; GraphError if there is none."""
    model = model if model is not None else pm.Model.get_context(error_if_none=False)
    if not isinstance(model, pm.Model):
        what = "no model on the context stack" if model is None else f"model={model!r}"
        raise regkit.GraphError(
            f"{caller} got {what}. Call it within `with pm.Model():`, after the deterministics that patterns name, or "
            "pass model="
        )
    return model


def check(members: Sequence[hosts.Member], caller: str, name: str, model: Any) -> None:
    """Raise before the model has been touched."""
    if not isinstance(name, str) or not name:
        raise regkit.OptionError(f"{caller} got name={name!r}; accepted: a string that is not empty")
    changing = [member.name for member in members if member.changes_graph]
    if changing:
        raise regkit.GraphError(
            f"{', '.join(changing)}: a PyMC model has one graph, for fitting and for predictions, and its logp has no "
            "draws in it, so no outputs can be changed. Leave these out"
        )
    hosts.check_no_steps(members, "a PyMC model is not trained in steps")
    for wanted in (name, *(f"{name}::{member.name}" for member in members)):
        full = model.name_for(wanted)
        if model.named_vars.tree_contains(full) or full in model.coords:
            raise regkit.OptionError(
                f"the model has {full!r} already. Regularize a model in one call, or give a further call another name, "
                f"such as name={name + '2'!r}"
            )


def check_weight(member: hosts.Member, model: Any) -> None:
    """Raise for a weight that depends on random variables: their posterior needs the normalizer of the penalty."""
    weight = getattr(member.regularizer, "weight", None)
    random = {id(variable): variable.name for variable in model.root.basic_RVs}
    found = [
        random[id(one)] for one in (ancestors([weight]) if isinstance(weight, Variable) else ()) if id(one) in random
    ]
    if found:
        raise regkit.OptionError(
            f"{member.name}: its weight depends on the random variable {found[0]!r}, whose posterior would be wrong: a "
            "penalty is a prior up to a constant, and the constant depends on the weight. regkit_pymc.prior takes the "
            "same keywords, and adds it"
        )


def terms_of(regs: regkit.RegularizerSet, members: Sequence[hosts.Member], model: Any) -> list[regkit.Term]:
    """Return the terms of a model's deterministics and free variables."""
    outputs = [z for z in model.deterministics if not is_term(z)]
    tensors = as_tensors({z.name: z for z in (*outputs, *model.data_vars, *model.free_RVs)}, model)
    hosts.check_patterns(
        members, [z.name for z in outputs], "A PyMC model does not define which deterministics are layers. Name some"
    )
    terms = []
    for member in members:
        # a pattern selects no data; those that it would not select are among the outputs, for other options
        selected = member.globs or ("*",) if member.selects != "params" else ()
        data = [x.name for x in model.data_vars if selected and hosts.matches(x.name, selected)]
        shown = {z.name: tensors[z.name] for z in (*outputs, *model.data_vars) if z.name not in data}
        discrete = [w.name for w in model.free_RVs if _is_left_out(w, member)]
        params = {w.name: tensors[w.name] for w in model.free_RVs if w.name not in discrete}
        try:
            terms += hosts.subset(regs, [member.name]).terms([regkit.Layer(LAYER, params)], shown)
        except regkit.NoMatchError as error:
            if data and member.globs is not None:
                raise regkit.NoMatchError(
                    f"{error}. Patterns select no data, so these are left out: {', '.join(data)}"
                ) from None
            if discrete and member.selects == "params":
                raise regkit.NoMatchError(f"{error}. Discrete ones count by a pattern: {', '.join(discrete)}") from None
            raise
    return terms


def _is_left_out(variable: Any, member: hosts.Member) -> bool:
    """Return whether a free variable is no parameter for a member: a discrete one that its pattern does not select."""
    default = member.globs is None or member.globs[0].startswith("!")
    return "float" not in variable.dtype and (default or not hosts.matches(variable.name, member.globs or ()))


def add(terms: Sequence[regkit.Term], name: str, model: Any, mark: Any) -> None:
    """Add a potential of terms to a model, and a deterministic of each."""
    for term in terms:
        pm.Deterministic(f"{name}::{term.name}", mark(term.weighted), model=model)
    if terms:
        pm.Potential(name, -hosts.total(terms), model=model)


class Term(Identity):
    """Marks a term of ours in the graph of a model: PyMC keeps it where it clones a model, unlike tags and views."""


class Prior(Term):
    """Marks a term that is minus the log density of a prior."""


TERM, PRIOR = (Elemwise(kind(same_out, name=f"regkit_{kind.__name__.lower()}")) for kind in (Term, Prior))


def is_term(deterministic: Any, kind: type[Term] = Term) -> bool:
    """Return whether a deterministic is a term of an earlier call; PyMC may have put a view before it."""
    node = deterministic.owner
    if node is not None and isinstance(node.op, ViewOp):
        node = node.inputs[0].owner
    return node is not None and isinstance(getattr(node.op, "scalar_op", None), kind)
