"""A real theanets autoencoder, with and without hidden_sparsity: five epochs of each.

Prints, for each epoch, the loss with its penalty, the reconstruction error alone, and the share of hidden activations
near zero. Needs theanets on theano-pymc; plugins/regkit-theanets/README.md has the versions that work.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import regkit_theanets

EPOCHS = 5
NEAR_ZERO = 0.05


def data(examples: int = 1000, inputs: int = 16, causes: int = 4) -> np.ndarray:
    """Return inputs that a few sparse causes explain, in the float type that theano is set to."""
    import theano

    rng = np.random.RandomState(0)
    active = rng.exponential(size=(examples, causes)) * (rng.uniform(size=(examples, causes)) < 0.3)
    noise = 0.05 * rng.normal(size=(examples, inputs))
    return (active @ rng.normal(size=(causes, inputs)) + noise).astype(theano.config.floatX)


def main() -> None:
    """Train and print."""
    with regkit_theanets.installed() as theanets:
        x = data()
        print(f"{'hidden_sparsity':<17}{'epoch':>6}{'loss':>9}{'err':>9}{'near zero':>11}")
        for weight in (0, 0.5):
            net = theanets.Autoencoder([x.shape[1], 32, x.shape[1]], rng=1)
            regularizers = {"hidden_sparsity": weight} if weight else {}
            run = net.itertrain([x], algo="rmsprop", learning_rate=0.01, batch_size=50, **regularizers)
            for epoch in range(1, EPOCHS + 1):
                with contextlib.redirect_stdout(io.StringIO()):  # downhill tells its own story there
                    train, _ = next(run)
                near_zero = (np.abs(net.feed_forward(x)["hid1:out"]) < NEAR_ZERO).mean()
                print(f"{weight:<17}{epoch:>6}{train['loss']:>9.4f}{train['err']:>9.4f}{near_zero:>11.0%}")


if __name__ == "__main__":
    main()
