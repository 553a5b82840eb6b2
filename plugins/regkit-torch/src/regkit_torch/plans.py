"""Plans: straight-line code for what hooks compute, recorded once for a set, what it looks at, names and shapes."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.fx import Graph, GraphModule

from .options import equal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import regkit

    from .members import Members

#: So many plans of a model and a set are kept, the last used; and so many sets of a model.
PLANS = 512
SETS = 8

_of: WeakKeyDictionary[Any, list[Plans]] = WeakKeyDictionary()


class Plan:
    """Straight-line code that computes what hooks computed when they were recorded.

    Attributes
    ----------
    code : str
        The source.
    names : list of str
        What the results are called.
    outputs, params : list of str
        Names of the outputs, and of the parameters, that it takes.
    call : callable
        It takes these as its arguments, and returns the results, and what `rest` needs beside them.
    device : str
        The type of device that it was recorded on.
    seen : list of (str, shape, dtype, device)
        Parameters that it does not take, but that hooks looked at: their shapes may be numbers in the code.
    ties : list of (str, str)
        Of parameters that were one, each name that is not taken, with the name that is.
    """

    def __init__(
        self,
        graph: Graph,
        rest: Graph,
        names: Sequence[str],
        outputs: Sequence[str],
        params: Mapping[str, torch.Tensor],
        seen: Mapping[str, torch.Tensor],
        lives: Sequence[regkit.Live],
        constants: Sequence[torch.Tensor],
    ) -> None:
        self._function, self.code = _compiled(graph)
        self._rest = rest
        self.names = list(names)
        self.outputs = list(outputs)
        self.params = list(params)
        self._kinds_of_params = [kind_of(param) for param in params.values()]
        self.seen = [(name, *kind_of(param)) for name, param in seen.items() if name not in params]
        self._lives = list(lives)
        self._constants = list(constants)
        self.call: Callable[..., tuple[Any, ...]] = self._call_with_more if lives or constants else self._function

    def recorded_for(
        self, outputs: Mapping[str, torch.Tensor], device: torch.device, ties: Sequence[tuple[str, str]]
    ) -> None:
        """Remember all the outputs that there were, also those it does not take, and which parameters were one."""
        self._kinds = [(name, *kind_of(tensor), name in self.outputs) for name, tensor in outputs.items()]
        self.device = device.type
        self.ties = list(ties)

    def tensors_of(self, kept: Mapping[str, tuple[torch.Tensor, int]]) -> list[torch.Tensor] | None:
        """Return the outputs that it takes; None if there are others than when it was recorded, or one was changed.

        Parameters
        ----------
        kept : mapping of str to (tensor, int)
            Outputs by their names, with the count of changes in place that they had.
        """
        if len(self._kinds) != len(kept):
            return None
        found = []
        for (name, shape, dtype, device, taken), (its_name, (tensor, version)) in zip(self._kinds, kept.items()):
            if (
                name != its_name
                or tensor.shape != shape
                or tensor.dtype is not dtype
                or tensor.device != device
                or tensor._version != version
            ):
                return None
            if taken:
                found.append(tensor)
        return found

    def fits(self, params: Sequence[Any]) -> bool:
        """Tell whether the parameters that it takes are still of the shapes, dtypes and devices, and still several."""
        return len(set(map(id, params))) == len(params) and all(map(_is_of, params, self._kinds_of_params))

    def fits_seen(self, param_of: Callable[[str], Any]) -> bool:
        """Tell the same of the parameters that hooks only looked at, of which a function gives the present ones."""
        return all(_is_of(param_of(name), kind) for name, *kind in self.seen)

    def _call_with_more(self, *tensors: torch.Tensor) -> tuple[Any, ...]:
        return self._function(*tensors, *[float(live.value) for live in self._lives], *self._constants)  # type: ignore[no-any-return]  # as fx wrote it

    @cached_property
    def rest(self) -> Any:
        """The function that computes, from all that a call returned, what not every step asks for."""
        return _compiled(self._rest)[0]


def _compiled(graph: Graph) -> tuple[Any, str]:
    module = GraphModule(torch.nn.Module(), graph)
    return module.forward, module.code


def kind_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return what a plan is recorded for: shape, dtype and device."""
    return tensor.shape, tensor.dtype, tensor.device


def _is_of(tensor: Any, kind: Sequence[Any]) -> bool:
    """Tell whether something is a tensor of a kind."""
    shape, dtype, device = kind
    return tensor is not None and tensor.shape == shape and tensor.dtype is dtype and tensor.device == device


class Plans:
    """The plans of a set as its members were, beside a model or layers of a form, the last used.

    Attributes
    ----------
    signature : object
        Which members they are of.
    form : object
        What the plans depend on beside the outputs: the layers and their parameters.
    layout : object
        What `watch` knows of a model of this form.
    last : Plan or None
        The plan of the last loss.
    """

    def __init__(self, members: Members, form: Any) -> None:
        self.signature = members.signature
        self.form = form
        self.layout: Any = None
        self.last: Plan | None = None
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


def plans_of(owner: Any, members: Members, form: Any) -> Plans:
    """Return the plans that belong to a model, or to a set, for members as they are now; they live as long as it does.

    Parameters
    ----------
    owner : object
        Which can be referred to weakly.
    members : Members
    form : object
        What is compared with the form that plans were recorded for.
    """
    every = _of.setdefault(owner, [])
    for i, plans in enumerate(every):
        if plans.form == form and equal(plans.signature, members.signature):
            if i:
                every.insert(0, every.pop(i))
            return plans
    every.insert(0, Plans(members, form))
    del every[SETS:]
    return every[0]
