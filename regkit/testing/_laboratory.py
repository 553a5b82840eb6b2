"""The operations that tests need of a library: for graph libraries, NumPy, and engines of distributions."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import numpy as np

from .. import _engines
from .._engines import LIBRARIES
from ..errors import OptionError

Values = Mapping[str, np.ndarray]
Build = Callable[[dict[str, Any]], Any]


class Laboratory:
    """A library as the conformance kit uses it; an engine's `laboratory` returns one.

    Attributes
    ----------
    name : str
        The name of the engine.
    tensor_module : module, or object like one
        Has ``tanh``, ``exp`` and ``dot`` of expressions.
    gradients : bool
        Whether expressions have gradients; without them, checks of gradients and of compiled functions do not apply.
    changes_in_place : bool
        Whether a hook could change the values of an array in place.
    """

    name: str
    tensor_module: Any
    gradients = True
    changes_in_place = False

    @contextmanager
    def float_type(self, dtype: str) -> Iterator[None]:
        """Set the default dtype of floats for a while, if the library has one."""
        yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make the context of a check, such as a key for random draws; it is the same for each check."""
        yield

    def inputs(self, values: Values) -> dict[str, Any]:
        """Return an expression for each of several values, by its name."""
        raise NotImplementedError

    def built(self, build: Build, values: Values) -> Any:
        """Return the result of `build` for inputs of values; `build` may differentiate by the inputs."""
        return build(self.inputs(values))

    def shared(self, value: Any) -> Any:
        """Return a scalar with ``set_value`` that a compiled function follows; None if the library has none."""
        return None

    def compiled(
        self, build: Build, like: Values, by: Sequence[str] = (), *, default_mode: bool = False
    ) -> Callable[[Values], list[Any]]:
        """Return a function of named values that computes what `build` makes of inputs for them.

        Parameters
        ----------
        build : callable
            Called with an input for each of the values, by their names; returns an expression or a list of them.
        like : mapping of str to array
            Values of the names, dtypes and dimensions that the function is to be called with.
        by : sequence of str
            Inputs by which the one expression is differentiated; the gradients follow it in the result, zeros where it
            does not depend on one.
        default_mode : bool
            Compile and rewrite as users have it; otherwise the graph is computed as it stands, in Python.
        """
        raise NotImplementedError

    def values(self, inputs: Mapping[str, Any], outputs: Any, values: Values) -> Any:
        """Return the values that outputs of named inputs have for values of the inputs."""
        raise NotImplementedError


