"""Smaller models: rounded by half a step, originals untouched, students come near their teachers."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from recsys_lib.text import (
    MaskedLanguageModel,
    PairClassifier,
    add_adapters,
    drop_layers,
    encode,
    fit,
    labeled_pairs,
    masked_texts,
    mean_loss,
    merge_adapters,
    model_bytes,
    predict,
    quantize,
)
from recsys_lib.text.compression import Int8Linear, to_int8
from recsys_lib.text.encoder import fingerprint

FOODS = "apple bread butter cheese milk pasta rice salad soup tea".split()
TOOLS = "soap sponge shampoo brush towel".split()
FIRST = ["apple; milk", "soap", "bread", "tea; milk; rice"]
SECOND = ["cheese", "sponge; brush", "butter", "soup"]
LINEAR = [(32, 64), (64, 32), (7, 1)]


def some_layer(width: int, outputs: int, bias: bool = True) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        layer = nn.Linear(width, outputs, bias=bias)
    with torch.no_grad():  # rows of very different size: one step for all would drown the small ones
        layer.weight *= torch.logspace(-4, 2, outputs)[:, None]
    return layer


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


# ---- int8


def test_rounding_is_off_by_half_a_step_at_most() -> None:
    values = some_layer(64, 50).weight.detach()
    rounded, step = to_int8(values)
    assert rounded.dtype == torch.int8
    assert rounded.abs().amax(dim=1).tolist() == [127] * 50  # each row uses the whole range
    torch.testing.assert_close(step.squeeze(1), values.abs().amax(dim=1) / 127)
    error = (rounded.double() * step.double() - values.double()).abs() / step.double()
    assert 0.45 < error.max() <= 0.5 + 1e-4
    nothing, step = to_int8(torch.zeros(2, 3))
    assert not nothing.any()
    assert (step > 0).all()  # a step of 0 would divide by 0


@pytest.mark.parametrize(("width", "outputs"), LINEAR)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("integers", [True, False])
def test_the_int8_layer_equals_its_formula(width, outputs, bias, integers, monkeypatch) -> None:
    if integers and not torch.cpu._is_vnni_supported():
        pytest.skip("this CPU does not multiply int8 in hardware")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: integers)
    layer, x = some_layer(width, outputs, bias), draw(3, 5, width)
    small = Int8Linear(layer)
    rows, steps = to_int8(x.reshape(15, width))
    rows = rows.double() * steps.double() if integers else x.reshape(15, width).double()
    expected = rows @ (small.weight.double() * small.step.double()[:, None]).T
    expected = (expected if layer.bias is None else expected + layer.bias.double()).view(3, 5, outputs)
    torch.testing.assert_close(small(x).double(), expected, rtol=1e-5, atol=1e-5)
    # Each product is off by half a step of its weight and half a step of its input at most.
    halves = 0.5 * small.step.double() * x.abs().sum(dim=-1, keepdim=True).double()
    if integers:
        weight = (layer.weight.double().abs() + small.step.double()[:, None] / 2).sum(dim=1)
        halves = halves + 0.5 * steps.double().view(3, 5, 1) * weight
    error = (small(x) - layer(x)).detach().double().abs()
    assert (error <= halves * 1.01 + 1e-6).all()
    assert error.max() > 0


def test_a_quantised_classifier_is_smaller_and_judges_alike(tiny) -> None:
    model = PairClassifier(tiny)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    examples = labeled_pairs(tiny.tokenizer, FIRST, SECOND, [0, 1, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = quantize(model.train())
        found = predict(small, examples)
    assert not small.training
    assert model.training
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert not any(isinstance(module, nn.Linear) for module in small.modules())
    plain = predict(model, examples)
    assert 0 < np.abs(found - plain).max() < 0.02 * np.ptp(plain) + 1e-3
    tables = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Embedding)]
    rounded = sum(table.weight.numel() for table in tables)
    steps = sum(len(table.weight) for table in tables)
    others = sum(weight.numel() for weight in model.parameters()) - rounded
    assert model_bytes(model) == 4 * (rounded + others)
    assert model_bytes(small) == rounded + 4 * (steps + others)


def test_a_quantised_encoder_encodes_and_has_a_cache_of_its_own(tiny, tmp_path) -> None:
    small = replace(tiny, model=quantize(tiny.model))
    vectors = encode(tiny, FIRST, cache=tmp_path)
    rounded = encode(small, FIRST, cache=tmp_path)
    assert ((vectors * rounded).sum(axis=1) > 0.999).all()
    assert np.abs(vectors - rounded).max() > 1e-5
    digests = [fingerprint(small, 256)]
    for value in (small.encoder.encoder.layer[0].output.dense.weight, small.encoder.pooler.dense.step):
        value[0] += 1
        digests.append(fingerprint(small, 256))
    assert len(set(digests)) == 3  # whatever the vectors depend on is part of the cache's key


def test_a_quantised_model_guesses_words(load) -> None:
    text_model = load(True)
    data = masked_texts(text_model.tokenizer, FIRST)
    plain = mean_loss(MaskedLanguageModel(text_model), data)
    assert mean_loss(quantize(MaskedLanguageModel(text_model)), data) == pytest.approx(plain, rel=0.01)


def test_what_cannot_be_quantised_or_trained_is_refused(tiny) -> None:
    examples = labeled_pairs(tiny.tokenizer, FIRST, SECOND, [0, 1, 0, 1])
    small = quantize(PairClassifier(tiny))
    with pytest.raises(ValueError, match="nothing to train"):
        fit(small, examples, examples)
    with pytest.raises(ValueError, match="no linear layer"):
        quantize(small)
    adapted = add_adapters(PairClassifier(tiny), rank=2)
    with pytest.raises(ValueError, match="merge_adapters"):
        quantize(adapted)
    merged = merge_adapters(adapted)
    assert np.abs(predict(quantize(merged), examples) - predict(merged, examples)).max() < 0.01


# ---- fewer layers


def test_dropping_layers_keeps_the_bits_of_the_others(load) -> None:
    for masked in (False, True):
        whole = load(masked)
        before = {name: value.clone() for name, value in whole.model.state_dict().items()}
        small = drop_layers(whole, [1])
        assert small.encoder.config.num_hidden_layers == small.model.config.num_hidden_layers == 1
        assert whole.encoder.config.num_hidden_layers == len(whole.encoder.encoder.layer) == 2
        for name, value in small.model.state_dict().items():
            assert torch.equal(value, before[name.replace("layer.0.", "layer.1.")]), name
        assert len(small.model.state_dict()) == len(before) - sum("layer.1." in name for name in before)
        with torch.no_grad():
            for value in small.model.parameters():
                value.zero_()  # a copy: the original does not change with it
        assert all(torch.equal(whole.model.state_dict()[name], value) for name, value in before.items())


def test_a_model_without_its_last_layer_stops_one_layer_earlier(tiny) -> None:
    inputs = tiny.tokenizer(FIRST, padding=True, return_tensors="pt")
    states = tiny.model(**inputs, output_hidden_states=True).hidden_states
    for keep in ([0], [0, 1]):
        found = drop_layers(tiny, keep).model(**inputs).last_hidden_state
        assert torch.equal(found, states[len(keep)])


@pytest.mark.parametrize("keep", [[], [2], [-1, 0], [1, 0], [0, 0]])
def test_layers_that_are_not_there_are_refused(tiny, keep) -> None:
    with pytest.raises(ValueError, match="some of the layers 0 to 1 in rising order"):
        drop_layers(tiny, keep)


# ---- students


def test_the_students_loss_on_pairs_by_hand(tiny) -> None:
    teacher, student = np.array([0.9, 0.2, 0.0, 1.0]), PairClassifier(tiny)
    data = labeled_pairs(tiny.tokenizer, FIRST, SECOND, teacher)
    own = predict(student, data).astype(np.float64)
    expected = -np.mean(teacher * np.log(own) + (1 - teacher) * np.log(1 - own))
    assert mean_loss(student, data) == pytest.approx(expected, rel=1e-5)


def test_a_student_learns_a_teachers_probabilities(load, monkeypatch) -> None:
    monkeypatch.setattr("recsys_lib.text.training.PATIENCE", 12)
    generator = np.random.default_rng(0)
    first, second = (list(map(str, generator.choice(FOODS + TOOLS, 120))) for _ in range(2))
    teacher = np.where(np.isin(second, FOODS), 0.8, 0.3)
    student = load()
    model = PairClassifier(drop_layers(student, [1]))
    data = labeled_pairs(student.tokenizer, first, second, teacher)
    fit(model, data, data, epochs=12, batch_size=16, rate=3e-3)
    assert np.abs(predict(model, data) - teacher).mean() < 0.08
