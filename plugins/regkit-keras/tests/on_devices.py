"""Trains a model on as many devices as the first argument says, and writes its history and weights to the second."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext

devices = int(sys.argv[1])
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"  # before JAX starts

import keras  # noqa: E402
import numpy as np  # noqa: E402
import regkit_keras  # noqa: E402

import regkit  # noqa: E402

scope = nullcontext
if keras.config.backend() == "jax":
    keras.distribution.set_distribution(keras.distribution.DataParallel())
else:
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * devices)
    scope = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)]).scope

x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
with scope():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(3, "tanh", name="hid"), keras.layers.Dense(1, name="out")]
    regs = regkit.build(
        hidden_l1=dict(weight=0.1, reduction="batch"),
        weight_l2=regkit.schedules.Warmup(to=1.0, steps=4),
        weight_l1=dict(weight=0.1, by="proximal"),
    )
    model = regkit_keras.Model(keras.Sequential([keras.Input((4,)), *layers]), regs, metrics=["hidden_l1.zeros"])
    model.compile(keras.optimizers.SGD(0.1), "mse")
history = model.fit(x, x[:, :1], batch_size=8, epochs=2, shuffle=False, verbose=0).history
np.savez(sys.argv[2], **history, **{variable.path: variable.numpy() for variable in model.model.weights})
