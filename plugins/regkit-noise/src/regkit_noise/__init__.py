"""Additive Gaussian noise, inverted dropout and stochastic depth, as regkit regularizers that change the graph."""

from __future__ import annotations

import regkit

TYPE_CHECKING = False  # a type checker takes it for true; importing typing would cost more than the rest of a build
if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence
    from typing import Any

__all__ = [
    "DropPath",
    "Dropout",
    "GaussianNoise",
    "HiddenDropout",
    "HiddenNoise",
    "InputDropout",
    "InputNoise",
    "OutputDropout",
    "OutputNoise",
]
__version__ = "0.3.0"


class RandomChange(regkit.Regularizer):
    """A random change of outputs: which are changed, and where the draws come from."""

    #: Put behind the name of an output, the name of the clean original.
    suffix = ""

    #: The role of the layers whose main outputs are the default; None means all.
    _role: str | None = None

    default_selection = "all layers, input and output too"

    def __init__(self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, seed: int = 13) -> None:
        super().__init__(pattern, weight)
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or seed < 0:
            raise regkit.OptionError(f"{type(self).__name__} got seed={seed!r}; accepted: an integer of at least 0")
        self.seed = seed.__index__()

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> None:
        """Change the matching outputs of one layer; the original of each stays beside it.

        Raises
        ------
        regkit.NoMatchError
            If none of the layer's outputs matches.
        regkit.GraphError
            If an output is not of floats, or there is neither a pattern nor layers, whose outputs are the default.
        """
        for name, z in self._selected(outputs, layers):
            if "float" not in str(z.dtype):
                raise regkit.GraphError(f"output {name!r} is of {z.dtype}; {type(self).__name__} changes floats only")
            if isinstance(self.weight, (int, float)) and self.weight == 0:
                continue
            # regularizers that differ have different streams, also with one seed; the set tells equal ones apart
            label = f"{type(self).__name__} {self.pattern} {name}"
            stream = regkit.graph.random_stream(z, [self.seed, *label.encode("utf-8", "surrogatepass")])
            outputs[name + self.suffix] = z
            outputs[name] = self._changed(z, stream)

    def _selected(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> list[tuple[str, Any]]:
        of_role = layers if self._role is None else regkit.select_layers(layers, self._role)
        default = [layer.output_name for layer in of_role]
        first = self.pattern if self.pattern is None or isinstance(self.pattern, str) else self.pattern[0]
        if first is None or first.startswith("!"):
            if not layers:
                raise regkit.OptionError(
                    f"{type(self).__name__} needs a pattern, since no layers are given, whose outputs would be the "
                    f"default. Pass a pattern to select among the outputs: {', '.join(outputs)}"
                )
            if not default:
                raise regkit.NoMatchError(f"the network has no {self._role} layers")
        return regkit.select_outputs(outputs, self.pattern, default=default)

    def _changed(self, z: Any, stream: Any) -> Any:
        raise NotImplementedError


class GaussianNoise(RandomChange):
    r"""Add Gaussian noise to outputs.

    Every element of a matching output Z becomes

    .. math:: z + \sigma \epsilon, \qquad \epsilon \sim \mathcal{N}(0, 1)

    where :math:`\sigma` is the weight, with draws that differ from call to call of a compiled function. The clean
    output stays in the graph as ``<name>-prenoise``. There is no penalty.

    Draws are independent of example and element; each worker that computes a part of a batch wants a seed of its own.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the main output of every layer.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Standard deviation of the noise, in units of the output. At 0 nothing is changed.
    seed : int of at least 0, default 13
        Of the draws. Two outputs, two members of a set, and two graphs, or steps of a loop over arrays, that one set
        changes have different draws of one seed. A new set with the same seed repeats them: see Notes of
        `regkit.graph.random_stream`.

    Raises
    ------
    regkit.OptionError
        If the weight is negative, or the seed not an integer of at least 0.

    References
    ----------
    .. [1] P. Vincent, H. Larochelle, Y. Bengio & P.-A. Manzagol (2008). "Extracting and Composing Robust Features with
       Denoising Autoencoders." ICML.
    .. [2] L. Johnson. theanets 0.7.3, ``theanets.regularizers.GaussianNoise``.

    Examples
    --------
    >>> import numpy, regkit
    >>> outputs = {"hid1:out": numpy.zeros((1000, 10))}
    >>> regkit.build(noise=GaussianNoise("hid*", weight=0.5)).modify_graph(outputs)
    >>> list(outputs), round(float(outputs["hid1:out"].std()), 1)
    (['hid1:out', 'hid1:out-prenoise'], 0.5)
    """

    suffix = "-prenoise"

    def _changed(self, z: Any, stream: Any) -> Any:
        return z + regkit.graph.weight(self, z) * stream.normal(z)


class Dropout(RandomChange):
    r"""Set elements of outputs to zero at random.

    Every element of a matching output Z becomes

    .. math:: \frac{m z}{1 - p}, \qquad m \sim \mathrm{Bernoulli}(1 - p)

    where p is the weight, with draws that differ from call to call of a compiled function. Dividing by the probability
    of keeping an element leaves its expected value as it was (inverted dropout), so that a network is used for
    predictions as it is. The clean output stays in the graph as ``<name>-predrop``. There is no penalty.

    theanets' code divides by p instead, which is the same at p = 0.5 alone.

    Draws are independent of example and element; each worker that computes a part of a batch wants a seed of its own.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the main output of every layer.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Probability of dropping an element, from 0 to below 1, dimensionless. At 0 nothing is changed.
    seed : int of at least 0, default 13
        Of the draws. Two outputs, two members of a set, and two graphs, or steps of a loop over arrays, that one set
        changes have different draws of one seed. A new set with the same seed repeats them: see Notes of
        `regkit.graph.random_stream`.

    Raises
    ------
    regkit.OptionError
        If the weight is negative, or 1 or more, or the seed not an integer of at least 0.

    References
    ----------
    .. [1] G. Hinton, N. Srivastava, A. Krizhevsky, I. Sutskever & R. Salakhutdinov (2012). "Improving Neural Networks
       by Preventing Co-adaptation of Feature Detectors." arXiv:1207.0580.
    .. [2] L. Johnson. theanets 0.7.3, ``theanets.regularizers.BernoulliDropout``.

    Examples
    --------
    >>> import numpy, regkit
    >>> outputs = {"hid1:out": numpy.ones((1000, 10))}
    >>> regkit.build(dropout=Dropout("hid*", weight=0.2)).modify_graph(outputs)
    >>> sorted(set(outputs["hid1:out"].ravel().tolist())), round(float(outputs["hid1:out"].mean()), 1)
    ([0.0, 1.25], 1.0)
    """

    suffix = "-predrop"

    weight_below = 1

    def _changed(self, z: Any, stream: Any) -> Any:
        weight = regkit.graph.weight(self, z)
        keep = regkit.graph.cast(1, str(z.dtype)) - weight
        return z * stream.bernoulli(z, keep) / keep


class DropPath(RandomChange):
    r"""Set outputs of whole examples to zero at random: stochastic depth.

    Every element of a matching output Z becomes

    .. math:: \frac{m_e z}{1 - p}, \qquad m_e \sim \mathrm{Bernoulli}(1 - p)

    where p is the weight and e the example, along axis 0, with draws that differ from call to call of a compiled
    function. Dividing by the probability of keeping an example leaves the expected value as it was, so that a network
    is used for predictions as it is. The clean output stays in the graph as ``<name>-predrop``. There is no penalty.

    It is meant for the branches of a residual network: where the output of a branch is zero, the example takes the
    connection around it.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs of axes (examples, ...). By default the main output of
        every hidden layer.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Probability of dropping an example, from 0 to below 1, dimensionless. At 0 nothing is changed.
    seed : int of at least 0, default 13
        Of the draws, as that of `Dropout`.

    Raises
    ------
    regkit.OptionError
        If the weight is negative, or 1 or more, or the seed not an integer of at least 0.

    References
    ----------
    .. [1] G. Huang, Y. Sun, Z. Liu, D. Sedra & K. Weinberger (2016). "Deep Networks with Stochastic Depth." ECCV.
       arXiv:1603.09382.

    Examples
    --------
    >>> import numpy, regkit
    >>> outputs = {"branch1:out": numpy.ones((1000, 10))}
    >>> regkit.build(drop_path=dict(weight=0.2, pattern="branch*")).modify_graph(outputs)
    >>> examples = outputs["branch1:out"]
    >>> sorted(set(examples.sum(axis=1).tolist())), round(float(examples.mean()), 1)
    ([0.0, 12.5], 1.0)
    """

    suffix = "-predrop"
    weight_below = 1
    _role = "hidden"
    default_selection = "all hidden layers"

    def _changed(self, z: Any, stream: Any) -> Any:
        if not z.ndim:
            raise regkit.GraphError(f"an output has no axes; {type(self).__name__} expects (examples, ...)")
        keep = regkit.graph.cast(1, str(z.dtype)) - regkit.graph.weight(self, z)
        # a sum, for the shape: libraries know that its axes of length 1 are broadcast
        example = z.sum(axis=tuple(range(1, z.ndim)), keepdims=True) if z.ndim > 1 else z
        return z * stream.bernoulli(example, keep) / keep


class InputNoise(GaussianNoise):
    r"""Add Gaussian noise to the main output of the first layer.

    It is `GaussianNoise` with another default.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the main output of the first layer.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Standard deviation of the noise. At 0 nothing is changed.
    seed : int of at least 0, default 13
        Of the draws, as that of `GaussianNoise`.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] P. Vincent, H. Larochelle, Y. Bengio & P.-A. Manzagol (2008). "Extracting and Composing Robust Features with
       Denoising Autoencoders." ICML.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> outputs = {"in:out": numpy.ones((2, 3))}
    >>> regkit.build(input_noise=0.5).modify_graph(outputs, layers)
    >>> list(outputs)
    ['in:out', 'in:out-prenoise']
    """

    _role = "input"
    default_selection = "the input layer"


class HiddenNoise(GaussianNoise):
    r"""Add Gaussian noise to the main output of every hidden layer.

    It is `GaussianNoise` with another default.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the main output of every hidden layer.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Standard deviation of the noise. At 0 nothing is changed.
    seed : int of at least 0, default 13
        Of the draws, as that of `GaussianNoise`.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] P. Vincent, H. Larochelle, Y. Bengio & P.-A. Manzagol (2008). "Extracting and Composing Robust Features with
       Denoising Autoencoders." ICML.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> outputs = {"hid1:out": numpy.ones((2, 3))}
    >>> regkit.build(hidden_noise=0.5).modify_graph(outputs, layers)
    >>> list(outputs)
    ['hid1:out', 'hid1:out-prenoise']
    """

    _role = "hidden"
    default_selection = "all hidden layers"


class OutputNoise(GaussianNoise):
    r"""Add Gaussian noise to the main output of the last layer.

    It is `GaussianNoise` with another default.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the main output of the last layer.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Standard deviation of the noise. At 0 nothing is changed.
    seed : int of at least 0, default 13
        Of the draws, as that of `GaussianNoise`.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] P. Vincent, H. Larochelle, Y. Bengio & P.-A. Manzagol (2008). "Extracting and Composing Robust Features with
       Denoising Autoencoders." ICML.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> outputs = {"out:out": numpy.ones((2, 3))}
    >>> regkit.build(output_noise=0.5).modify_graph(outputs, layers)
    >>> list(outputs)
    ['out:out', 'out:out-prenoise']
    """

    _role = "output"
    default_selection = "the output layer"


class InputDropout(Dropout):
    r"""Set elements of the main output of the first layer to zero at random.

    It is `Dropout` with another default.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the main output of the first layer.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Probability of dropping an element, below 1. At 0 nothing is changed.
    seed : int of at least 0, default 13
        Of the draws, as that of `Dropout`.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] G. Hinton, N. Srivastava, A. Krizhevsky, I. Sutskever & R. Salakhutdinov (2012). "Improving Neural Networks
       by Preventing Co-adaptation of Feature Detectors." arXiv:1207.0580.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> outputs = {"in:out": numpy.ones((2, 3))}
    >>> regkit.build(input_dropout=0.5).modify_graph(outputs, layers)
    >>> list(outputs)
    ['in:out', 'in:out-predrop']
    """

    _role = "input"
    default_selection = "the input layer"


class HiddenDropout(Dropout):
    r"""Set elements of the main output of every hidden layer to zero at random.

    It is `Dropout` with another default.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the main output of every hidden layer.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Probability of dropping an element, below 1. At 0 nothing is changed.
    seed : int of at least 0, default 13
        Of the draws, as that of `Dropout`.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] G. Hinton, N. Srivastava, A. Krizhevsky, I. Sutskever & R. Salakhutdinov (2012). "Improving Neural Networks
       by Preventing Co-adaptation of Feature Detectors." arXiv:1207.0580.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> outputs = {"hid1:out": numpy.ones((2, 3))}
    >>> regkit.build(hidden_dropout=0.5).modify_graph(outputs, layers)
    >>> list(outputs)
    ['hid1:out', 'hid1:out-predrop']
    """

    _role = "hidden"
    default_selection = "all hidden layers"


class OutputDropout(Dropout):
    r"""Set elements of the main output of the last layer to zero at random.

    It is `Dropout` with another default.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the main output of the last layer.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Probability of dropping an element, below 1. At 0 nothing is changed.
    seed : int of at least 0, default 13
        Of the draws, as that of `Dropout`.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] G. Hinton, N. Srivastava, A. Krizhevsky, I. Sutskever & R. Salakhutdinov (2012). "Improving Neural Networks
       by Preventing Co-adaptation of Feature Detectors." arXiv:1207.0580.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> outputs = {"out:out": numpy.ones((2, 3))}
    >>> regkit.build(output_dropout=0.5).modify_graph(outputs, layers)
    >>> list(outputs)
    ['out:out', 'out:out-predrop']
    """

    _role = "output"
    default_selection = "the output layer"
