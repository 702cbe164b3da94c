"""Models compute where they are, and make nobody wait for numbers: device meta stands in for a GPU.

Under FakeTensorMode no tensor has values: whatever asks for one (`bool(...)`, `.item()`, a shape that depends
on values) raises, and so does an operation on tensors of two devices.
"""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.func import functional_call

from recsys_lib.text import (
    ContrastiveModel,
    MaskedLanguageModel,
    PairClassifier,
    encode,
    fit,
    labeled_pairs,
    masked_texts,
    matching_texts,
    mean_loss,
    predict,
    quantize,
)
from recsys_lib.text import steps as steps_module
from recsys_lib.text.encoder import unit_vectors
from recsys_lib.text.steps import half_precision

FIRST = ["apple; milk", "soap", "bread", "tea; milk; rice"]
SECOND = ["cheese", "sponge; brush", "butter", "soup"]


def model_and_batch(load, kind):
    text_model = load(kind == "masked")
    words = text_model.tokenizer
    if kind == "masked":
        model, data = MaskedLanguageModel(text_model), masked_texts(words, FIRST)
    elif kind == "contrastive":
        model, data = ContrastiveModel(text_model), matching_texts(words, FIRST, SECOND)
    else:
        model, data = PairClassifier(text_model), labeled_pairs(words, FIRST, SECOND, [0, 1, 1, 0])
        model = quantize(model) if kind == "int8" else model
    return model, data.batch(np.arange(4), np.random.default_rng(0))


def stand_in(model, batch):
    """Return FakeTensorMode, and weights and batch of it on device meta."""
    mode = FakeTensorMode()
    values = [*model.to("meta").named_parameters(), *model.named_buffers()]
    weights = {name: mode.from_tensor(value) for name, value in values}
    with mode:
        batch = {name: mode.from_tensor(value).to("meta") for name, value in batch.items()}
    return mode, weights, batch


@pytest.mark.parametrize("kind", ["pairs", "int8", "masked", "contrastive"])
def test_training_stays_on_the_device_and_never_waits(load, kind, monkeypatch) -> None:
    model, batch = model_and_batch(load, kind)
    plain = model(**batch)
    monkeypatch.setattr(torch, "_int_mm", None)  # what a CPU may do; on a GPU it refuses many shapes
    mode, weights, batch = stand_in(model, batch)
    with mode:
        output = functional_call(model.train(), weights, (), batch)
        assert output.loss.device.type == output.logits.device.type == "meta"
        assert output.logits.shape == plain.logits.shape
        if kind != "int8":
            output.loss.backward()
        with pytest.raises(DataDependentOutputException):  # the stand-in does notice when somebody waits
            bool(output.loss)


def test_encoding_stays_on_the_device_and_never_waits(tiny) -> None:
    batch = dict(tiny.tokenizer(FIRST, padding=True, return_tensors="pt", return_token_type_ids=True))
    mode, weights, batch = stand_in(tiny.model, batch)
    with mode:
        found = unit_vectors(lambda **inputs: functional_call(tiny.model, weights, (), inputs), batch)
        assert (found.device.type, found.shape, found.dtype) == ("meta", (4, 32), torch.float32)


def test_vectors_and_probabilities_are_brought_over_once(tiny, monkeypatch) -> None:
    calls, cpu = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: calls.append(len(tensor)) or cpu(tensor))
    encode(tiny, FIRST + SECOND, batch_size=2)
    assert calls == [8]
    data = labeled_pairs(tiny.tokenizer, FIRST, SECOND, [0, 1, 1, 0])
    found = predict(PairClassifier(tiny), data, batch_size=2)
    assert calls == [8, 4]
    alone = [PairClassifier(tiny)(**data.batch(np.array([i]), None)).logits.item() for i in range(4)]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array(alone))), rtol=1e-5)


def test_only_cuda_computes_in_half_precision(monkeypatch) -> None:
    for device in ("cpu", "meta", "mps"):
        assert half_precision(torch.device(device)) is None
    for supported, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported, **_: supported)
        assert half_precision(torch.device("cuda")) is expected


@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_half_precision_holds_for_training_and_validation(load, monkeypatch, half) -> None:
    monkeypatch.setattr(steps_module, "half_precision", lambda device: half)
    text_model, seen = load(), set()
    model = PairClassifier(text_model)
    model.head.register_forward_hook(lambda layer, inputs, output: seen.add((layer.training, output.dtype)))
    data = labeled_pairs(text_model.tokenizer, FIRST, SECOND, [0, 1, 1, 0])
    fit(model, data, data, epochs=1, batch_size=4)
    assert seen == {(True, half or torch.float32), (False, half or torch.float32)}
    assert all(value.dtype == torch.float32 for value in model.parameters())
    assert np.isfinite(mean_loss(model, data))
