"""A Trainer of transformers on tiny random models: its parameters are those of a loop by hand."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import regkit_torch.transformers
import torch
import transformers

import regkit

IDS = torch.randint(0, 50, (16, 6), generator=torch.Generator().manual_seed(1))
LABELS = torch.randint(0, 3, (16,), generator=torch.Generator().manual_seed(2))

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_pattern_that_the_error_proposes_for_gpt2_selects_tensors_of_all_blocks():
    torch.manual_seed(3)
    config = transformers.GPT2Config(vocab_size=50, n_positions=6, n_embd=8, n_layer=2, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    pattern = "transformer.h.*.attn.c_attn"
    proposed = re.escape(f"Name some: hidden_l1=dict(weight=..., pattern={pattern!r}). ")
    with pytest.raises(regkit.OptionError, match=proposed), regkit_torch.watch(model, regkit.build(hidden_l1=0.1)):
        pass
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern=pattern))) as run:
        seen = []
        for block in model.transformer.h:
            block.attn.c_attn.register_forward_hook(lambda _, __, output: seen.append(output))
        model(IDS)
        torch.testing.assert_close(run.loss(), 0.1 * (seen[0].abs().sum() + seen[1].abs().sum()) / 2)


def classifier():
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return transformers.BertForSequenceClassification(config)


def language_model():
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12
    )
    return transformers.LlamaForCausalLM(config)


MODELS = {
    "classifier": (classifier, LABELS, "bert.encoder.layer.*.intermediate.dense", "*.query.weight"),
    "language model": (language_model, IDS, "model.layers.*.mlp.act_fn", "*.q_proj.weight"),  # takes num_items_in_batch
}


class Data(torch.utils.data.Dataset):
    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(IDS)

    def __getitem__(self, i):
        return {"input_ids": IDS[i], "labels": self.labels[i]}


def regularizers(kind):
    _, _, outputs, params = MODELS[kind]
    return regkit.build(
        hidden_l2=dict(weight=0.1, pattern=outputs, reduction="batch"), weight_l2=dict(weight=0.5, pattern=params)
    )


def trainer(kind, folder, **options):
    make, labels, _, _ = MODELS[kind]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        **{"max_steps": 2, "save_strategy": "no", **options},
        use_cpu=True,
        report_to=[],
        logging_steps=1,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        disable_tqdm=True,
    )
    data = Data(labels)

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *args, **kwargs):
            return torch.utils.data.SequentialSampler(data)

    return InOrder(model=make(), args=arguments, train_dataset=data, eval_dataset=data)


def with_penalty_by_hand(kind, folder, **options):
    """Train with a Trainer whose loss has the penalties by hand, as the mean over accumulated batches."""
    found = trainer(kind, folder, **options)
    _, _, outputs, params = MODELS[kind]
    kept = []
    for name, module in found.model.named_modules():
        if fnmatchcase(name, outputs):
            module.register_forward_hook(lambda _, __, output: kept.append(output))
    weights = [param for name, param in found.model.named_parameters() if fnmatchcase(name, params)]
    accelerator_backward = found.accelerator.backward
    steps = options.get("gradient_accumulation_steps", 1)

    def backward(loss, **kwargs):  # what arrives here is divided already
        hidden = sum((z**2).sum() / len(z) for z in kept) / len(kept)
        penalty = 0.1 * hidden + 0.5 * sum((w**2).sum() for w in weights) / len(weights)
        kept.clear()
        accelerator_backward(loss + penalty / steps, **kwargs)

    found.accelerator.backward = backward
    found.train()
    return found


@pytest.mark.parametrize("options", [{}, {"label_smoothing_factor": 0.1}, {"gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("kind", MODELS)
def test_parameters_are_those_of_penalties_by_hand(kind, options, tmp_path):
    found = trainer(kind, tmp_path, **options)
    regkit_torch.transformers.attach(found, regularizers(kind))
    found.train()
    expected = with_penalty_by_hand(kind, tmp_path, **options)
    for (name, one), other in zip(found.model.named_parameters(), expected.model.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)
    before = MODELS[kind][0]()
    assert not all(torch.equal(one, other) for one, other in zip(found.model.parameters(), before.parameters()))


def test_terms_are_in_the_logs_of_training_and_evaluation_and_the_evaluated_loss_is_the_models(tmp_path):
    found = trainer("classifier", tmp_path, eval_strategy="steps", eval_steps=2)
    regkit_torch.transformers.attach(found, regularizers("classifier"))
    found.train()
    training = [logs for logs in found.state.log_history if "loss" in logs]
    assert len(training) == 2
    weights = [param for name, param in classifier().named_parameters() if name.endswith("query.weight")]
    first = 0.5 * sum((w**2).sum() for w in weights).item() / 2
    assert training[0]["weight_l2"] == pytest.approx(first, rel=1e-5)  # of the parameters before the step
    (evaluated,) = [logs for logs in found.state.log_history if "eval_loss" in logs]
    weights = [param for name, param in found.model.named_parameters() if name.endswith("query.weight")]
    assert evaluated["eval_weight_l2"] == pytest.approx(0.5 * sum((w**2).sum() for w in weights).item() / 2, rel=1e-5)
    found.model.eval()
    loss = found.model(input_ids=IDS, labels=LABELS).loss.item()
    assert evaluated["eval_loss"] == pytest.approx(loss, rel=1e-5)
    assert evaluated["eval_hidden_l2"] > 0


def test_saved_models_and_configs_are_clean_and_detaching_leaves_nothing(tmp_path):
    found = trainer("classifier", tmp_path)
    attached = regkit_torch.transformers.attach(found, regularizers("classifier"))
    found.train()
    found.save_model(tmp_path / "saved")
    assert "regkit" not in Path(tmp_path / "saved" / "config.json").read_text()
    assert json.loads(Path(tmp_path / "saved" / "config.json").read_text())["num_hidden_layers"] == 2
    loaded = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert set(loaded.state_dict()) == set(classifier().state_dict())
    attached.detach()
    assert not any(module._forward_hooks for module in found.model.modules())
    assert "compute_loss" not in found.__dict__


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_and_schedules_follow_the_optimizer(tmp_path, accumulate):
    pattern = "*.query.weight"
    regs = regkit.build(
        weight_l1=dict(weight=regkit.schedules.Linear(1.0, 2.0, steps=2), by="proximal", pattern=pattern)
    )
    found = trainer("classifier", tmp_path, gradient_accumulation_steps=accumulate)
    attached = regkit_torch.transformers.attach(found, regs)
    found.train()
    attached.detach()
    plain = trainer("classifier", tmp_path, gradient_accumulation_steps=accumulate)
    amounts = iter((1.0, 1.5))

    class ByHand(transformers.TrainerCallback):
        def on_optimizer_step(self, *args, model, **kwargs):
            amount = plain.args.learning_rate * next(amounts) / 2  # two matrices
            for name, param in model.named_parameters():
                if fnmatchcase(name, pattern):
                    param.data = param.sign() * (param.abs() - amount).clamp(min=0)

    plain.add_callback(ByHand())
    plain.train()
    for (name, one), other in zip(found.model.named_parameters(), plain.model.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7, msg=name)
    logs = [log for log in found.state.log_history if "loss" in log]
    assert logs[0]["weight_l1.zeros"] == 0
    assert all("weight_l1" in log for log in logs)


def test_a_training_that_goes_on_has_its_step(tmp_path):
    for resume in (False, True):
        weight = regkit.schedules.Linear(0.0, 1.0, steps=10)
        regs = regkit.build(weight_l2=dict(weight=weight, pattern="*.query.weight"))
        found = trainer("classifier", tmp_path, save_strategy="steps", save_steps=1, max_steps=2 + 2 * resume)
        attached = regkit_torch.transformers.attach(found, regs)
        found.train(resume_from_checkpoint=resume)
        attached.detach()
        assert regs.live() == {"weight_l2": pytest.approx(0.4 if resume else 0.2)}


def test_reentrant_checkpoints_have_the_error_that_names_them(tmp_path):
    regs = regkit.build(hidden_l2=dict(weight=0.1, pattern="bert.encoder.layer.*.intermediate.dense"))
    options = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    found = trainer("classifier", tmp_path, **options)
    attached = regkit_torch.transformers.attach(found, regs)
    with pytest.raises(regkit.GraphError, match="use_reentrant"):
        found.train()
    attached._watch.__exit__(regkit.GraphError, None, None)
