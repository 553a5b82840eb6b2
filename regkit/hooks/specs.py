"""The hooks as specifications: their names, and the arguments of each in the order in which they are given.

`regkit.Regularizer` has them as methods, where an author overrides them and reads what each is for. The methods are the
specification: a further hook is a method there, a name here, and a method of the adapter.
"""

from __future__ import annotations

from ..regularizer import Regularizer

HOOKS: dict[str, tuple[str, ...]] = {
    name: code.co_varnames[1 : code.co_argcount]
    for name in ("modify_graph", "loss", "log")
    for code in [vars(Regularizer)[name].__code__]
}

#: Where ``@regkit.hookimpl`` leaves the options of the hook that it marks.
MARK = "regkit_impl"
