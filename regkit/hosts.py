"""For those who write hosts: a set's members, what they look at, what is missing, and the sum of terms.

A host connects a framework to regkit: it shows the outputs and parameters of a model to a set, and adds the set's loss
to that of the model. A host with a finished graph needs only `RegularizerSet.regularize`. A host that sees outputs one
by one, as they are computed, finds out here which of them matter:

>>> import numpy, regkit
>>> from regkit import hosts
>>> regs = regkit.build(hidden_l1=dict(weight=0.5, pattern="hid*"), weight_l2=0.1)
>>> members = hosts.members(regs, "train")
>>> [(member.name, member.selects, member.looks_at("hid1")) for member in members]
[('hidden_l1', 'outputs', True), ('weight_l2', 'params', False)]
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ._calls import Calls
from ._layers import check_layers, named_params
from ._members import Member
from ._messages import listed
from ._selection import matches, no_layers, nothing_matches, unmatched_globs
from ._sets import RegularizerSet
from ._steps import count_loss as _count_loss
from ._steps import warn_of_order, warn_without_step
from ._steps import warn_of_schedules as _warn_of_schedules
from ._terms import Term, weighted_total
from .errors import GraphError, NoMatchError, OptionError

__all__ = [
    "Calls",
    "Member",
    "check_given_layers",
    "check_layers",
    "check_no_steps",
    "check_patterns",
    "count_loss",
    "listed",
    "matches",
    "members",
    "metrics",
    "named_params",
    "no_match",
    "subset",
    "terms",
    "total",
    "uncalled",
    "unchanged",
    "unmatched",
    "waiting",
    "warn_of_order",
    "warn_of_schedules",
    "warn_without_step",
    "with_weights",
]


def members(regs: RegularizerSet, caller: str) -> tuple[Member, ...]:
    """Return the members of a set, in order.

    Parameters
    ----------
    regs : RegularizerSet
        The argument that a user passed to the host.
    caller : str
        The function of the host, for the error.

    Returns
    -------
    tuple of Member

    Raises
    ------
    OptionError
        If it is not a set.

    Examples
    --------
    >>> import regkit
    >>> regkit.hosts.members("hidden_l1", "watch")
    Traceback (most recent call last):
        ...
    regkit.OptionError: watch got regs='hidden_l1'; accepted: a set of regularizers, which regkit.build returns
    """
    if not isinstance(regs, RegularizerSet):
        raise OptionError(f"{caller} got regs={regs!r}; accepted: a set of regularizers, which regkit.build returns")
    return regs._named()


def subset(regs: RegularizerSet, names: Collection[str]) -> RegularizerSet:
    """Return the set of some members, which keep their names.

    Examples
    --------
    >>> import regkit
    >>> regkit.hosts.subset(regkit.build(hidden_l1=[0.1, 0.2], weight_l2=0.1), ["hidden_l1[1]"]).keys()
    ['hidden_l1[1]']
    """
    return regs._subset(names)


def with_weights(regs: RegularizerSet, weights: Mapping[str, Any]) -> RegularizerSet:
    """Return a set in which members have other weights: for compiled steps, which get live weights as arguments.

    Parameters
    ----------
    regs : RegularizerSet
    weights : mapping of str to weight
        By the names of members. A weight that its class does not accept is an `OptionError` where it is used.

    Examples
    --------
    >>> import regkit
    >>> regs = regkit.build(hidden_l1=regkit.Live(0.5), weight_l2=0.1)
    >>> regkit.hosts.with_weights(regs, {"hidden_l1": 0.25})
    build(hidden_l1=0.25, weight_l2=0.1)
    """
    return regs._with_weights(weights)


def check_patterns(members: Iterable[Member], there: Iterable[str], remedy: str) -> None:
    """Raise for a member that selects outputs and has no pattern: for hosts that do not know which are hidden.

    Parameters
    ----------
    members : iterable of Member
    there : iterable of str
        Names that a pattern could match.
    remedy : str
        The end of the error: why the host needs a pattern, and what to write.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> import regkit
    >>> members = regkit.hosts.members(regkit.build(hidden_l1=0.1), "watch")
    >>> regkit.hosts.check_patterns(members, ["enc", "dec"], "A model does not define which modules are hidden")
    Traceback (most recent call last):
        ...
    regkit.OptionError: hidden_l1: HiddenL1 needs a pattern. A model does not define which modules are hidden: \
