"""A Trainer of Lightning: its parameters are those of a loop by hand."""

from __future__ import annotations

import lightning
import pytest
import regkit_torch.lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import regkit

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
Y = torch.randn(32, 1, generator=torch.Generator().manual_seed(2))

pytestmark = pytest.mark.filterwarnings("ignore")  # which Lightning has many of


class Module(lightning.LightningModule):
    def __init__(self, form="tensor"):
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
        self.form = form

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        return loss if self.form == "tensor" else {"loss": loss, "more": 1}

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.net(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader():
    return DataLoader(TensorDataset(X, Y), batch_size=8)


def fit(module, regs, **options):
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[regkit_torch.lightning.Callback(regs)],
        **options,
    )
    trainer.fit(module, loader(), loader())
    return trainer


def regularizers():
    return regkit.build(hidden_l2=dict(weight=0.1, reduction="batch"), weight_l1=0.01)


def penalties(net, x):
    hidden = (torch.tanh(net[0](x)) ** 2).sum() / len(x)
    return 0.1 * hidden, 0.01 * (net[0].weight.abs().sum() + net[2].weight.abs().sum()) / 2


def by_hand(accumulate=1):
    net = Module().net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        for i, (x, y) in enumerate(loader()):
            hidden, weights = penalties(net, x)
            terms = (nn.functional.mse_loss(net(x), y) + hidden + weights) / accumulate
            terms.backward()
            if (i + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
    return net


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("form", ["tensor", "dict"])
def test_parameters_are_those_of_a_loop_by_hand_and_accumulation_counts_once(form, accumulate):
    module = Module(form)
    fit(module, regularizers(), accumulate_grad_batches=accumulate)
    for found, expected in zip(module.net.parameters(), by_hand(accumulate).parameters()):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_terms_are_logged_by_name_and_validation_has_its_values():
    module = Module()
    trainer = fit(module, regularizers())
    metrics = trainer.callback_metrics
    assert {"hidden_l2", "weight_l1", "val_hidden_l2", "val_weight_l1", "val_loss"} <= set(metrics)
    each = [penalties(module.net, x) for x, _ in loader()]
    torch.testing.assert_close(metrics["val_hidden_l2"], sum(hidden for hidden, _ in each).detach() / 4)
    torch.testing.assert_close(metrics["val_weight_l1"], each[0][1].detach())
    losses = [nn.functional.mse_loss(module.net(x), y) for x, y in loader()]
    torch.testing.assert_close(metrics["val_loss"], sum(losses).detach() / 4)  # that of the model alone


def test_nothing_is_left_on_the_module():
    module = Module()
    fit(module, regularizers())
    assert "training_step" not in module.__dict__
    assert not any(one._forward_hooks for one in module.modules())
    with regkit_torch.watch(module, regularizers()):
        pass


def test_an_exception_in_a_step_closes_the_watch():
    class Fails(Module):
        def training_step(self, batch, batch_idx):
            raise ZeroDivisionError

    module = Fails()
    with pytest.raises(ZeroDivisionError):
        fit(module, regularizers())
    assert not any(one._forward_hooks for one in module.modules())


def test_manual_optimization_is_refused_in_words():
    module = Module()
    module.automatic_optimization = False
    with pytest.raises(regkit.OptionError, match=r"Module optimizes by itself .* add run.loss\(\) to the loss"):
        fit(module, regularizers())


def test_steps_schedules_and_metrics_are_those_of_a_loop_by_hand(tmp_path):
    regs = regkit.build(
        weight_l1=dict(weight=regkit.schedules.Linear(0.1, 0.5, steps=4), by="proximal"), hidden_l1=1e-9
    )
    module = Module()
    logger = lightning.pytorch.loggers.CSVLogger(tmp_path)
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=logger,
        log_every_n_steps=4,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=2,
        callbacks=[regkit_torch.lightning.Callback(regs)],
    )
    trainer.fit(module, loader(), loader())

    net = Module().net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(4):
        optimizer.zero_grad()
        for i in range(2):
            at = (2 * step + i) % 4 * 8
            (nn.functional.mse_loss(net(X[at : at + 8]), Y[at : at + 8]) / 2).backward()
        optimizer.step()
        amount = 0.1 * (0.1 + 0.1 * step) / 2
        with torch.no_grad():
            for param in (net[0].weight, net[2].weight):
                param.copy_(param.sign() * (param.abs() - amount).clamp(min=0))
    for found, expected in zip(module.net.parameters(), net.parameters()):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    zeros = [float((param == 0).float().mean()) for param in (net[0].weight, net[2].weight)]
    assert sum(zeros) > 0
    assert float(trainer.callback_metrics["val_weight_l1.zeros"]) == pytest.approx(sum(zeros) / 2)
    assert "hidden_l1.zeros" in (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()


def test_a_training_that_goes_on_has_its_step(tmp_path):
    regs = regkit.build(hidden_l1=regkit.schedules.Linear(0.0, 0.8, steps=8))
    for epochs in (1, 2):
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[regkit_torch.lightning.Callback(regs), lightning.pytorch.callbacks.ModelCheckpoint(tmp_path)],
        )
        trainer.fit(Module(), loader(), ckpt_path=tmp_path / "kept.ckpt" if epochs == 2 else None)
        trainer.save_checkpoint(tmp_path / "kept.ckpt")
        assert regs.live() == {"hidden_l1": pytest.approx(0.4 * epochs)}
        regs = regkit.build(hidden_l1=regkit.schedules.Linear(0.0, 0.8, steps=8))


def test_a_validation_step_without_a_forward_is_fine():
    class Without(Module):
        def validation_step(self, batch, batch_idx):
            return None

    fit(Without(), regularizers())
