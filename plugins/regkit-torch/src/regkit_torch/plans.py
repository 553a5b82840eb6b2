"""Which plans there are: recorded once for a model, a set of regularizers, names, shapes and dtypes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from .members import Members

#: So many plans of a model and a set are kept, the last used; and so many sets of a model.
PLANS = 512
SETS = 8

_of: WeakKeyDictionary[Any, list[Plans]] = WeakKeyDictionary()


class Plans:
    """The plans of a set as its members were, the last used."""

    def __init__(self, states: list[Any]) -> None:
        self.states = states
        self._plans: OrderedDict[Any, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._plans)

    def get(self, key: Any) -> Any:
        """Return the plan for names, shapes and dtypes; None if there is none yet."""
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
        return plan

    def put(self, key: Any, plan: Any) -> None:
        """Keep a plan, and forget the one that was not used for longest."""
        self._plans[key] = plan
        if len(self._plans) > PLANS:
            self._plans.popitem(last=False)


def plans_of(owner: Any, members: Members) -> Plans:
    """Return the plans that belong to a model, or to a set, for members as they are now; they live as long as it does.

    Parameters
    ----------
    owner : object
        Which can be referred to weakly.
    members : Members
    """
    every = _of.setdefault(owner, [])
    for i, plans in enumerate(every):
        if members.are(plans.states):
            every.insert(0, every.pop(i))
            return plans
    every.insert(0, Plans(members.states()))
    del every[SETS:]
    return every[0]