hidden_l1=dict(weight=..., pattern='enc'). There is: enc, dec
    """
    there = list(there)
    for member in members:
        if member.needs_pattern:
            example = f"{member.name.partition('[')[0]}=dict(weight=..., pattern={there[0] if there else 'hid*'!r})"
            raise OptionError(
                f"{member.name}: {type(member.regularizer).__name__} needs a pattern. {remedy}: {example}. There is: "
                f"{listed(there)}"
            )


def check_no_steps(members: Iterable[Member], reason: str) -> None:
    """Raise for members that change parameters after an optimizer's step: for hosts that cannot call `after_step`.

    Parameters
    ----------
    members : iterable of Member
    reason : str
        Why the host cannot, for the error.

    Raises
    ------
    GraphError

    Examples
    --------
    >>> import regkit
    >>> members = regkit.hosts.members(regkit.build(weight_nonnegative=1), "regularize")
    >>> regkit.hosts.check_no_steps(members, "a PyMC model is not trained in steps")
    Traceback (most recent call last):
        ...
    regkit.GraphError: weight_nonnegative acts on parameters after an optimizer's step, and a PyMC model is not \
trained in steps. Leave it out
    """
    names = [member.name for member in members if member.changes_params]
    if names:
        acts, them = ("act", "them") if len(names) > 1 else ("acts", "it")
        raise GraphError(
            f"{', '.join(names)} {acts} on parameters after an optimizer's step, and {reason}. Leave {them} out"
        )


def unmatched(
    members: Iterable[Member], *, outputs: Iterable[str] | None = None, params: Iterable[str] | None = None
) -> list[tuple[Member, str]]:
    """Return the globs of patterns that match nothing, or take nothing out, each with its member.

    Parameters
    ----------
    members : iterable of Member
    outputs, params : iterable of str, optional
        The names. Without `outputs`, patterns of outputs are not checked; without `params`, those of parameters.

    Examples
    --------
    >>> import regkit
    >>> members = regkit.hosts.members(regkit.build(hidden_l1=dict(weight=1, pattern=["hid1", "hid7"])), "watch")
    >>> [(member.name, glob) for member, glob in regkit.hosts.unmatched(members, outputs=["hid1"])]
    [('hidden_l1', 'hid7')]
    """
    names = {"outputs": outputs, "params": params}
    there = {selects: list(every) for selects, every in names.items() if every is not None}
    return [
        (member, glob)
        for member in members
        if member.globs is not None and member.selects in there
        for glob in unmatched_globs(member.globs, there[member.selects])
    ]


def uncalled(members: Iterable[Member], paths: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the paths of modules that members are for, and of which nothing was seen.

    For hosts that see modules while they are called, and not those that a compiled function has in it.

    Parameters
    ----------
    members : iterable of Member
    paths : iterable of str
        Those of all modules.
    names : iterable of str
        Those of the outputs that there were: ``lstm:0`` is one of the module ``lstm``.

    Examples
    --------
    >>> import regkit
    >>> members = regkit.hosts.members(regkit.build(hidden_l1=dict(weight=1, pattern="hid*")), "watch")
    >>> regkit.hosts.uncalled(members, ["hid1", "hid2", "out"], ["hid1:0"])
    ['hid2']
    """
    parts = [name.partition(":") for name in names]
    seen = {path for path, _, _ in parts}
    ends = {colon + rest for _, colon, rest in parts if colon}

    def is_for(member: Member, path: str) -> bool:
        if member.selects != "outputs":
            return False
        taken_out = any(matches(path, [glob[1:]]) for glob in member.globs or () if glob.startswith("!"))
        return member.wants(path) or (not taken_out and any(member.wants(path + end) for end in ends))

    return [path for path in paths if path not in seen and any(is_for(member, path) for member in members)]


def check_given_layers(members: Iterable[Member], layers: Sequence[Any]) -> None:
    """Raise for a penalty of parameters if no layers are given.

    Parameters
    ----------
    members : iterable of Member
    layers : sequence of Layer
        The layers that the user passed.

    Raises
    ------
    NoMatchError

    Examples
    --------
    >>> import regkit
    >>> regkit.hosts.check_given_layers(regkit.hosts.members(regkit.build(weight_l2=0.1), "Run"), [])
    Traceback (most recent call last):
        ...
    regkit.NoMatchError: weight_l2: pattern '*' is for parameters, which layers have, and no layers are given. Pass layers=[regkit.Layer('hid1', {'hid1.w': w})]
    """  # noqa: E501 - the last line is what is printed
    for member in members:
        if member.penalizes and member.selects == "params" and not layers:
            raise NoMatchError(f"{member.name}: {no_layers(member.globs or ('*',))}")


