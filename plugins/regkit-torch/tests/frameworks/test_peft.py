"""Adapters of peft: a penalty of weights is of the sum that a layer computes with."""

from __future__ import annotations

import peft
import pytest
import regkit_torch
import torch
import transformers

import regkit

pytestmark = pytest.mark.filterwarnings("ignore")


def llama():
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12
    )
    model = peft.get_peft_model(
        transformers.LlamaForCausalLM(config),
        peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"], lora_dropout=0.0),
    )
    for name, param in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(param)
    return model


IDS = torch.randint(0, 50, (4, 6), generator=torch.Generator().manual_seed(1))


def adapted(model):
    return [module for name, module in model.named_modules() if name.endswith(("q_proj", "v_proj"))]


def summed(layer):
    return layer.base_layer.weight + 3.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight


def test_by_default_a_penalty_is_the_mean_over_the_sums_and_the_gradient_is_that_by_hand():
    model = llama()
    trained = [param for param in model.parameters() if param.requires_grad]
    with regkit_torch.watch(model, regkit.build(weight_l2=1.0)) as run:
        for _ in range(2):
            model.zero_grad()
            model(input_ids=IDS)
            loss = run.loss()
            loss.backward()
    by_hand = sum((summed(layer) ** 2).sum() for layer in adapted(model)) / 2
    torch.testing.assert_close(loss, by_hand)
    for param, expected in zip(trained, torch.autograd.grad(by_hand, trained)):
        torch.testing.assert_close(param.grad, expected)


def test_adapters_count_by_their_names():
    model = llama()
    with regkit_torch.watch(model, regkit.build(weight_l2=dict(weight=1, pattern="*.lora_B.default.weight"))) as run:
        by_hand = sum((layer.lora_B["default"].weight ** 2).sum() for layer in adapted(model)) / 2
        torch.testing.assert_close(run.loss(), by_hand)


def test_a_merged_adapter_is_in_the_weight_already():
    model = llama()
    expected = sum((summed(layer) ** 2).sum() for layer in adapted(model)) / 2
    model.merge_adapter()
    with regkit_torch.watch(model, regkit.build(weight_l2=dict(weight=1, pattern="*.[qv]_proj.weight"))) as run:
        torch.testing.assert_close(run.loss(), expected)