class GraphLibrary(Laboratory):
    """A graph library as tests use it.

    Parameters
    ----------
    name : {"theano", "aesara", "pytensor"}

    Raises
    ------
    ImportError
        If it cannot be imported.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "theano":  # its compiled scan does not build on Python 3.11; without it, scan runs in Python
            sys.modules.setdefault("theano.scan.scan_perform_ext", None)  # type: ignore[arg-type]  # None: not importable
        self.module = importlib.import_module(name)
        self.tensor_module = importlib.import_module(f"{name}.tensor")

    def tensor(self, name: str, dtype: str = "float64", ndim: int = 2) -> Any:
        """Return a symbolic input."""
        unknown = (False,) * ndim if self.name == "theano" else (None,) * ndim
        return self.tensor_module.TensorType(dtype, unknown)(name)

    def inputs(self, values: Values) -> dict[str, Any]:
        """Return a symbolic input for each of several values, by its name."""
        return {name: self.tensor(name, str(value.dtype), value.ndim) for name, value in values.items()}

    @contextmanager
    def float_type(self, dtype: str) -> Iterator[None]:
        """Set floatX for a while."""
        before = self.module.config.floatX
        self.module.config.floatX = dtype
        try:
            yield
        finally:
            self.module.config.floatX = before

    def shared(self, value: Any, name: str | None = None) -> Any:
        """Return a shared variable."""
        return self.module.shared(value, name=name)

    def function(
        self,
        inputs: Sequence[Any],
        outputs: Any,
        updates: Sequence[Any] = (),
        *,
        default_mode: bool = False,
        rewrites: bool = True,
    ) -> Callable[..., Any]:
        """Compile: in pure Python and without costly rewrites, or in the library's default mode."""
        optimizer = "fast_compile" if rewrites else None
        mode = None if default_mode else self.module.compile.mode.Mode(linker="py", optimizer=optimizer)
        with nullcontext() if default_mode else self._without_compiler():
            compiled: Callable[..., Any] = self.module.function(
                list(inputs), outputs, updates=list(updates), mode=mode, on_unused_input="ignore"
            )
        return compiled

    @contextmanager
    def _without_compiler(self) -> Iterator[None]:
        """Let the library find no C compiler: the steps of loops have a mode of their own, which takes seconds."""
        config = self.module.config
        before = config.cxx
        config.cxx = ""
        try:
            yield
        finally:
            config.cxx = before

    def compiled(
        self, build: Build, like: Values, by: Sequence[str] = (), *, default_mode: bool = False
    ) -> Callable[[Values], list[Any]]:
        """Return a function of named values that computes what `build` makes of inputs for them."""
        inputs = self.inputs(like)
        outputs = build(inputs)
        if by:
            outputs = [outputs, *self.grad(outputs, [inputs[name] for name in by], disconnected_inputs="ignore")]
        outputs = outputs if isinstance(outputs, list) else [outputs]
        function = self.function(list(inputs.values()), outputs, default_mode=default_mode, rewrites=False)
        return lambda values: function(*(values[name] for name in inputs))

    def values(self, inputs: Mapping[str, Any], outputs: Any, values: Values) -> Any:
        """Compile outputs of named inputs as they stand, and return their values for values of the inputs."""
        function = self.function(list(inputs.values()), outputs, rewrites=False)
        return function(*(values[name] for name in inputs))

    def scan(self, step: Callable[..., Any], **arguments: Any) -> Any:
        """Return the states that a step function goes through."""
        if self.name == "pytensor":  # where updates beside the states are on their way out
            return self.module.scan(step, return_updates=False, **arguments)
        return self.module.scan(step, **arguments)[0]

    def grad(self, cost: Any, wrt: Any, **arguments: Any) -> Any:
        """Return the gradient of a scalar."""
        return self.tensor_module.grad(cost, wrt, **arguments)

    def evaluate(self, expression: Any, **inputs: Any) -> Any:
        """Evaluate an expression for values of its named inputs."""
        variables = [variable for variable in _inputs_of(expression) if variable.name in inputs]
        return self.function(variables, expression)(*(inputs[variable.name] for variable in variables))


class Arrays(Laboratory):
    """NumPy in place of a graph library: an expression is its value."""

    name = "numpy"
    gradients = False
    changes_in_place = True
    module = tensor_module = np

    def inputs(self, values: Values) -> dict[str, Any]:
        """Return the values themselves."""
        return dict(values)

    def compiled(
        self, build: Build, like: Values, by: Sequence[str] = (), *, default_mode: bool = False
    ) -> Callable[[Values], list[Any]]:
        """Return a function that builds anew for each of its calls; arrays have no gradients."""

        def function(values: Values) -> list[Any]:
            outputs = build(self.inputs(values))
            return outputs if isinstance(outputs, list) else [outputs]

        return function

    def values(self, inputs: Mapping[str, Any], outputs: Any, values: Values) -> Any:
        """Return the outputs, which are values already."""
        return outputs


def _inputs_of(expression: Any) -> list[Any]:
    found, open_, seen = [], [expression], set()
    while open_:
        variable = open_.pop()
        if id(variable) in seen:
            continue
        seen.add(id(variable))
        if variable.owner is None:
            found.append(variable)
        else:
            open_ += variable.owner.inputs
    return found


def installed_libraries() -> list[str]:
    """Return the names of the libraries beside NumPy that are installed, importable or not, and have engines."""
    return [*(name for name in LIBRARIES if find_spec(name) is not None), *_engines.installed()]


def laboratory(name: str) -> Laboratory:
    """Return a library as the conformance kit uses it.

    Raises
    ------
    ImportError
        If it cannot be imported.
    """
    if name == "numpy":
        return Arrays()
    found: Laboratory = GraphLibrary(name) if name in LIBRARIES else _engines.installed()[name].laboratory()
    return found


def checked_names(libraries: Sequence[str]) -> list[str]:
    """Return names of libraries; OptionError for one that has no engine here."""
    accepted = (*LIBRARIES, *_engines.installed(), "numpy")
    if isinstance(libraries, str) or not isinstance(libraries, Sequence):
        raise OptionError(f"libraries is {libraries!r}; accepted: a sequence of {', '.join(accepted)}")
    for name in libraries:
        if name not in accepted:
            raise OptionError(f"libraries has {name!r}; accepted: {', '.join(accepted)}")
    return list(libraries)