def no_match(member: Member, globs: Sequence[str], **there: Iterable[str]) -> NoMatchError:
    """Return the error for globs that match nothing.

    Parameters
    ----------
    member : Member
    globs : sequence of str
    **there : iterable of str
        The names, by their kind: ``modules=[...]``.

    Examples
    --------
    >>> import regkit
    >>> (member,) = regkit.hosts.members(regkit.build(hidden_l1=dict(weight=1, pattern="hid7")), "watch")
    >>> print(regkit.hosts.no_match(member, ["hid7"], modules=["hid1"], parameters=["hid1.w"]))
    hidden_l1: pattern 'hid7' matches none of the modules: hid1; and none of the parameters: hid1.w
    """
    (first, names), *others = there.items()
    further = "".join(f"; and none of the {kind}: {listed(every)}" for kind, every in others)
    return NoMatchError(f"{member.name}: {nothing_matches(globs, first, names)}{further}")


def unchanged(regs: RegularizerSet, outputs: Mapping[str, Any]) -> list[Member]:
    """Return the members that change graphs and have changed none of these outputs.

    For hosts that only predict: `RegularizerSet.modify_graph` gets one layer at a time, and cannot see that no layer
    matches.

    Parameters
    ----------
    regs : RegularizerSet
    outputs : mapping of str to expression
        All outputs of the graph, as `modify_graph` left them.
    """
    return regs._hooks.unmatched(outputs)


def waiting(regs: RegularizerSet) -> list[Member]:
    """Return the members that change parameters after a step, and whose step was never called.

    A host that knows when training ends warns of them: `warn_without_step`.
    """
    return [member for member in regs._named() if member.changes_params and not member.memory.stepped]


def count_loss(regs: RegularizerSet) -> None:
    """Warn, at the second loss, of members that change parameters after a step, and whose step was never called.

    For hosts that do not know when training ends.
    """
    _count_loss(waiting(regs))


def warn_of_schedules(regs: RegularizerSet, losses: int) -> None:
    """Warn, from the second loss on, of members whose weight is a schedule that `RegularizerSet.step` never moved.

    For hosts that know when training ends.

    Parameters
    ----------
    regs : RegularizerSet
    losses : int
        The number of losses for training since the last call.

    Examples
    --------
    >>> import regkit, warnings
    >>> regs = regkit.build(hidden_l1=regkit.schedules.Warmup(to=0.5, steps=10))
    >>> regkit.hosts.warn_of_schedules(regs, 1)
    >>> with warnings.catch_warnings(record=True) as found:
    ...     warnings.simplefilter("always")
    ...     regkit.hosts.warn_of_schedules(regs, 1)
    >>> print(found[0].message)
    hidden_l1: the weight follows the step, and nothing moved it, so it has the value of step 0. In regkit_torch \
give watch the optimizer; elsewhere call regs.step() after each step of the optimizer
    """
    _warn_of_schedules(regs._named(), losses)


def terms(regs: RegularizerSet, layers: Sequence[Any], outputs: Mapping[str, Any]) -> list[Term]:
    """Return the terms of the outputs that a host has kept for a set.

    Unlike `RegularizerSet.terms`, this does not check whether each glob of a pattern matches something or takes
    something out: outputs that are taken out are not among those that a host keeps. The host checks all names by
    `unmatched`.
    """
    return regs._hooks.terms(layers, outputs, check=False)


def metrics(regs: RegularizerSet, layers: Sequence[Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of outputs that a host has kept for a set, of all that there are.

    It is `RegularizerSet.metrics`, but for the globs of a pattern, as in `terms`.
    """
    return regs._hooks.metrics(layers, outputs, check=False)


def total(terms: Sequence[Term]) -> Any:
    """Return the sum of weighted penalties; the number 0 if there are none.

    Examples
    --------
    >>> import numpy, regkit
    >>> terms = regkit.build(hidden_l1=dict(weight=0.5, pattern="hid")).terms({"hid": numpy.array([1.0, -3.0])})
    >>> print(regkit.hosts.total(terms))
    2.0
    """
    return weighted_total(list(terms))
