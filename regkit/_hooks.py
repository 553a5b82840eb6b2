"""The hooks as pluggy runs them. Imported at the first hook call of a set, because pluggy takes time to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from ._engines import engine
from ._regularizer import HOOKS, Regularizer, is_off, log_line
from ._selection import Shown
from ._steps import check_changes
from .errors import GraphError, HookSignatureError, NoMatchError, RegkitError, prefixed
from .graph._random import Drawing
from .graph._rebuild import OneExpression
from .graph._weights import weight_for

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from ._members import Member


#: Marks the hooks of a class that is not a subclass of `Regularizer`; pluggy's options for it are not used.
hookimpl = pluggy.HookimplMarker("regkit")


class Adapter:
    """One regularizer as pluggy sees it.

    pluggy drops results that are None, returns results without their plugins, and compares plugins by value. Adapters
    are compared by identity, and each result comes with the member that it is from.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self.hooks = member.hooks
        self._drawing = Drawing(member.name)

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> tuple[Member, Modified]:
        """Run the hook on one layer, and put its changes into the outputs.

        The originals that the hook keeps beside the changed outputs come with the result: they are not for the next
        regularizer to change.
        """
        shown = self._shown(outputs, layers)
        before = dict(shown)
        try:
            returned = self._call("modify_graph", outputs=shown, layers=layers)
        except NoMatchError as error:  # nothing for it in this layer; the set checks the others
            return self.member, Modified(False, {}, error)
        after = dict(shown)  # without the outputs that may be asked for beside those shown
        problem = self._problem(before, after, outputs, returned)
        if problem:
            raise GraphError(f"{self.member.name}: modify_graph of {type(self.member.regularizer).__name__} {problem}")
        outputs.update({name: after[name] for name in before if after[name] is not before[name]})
        if isinstance(outputs, OneExpression):
            outputs.agree()
        matched = any(map(self.member.changes, outputs))
        return self.member, Modified(matched, {name: after[name] for name in after if name not in before}, None)

    def _problem(
        self, before: dict[str, Any], after: dict[str, Any], outputs: MutableMapping[str, Any], returned: Any
    ) -> str:
        """Return the mistake in the changes of a hook; an empty string if there is none."""
        missing = [name for name in before if name not in after]
        if missing:
            return f"took {missing[0]!r} away. A changed output keeps its name"
        if not self.member.changes_graph and any(after[name] is not before[name] for name in before):
            return "changed an output, and its class says changes_graph = False"
        taken = [name for name in after if name not in before and name in outputs]
        if taken:
            return f"added the output {taken[0]!r}, and there is an output of that name. Give the addition another"
        if returned is not None:
            return f"returned {returned!r}, and has to change the outputs in place"
        return ""

    def loss(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> tuple[Member, Any]:
        """Run the hook; the result is the penalty."""
        return self.member, self._call("loss", layers=layers, outputs=self._shown(outputs, layers))

    def after_step(
        self,
        params: MutableMapping[str, Any],
        amount: Any,
        layers: Sequence[Any],
        divisors: Mapping[str, Any],
    ) -> None:
        """Run the hook; `amount` is the step size, and the hook gets it times the weight."""
        like = next(iter(params.values()), None)
        if is_off(self.member.regularizer) or like is None:
            return
        if divisors and "divisors" not in self.hooks["after_step"] and self.member.is_proximal:
            raise GraphError(
                f"{self.member.name}: the proximal step of {type(self.member.regularizer).__name__} has one amount for "
                "all elements of a parameter, and the optimizer, such as Adam, has a step size for each. Use an "
                'optimizer such as SGD, or by="gradient"'
            )
        before = dict(params)
        try:
            amount = amount * weight_for(self.member.regularizer, like)
        except RegkitError as error:
            raise prefixed(error, self.member.name) from None
        self._call("after_step", params=params, amount=amount, layers=layers, divisors=divisors)
        check_changes(self.member.name, before, params)

    def metrics(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> tuple[Member, Any]:
        """Run the hook; the result is the scalars by name."""
        return self.member, self._call("metrics", layers=layers, outputs=self._shown(outputs, layers))

    def log(self) -> None:
        """Run the hook; the line of the base class has the name of the member."""
        if getattr(type(self.member.regularizer), "log", None) is Regularizer.log:
            log_line(self.member.regularizer, self.member.name)
        else:
            self._call("log")

    def _shown(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> Shown:
        return Shown(outputs, self.member.looks_at, {layer.output_name for layer in layers})

    def _call(self, hook: str, **arguments: Any) -> Any:
        """Call a hook with the arguments it takes, and put the member's name before errors of regkit."""
        try:
            taken = [arguments[name] for name in self.hooks[hook]]
            function = getattr(self.member.regularizer, hook)
            if getattr(self.member.regularizer, "engine", None) is not None:
                return self._drawing.run(self._native, function, *taken)
            return self._drawing.run(function, *taken)
        except RegkitError as error:
            raise prefixed(error, self.member.name) from error.__cause__

    def _native(self, hook: Any, *arguments: Any) -> Any:
        """Call a hook that is written for one engine with arrays of it."""
        regularizer = self.member.regularizer
        there = next((engine(one) for argument in arguments for one in _expressions(argument)), None)
        if there is None:
            return hook(*arguments)
        if there.name != regularizer.engine:
            raise GraphError(
                f"{type(regularizer).__name__} is written for arrays of {regularizer.engine}, and was given those of "
                f"{there.name}"
            )
        return there.native(hook, arguments)


def _expressions(argument: Any) -> Iterable[Any]:
    """Return the expressions among the arguments of a hook."""
    if isinstance(argument, Mapping):
        return argument.values()
    if isinstance(argument, (list, tuple)):
        return [param for layer in argument for param in layer.params]
    return []


class Modified(NamedTuple):
    """The changes of one regularizer to one layer."""

    matched: bool
    kept: dict[str, Any]  # the originals that it added
    no_match: NoMatchError | None


class HookManager(pluggy.PluginManager):
    """pluggy's manager for the members of a set, whose hooks are those that their classes override."""

    def __init__(self, members: Iterable[Member]) -> None:
        lacking = [name for name in HOOKS if not callable(getattr(Adapter, name, None))]
        if lacking:
            raise HookSignatureError(f"the adapter has no method for the hook {lacking[0]!r}, so it would never run")
        super().__init__("regkit")
        self.add_hookspecs(Regularizer)
        for adapter in reversed(list(map(Adapter, members))):  # pluggy calls the last registered first
            self.register(adapter)

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        """Return options for the methods of `Regularizer` that are hooks: these are the specifications."""
        if name not in HOOKS:
            return None
        return {"firstresult": False, "historic": False, "warn_on_impl": None, "warn_on_impl_args": None}

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Return options for the hooks that the regularizer behind an adapter implements, which need no decorator."""
        return {} if name in HOOKS and name in plugin.hooks else None
