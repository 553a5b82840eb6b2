"""Weights as modules compute with them: parameters, or results of parametrizations, masks and adapters."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

import regkit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ._forward import Forward

#: Whether a tensor is of a transform of torch.func that has ended.
_is_dead = getattr(torch._C._functorch, "is_dead_tensor_wrapper", lambda tensor: False)


def computed_names(module: torch.nn.Module) -> list[str]:
    """Return the names of a module's weights that are computed, as in ``module.weight``."""
    names = list(module._modules["parametrizations"]._modules) if _is_parametrized(module) else []
    names += [name for name, _ in _makers(module)]
    return [*names, "weight"] if _has_adapters(module) else names


def original_names(module: torch.nn.Module) -> list[str]:
    """Return the names of parameters, from a module's path on, of which its computed weights are made."""
    names = []
    if _is_parametrized(module):
        names += [f"parametrizations.{name}" for name, _ in module._modules["parametrizations"].named_parameters()]
    for name, _ in _makers(module):
        names += [f"{name}{suffix}" for suffix in ("_orig", "_g", "_v") if f"{name}{suffix}" in module._parameters]
    if _has_adapters(module):
        names += [
            name for name, _ in module.named_parameters() if name.startswith("lora_") or name == "base_layer.weight"
        ]
    return names


def parametrizations(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return the modules that compute a module's weights in each forward, by the names of the weights."""
    return dict(module._modules["parametrizations"]._modules) if _is_parametrized(module) else {}


def _is_parametrized(module: torch.nn.Module) -> bool:
    return isinstance(module._modules.get("parametrizations"), torch.nn.ModuleDict)


def _makers(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the hooks that set a weight before each forward: torch.nn.utils.prune, and the older norms."""
    for hook in module._forward_pre_hooks.values():
        if hasattr(hook, "apply_mask") and hasattr(hook, "_tensor_name"):
            yield hook._tensor_name, lambda hook=hook: hook.apply_mask(module)
        elif type(hook).__module__ == "torch.nn.utils.weight_norm":
            yield hook.name, lambda hook=hook: hook.compute_weight(module)
        elif type(hook).__module__ == "torch.nn.utils.spectral_norm":
            yield hook.name, lambda hook=hook: hook.compute_weight(module, do_power_iteration=False)


def _has_adapters(module: torch.nn.Module) -> bool:
    """Return whether it is a layer of peft whose weight is a sum: not of DoRA, nor beside a quantized one."""
    if not (hasattr(module, "get_delta_weight") and hasattr(module, "active_adapters")):
        return False
    base = getattr(module._modules.get("base_layer"), "weight", None)
    return (
        isinstance(base, torch.Tensor)
        and base.is_floating_point()
        and not any(getattr(module, "use_dora", {}).values())
    )


def _compute(module: torch.nn.Module, name: str) -> torch.Tensor:
    """Return a computed weight of a module, as in eval mode."""
    if _is_parametrized(module) and name in module._modules["parametrizations"]:
        with _eval_mode(module._modules["parametrizations"][name]):
            return getattr(module, name)  # type: ignore[no-any-return]
    for maker, make in _makers(module):
        if maker == name:
            return make()  # type: ignore[no-any-return]
    weight = module.base_layer.weight
    if module.merged or module.disable_adapters:
        return weight  # type: ignore[no-any-return]
    adapters = [name for name in module.active_adapters if name in {**module.lora_A, **module.lora_embedding_A}]
    return sum((module.get_delta_weight(name) for name in adapters), weight)  # type: ignore[no-any-return]


@contextmanager
def _eval_mode(module: torch.nn.Module) -> Iterator[None]:
    modules = [one for one in module.modules() if one.training]
    for one in modules:
        one.training = False
    try:
        yield
    finally:
        for one in modules:
            one.training = True


class Weights:
    """The present weights of a model.

    Parameters
    ----------
    every : sequence of torch.nn.Module
    params : mapping of str to (int, str)
        By the full name of a weight, the place of its module and the name there.
    made_of : mapping of str to list of str
        By the full names of computed weights, the names of the parameters from which each is computed.
    """

    def __init__(
        self, every: Sequence[torch.nn.Module], params: Mapping[str, tuple[int, str]], made_of: Mapping[str, list[str]]
    ) -> None:
        self._every = every
        self._params = params
        self._made_of = made_of
        self._plain = [
            (every[place]._parameters, short, name) for name, (place, short) in params.items() if name not in made_of
        ]
        self._sharded = _is_sharded(every[0])
        self._found: dict[str, torch.Tensor] = {}
        self.computing = False

    def note(self, forward: Forward) -> None:
        """Keep the parameters of a forward that ends, which `torch.func.functional_call` may have swapped in."""
        if not self._sharded:
            forward.params = [params.get(short) for params, short, _ in self._plain]

    def use(self, forwards: Sequence[Forward]) -> None:
        """Use the weights of these forwards, and the present ones for all others."""
        self._found = {}
        for forward in forwards:
            self._found.update(forward.weights)
            if forward.params is not None:
                for (params, short, name), param in zip(self._plain, forward.params):
                    if params.get(short) is not param and param is not None:
                        self._found[name] = param
        for name, weight in self._found.items():
            if _is_dead(weight):
                raise regkit.GraphError(
                    f"the forward computed with a weight {name!r} of a transform of torch.func that has ended. Call "
                    "run.loss() within the function that is transformed"
                )

    def get(self, name: str) -> Any:
        """Return the weight of a full name; None if there is none."""
        if name in self._found:
            return self._found[name]
        place, short = self._params[name]
        module = self._every[place]
        if name not in self._made_of:
            return module._parameters.get(short)
        self.computing = True
        try:
            self._found[name] = _compute(module, short)
        finally:
            self.computing = False
        return self._found[name]

    def is_trained(self, name: str) -> bool:
        """Return whether a weight is of real numbers, and is trained."""
        names = self._made_of.get(name) or [name]
        for place, short in (self._params[one] for one in names):
            param = self._every[place]._parameters.get(short)
            if param is not None and param.requires_grad and param.is_floating_point():
                return True
        return False


def _is_sharded(model: torch.nn.Module) -> bool:
    """Return whether fully_shard swaps the parameters of modules in each forward."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", None)
    return kind is not None and any(isinstance(module, kind) for module in model.modules())


def check_live(forwards: Sequence[Forward]) -> None:
    """Raise if outputs belong to a transform of torch.func that has ended."""
    for forward in forwards:
        for name, (tensor, _) in forward.outputs.items():
            if _is_dead(tensor):
                raise regkit.GraphError(
                    f"output {name!r} is of a transform of torch.func that has ended. Call run.loss() within the "
                    "function that is transformed"
                )
