"""Optuna's callbacks for Lightning and Keras in a search: what is reported and pruned is that of Optuna's own loop."""

from __future__ import annotations

import keras
import lightning
import numpy as np
import optuna
import pytest
import regkit_keras
import regkit_search
import regkit_torch.lightning
import torch
from optuna.distributions import FloatDistribution
from optuna_integration import KerasPruningCallback, PyTorchLightningPruningCallback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import regkit

pytestmark = pytest.mark.filterwarnings("ignore")  # which Lightning has many of

WEIGHTS = [0.001, 0.01, 3.0, 5.0, 0.0001]
X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X[:, :1] - X[:, 1:2]


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))

    def training_step(self, batch, _):
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def by_lightning(regs, trial):
    data = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=8)
    pruning = PyTorchLightningPruningCallback(trial, monitor="val_loss")
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(
        max_epochs=4, accelerator="cpu", callbacks=[regkit_torch.lightning.Callback(regs), pruning], **quiet
    )
    trainer.fit(Module(), data, data)
    return float(trainer.callback_metrics["val_loss"])


def by_keras(regs, trial):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(6, "tanh"), keras.layers.Dense(1)]
    model = regkit_keras.Model(keras.Sequential([keras.Input((4,)), *layers]), regs)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    pruning = KerasPruningCallback(trial, "val_loss")
    options = dict(epochs=4, batch_size=8, shuffle=False, verbose=0, callbacks=[pruning])
    return model.fit(X, Y, validation_data=(X, Y), **options).history["val_loss"][-1]


@pytest.mark.parametrize("train", [by_lightning, by_keras])
def test_callbacks_of_optuna_report_and_prune_as_in_its_own_loop(train):
    def study():
        return optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0))

    pattern = {"pattern": "*weight" if train is by_lightning else "*kernel"}
    expected = study()
    for weight in WEIGHTS:
        expected.enqueue_trial({"weight_l2.weight": weight})
    expected.optimize(
        lambda trial: train(
            regkit.build(weight_l2=dict(weight=trial.suggest_float("weight_l2.weight", 1e-5, 10, log=True), **pattern)),
            trial,
        ),
        n_trials=len(WEIGHTS),
    )
    found = study()
    result = regkit_search.run(
        lambda regs: lambda trial: {"error": train(regs, trial)},
        {"weight_l2": {"weight": FloatDistribution(1e-5, 10, log=True), **pattern}},
        minimize="error",
        trials=len(WEIGHTS),
        enqueue=[{"weight_l2.weight": weight} for weight in WEIGHTS],
        storage=found,
    )
    states = [trial.state for trial in expected.trials]
    assert {state.name for state in states} == {"COMPLETE", "PRUNED"}
    assert [trial.state for trial in found.trials] == states
    assert list(result.frame()["state"]) == [state.name.lower() for state in states]
    for one, other in zip(found.trials, expected.trials):
        assert list(one.intermediate_values) == list(other.intermediate_values)
        np.testing.assert_allclose(
            list(one.intermediate_values.values()), list(other.intermediate_values.values()), rtol=1e-5
        )
