"""What the tests have in common: 64 bits, four devices, and the numbers of a small network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 4)  # before anything is computed


@pytest.fixture(autouse=True)
def x64():
    """Compute in 64 bits, as values are compared to 1e-12."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)  # in all threads
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    shapes = {"w1": (4, 5), "w2": (5, 5), "w3": (5, 2)}
    return {name: jnp.asarray(rng.normal(size=shape) / 2) for name, shape in shapes.items()}


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)))


@pytest.fixture
def key():
    return jax.random.key(3)
