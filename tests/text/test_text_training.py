"""Training: it learns, changes only what it should; failures say what to do."""

import itertools

import numpy as np
import pytest
import torch

from recsys_lib.files import save_tensors
from recsys_lib.text import (
    ContrastiveModel,
    MaskedLanguageModel,
    PairClassifier,
    add_adapters,
    count_weights,
    encode,
    fit,
    labeled_pairs,
    load_adapters,
    masked_texts,
    matching_texts,
    mean_loss,
    merge_adapters,
    predict,
)
from recsys_lib.text import steps as steps_module
from recsys_lib.text import training as training_module
from recsys_lib.text.adapters import trained_weights
from recsys_lib.text.training import rate_factor

FOODS = "apple bread butter cheese milk pasta rice salad soup tea".split()
TOOLS = "soap sponge shampoo brush towel".split()
SETTINGS = dict(epochs=2, batch_size=8, rate=1e-3)


def examples(text_model, n: int = 48, seed: int = 0):
    """Pairs with label 1 where the second is food; first texts of 1 to 5 words."""
    generator = np.random.default_rng(seed)
    first, second = (generator.choice(FOODS + TOOLS, n) for _ in range(2))
    labels = np.isin(second, FOODS)
    first = [" ".join([word] * generator.integers(1, 6)) for word in first]
    return labeled_pairs(text_model.tokenizer, first, [str(word) for word in second], labels.astype(int))


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def equal(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def model(tiny):
    return PairClassifier(tiny)


@pytest.fixture
def patient(monkeypatch):
    """Train all epochs, even if one of them does not lower the validation loss."""
    monkeypatch.setattr(training_module, "PATIENCE", 99)


def test_the_classifier_learns_which_pairs_match(tiny, model, patient) -> None:
    train, held_out = examples(tiny, 200), examples(tiny, 60, seed=1)
    before = mean_loss(model, held_out)
    history = fit(model, train, held_out, epochs=6, batch_size=16, rate=3e-3)
    right = (predict(model, held_out) > 0.5) == held_out.labels
    assert right.mean() > 0.9 > 0.8 > max(held_out.labels.mean(), 1 - held_out.labels.mean())
    assert mean_loss(model, held_out) == pytest.approx(min(history.validation), rel=1e-6)
    assert min(history.validation) < 0.3 < 0.6 < before
    assert not any(module.training for module in model.modules())
    assert history.tokens == sum(train.lengths) * len(history.validation)
    assert 0 < history.padded < 0.2 * history.tokens


def test_training_equals_a_loop_by_hand(load, patient, monkeypatch) -> None:
    monkeypatch.setattr(training_module, "WEIGHT_DECAY", 3.0)
    monkeypatch.setattr(training_module, "WARMUP", 0.5)
    monkeypatch.setattr(steps_module, "CLIP", 0.1)
    models = [without_dropout(PairClassifier(load())) for _ in range(3)]
    train = examples(load(), 16)
    fit(models[0], train, train, epochs=3, batch_size=16, rate=1e-3)
    matrices = [value for value in models[1].parameters() if value.ndim > 1]
    others = [value for value in models[1].parameters() if value.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 3.0}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    models[1].train()
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * [1 / 3, 2 / 3, 1][step]
        optimizer.zero_grad()
        models[1](**train.batch(np.arange(16), np.random.default_rng(0))).loss.backward()
        torch.nn.utils.clip_grad_norm_(models[1].parameters(), 0.1)
        optimizer.step()
    for (name, one), two in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-4, msg=name)
    moved = [(a - b).abs().max() for a, b in zip(*(m.parameters() for m in models[::2]), strict=True)]
    assert max(moved) > 1e-3


def test_the_rate_rises_and_falls() -> None:
    factors = [rate_factor(step, 20, 0.2) for step in range(20)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[-1] == pytest.approx(1 / 16)
    assert all(a > b for a, b in itertools.pairwise(factors[4:]))
    assert rate_factor(0, 10, 0) == 1


def test_the_same_seed_gives_the_same_bits_whatever_the_global_state(load) -> None:
    results = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        text_model = load()
        model = PairClassifier(text_model)
        fit(model, examples(text_model), examples(text_model, 16, 1), **SETTINGS, seed=seed)
        results.append(weights(model))
        expected = torch.rand(1)
        torch.manual_seed(noise)
        assert torch.equal(torch.rand(1), expected)  # the global generator was not touched
    assert equal(results[0], results[1])
    assert not equal(results[0], results[2])


@pytest.mark.parametrize("patience", [1, 2])
def test_early_stopping_keeps_the_best_weights(tiny, model, monkeypatch, patience) -> None:
    monkeypatch.setattr(training_module, "PATIENCE", patience)
    train = examples(tiny)
    turned = labeled_pairs(tiny.tokenizer, ["tea"] * 4, ["tea"] * 4, [0] * 4)  # gets worse by training
    history = fit(model, train, turned, epochs=20, batch_size=8, rate=3e-3)
    assert history.stopped_early
    assert len(history.validation) == history.best_epoch + 1 + patience < 20
    assert mean_loss(model, turned) == pytest.approx(min(history.validation), rel=1e-6)
    assert mean_loss(model, turned) < history.validation[-1]


def test_adapters_train_and_frozen_weights_stay_bit_for_bit(tiny, model, patient) -> None:
    before = weights(model)
    all_weights = count_weights(model)[1]
    train = examples(tiny, 96)
    plain = predict(model, train)
    adapted = add_adapters(model, rank=2)
    assert np.array_equal(predict(adapted, train), plain)  # B starts at 0
    trained, total = count_weights(adapted)
    assert trained == 2 * 2 * 2 * (2 * 32) + 33  # layers, query and value, A and B of rank 2; the head
    assert total == all_weights + trained - 33
    start = weights(adapted)
    loss = mean_loss(adapted, train)
    history = fit(adapted, train, train, epochs=4, batch_size=16, rate=2e-2)
    assert min(history.validation) < loss - 0.02
    after = weights(adapted)
    changed = {name for name in after if not torch.equal(start[name], after[name])}
    assert changed == {name for name in after if "lora_" in name or name.startswith("head")}
    originals = {name.replace(".layer.weight", ".weight").replace(".layer.bias", ".bias") for name in after}
    assert before.keys() <= originals


def test_adapters_equal_those_of_peft(load) -> None:
    from peft import LoraConfig, get_peft_model

    ours, theirs = add_adapters(PairClassifier(load()), rank=2), PairClassifier(load())
    config = LoraConfig(r=2, lora_alpha=16, target_modules=["query", "value"])
    theirs = get_peft_model(theirs, config).base_model.model
    generator = torch.Generator().manual_seed(1)
    twins = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator))
                own = name.replace("lora_a", "lora_A.default.weight").replace(
                    "lora_b", "lora_B.default.weight"
                )
                twins[own].copy_(weight)
    data = examples(load(), 32)
    assert np.abs(predict(ours, data) - predict(theirs, data)).max() < 1e-6
    plain = predict(PairClassifier(load()), data)
    assert np.abs(predict(ours, data) - plain).max() > 1e-3
    learned = predict(ours, data)
    merged = merge_adapters(ours)
    assert np.abs(predict(merged, data) - learned).max() < 1e-6
    assert weights(merged).keys() == weights(PairClassifier(load())).keys()
    assert count_weights(merged)[0] == count_weights(merged)[1]


def test_adapters_are_saved_and_loaded(load, tmp_path, patient) -> None:
    data, path = examples(load(), 32), tmp_path / "some.safetensors"
    adapted = add_adapters(PairClassifier(load()), rank=2)
    fit(adapted, data, data, epochs=2, batch_size=16, rate=2e-2)
    save_tensors(path, trained_weights(adapted), {"rank": 2})
    again = add_adapters(PairClassifier(load(), seed=5), rank=2, seed=5)
    assert not np.array_equal(predict(again, data), predict(adapted, data))
    assert load_adapters(path, again) == {"rank": 2}
    assert np.array_equal(predict(again, data), predict(adapted, data))
    with pytest.raises(ValueError, match="another rank"):
        load_adapters(path, add_adapters(PairClassifier(load()), rank=3))
    bytes_of = bytearray(path.read_bytes())
    bytes_of[-1] ^= 1
    path.write_bytes(bytes_of)
    with pytest.raises(ValueError, match="damaged"):
        load_adapters(path, again)


def test_adapters_without_sense_are_refused(tiny, model) -> None:
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        add_adapters(model, rank=0)
    with pytest.raises(ValueError, match="has its adapters already"):
        add_adapters(add_adapters(model, rank=2), rank=2)
    with pytest.raises(ValueError, match="no layers named query or value"):
        add_adapters(torch.nn.Linear(2, 2))


def test_a_model_without_a_head_gets_adapters_only(tiny) -> None:
    adapted = add_adapters(ContrastiveModel(tiny), rank=2)
    assert count_weights(adapted)[0] == 2 * 2 * 2 * (2 * 32)  # layers, query and value, A and B of rank 2
    data = matching_texts(tiny.tokenizer, FOODS[:5], TOOLS)
    before = mean_loss(adapted, data)
    fit(adapted, data, data, epochs=2, batch_size=5, rate=1e-2)
    assert mean_loss(adapted, data) < before


def test_masked_words_and_matching_texts_are_learnt(load, patient) -> None:
    text_model = load(True)
    texts = [f"{a} {a} {a}" for a in FOODS[:4]] * 20  # the hidden word is the one beside it
    data = masked_texts(text_model.tokenizer, texts)
    model = MaskedLanguageModel(text_model)
    before = mean_loss(model, data)
    fit(model, data, data, epochs=9, batch_size=16, rate=1e-2)
    assert mean_loss(model, data) < 1.0 < np.log(4) < 2.5 < before  # log 4: guessing among the four words
    pairs = [(food, TOOLS[i % 5]) for i, food in enumerate(FOODS)] * 4
    first, second = zip(*pairs, strict=True)
    tiny = load()
    data = matching_texts(tiny.tokenizer, first, second)
    fit(ContrastiveModel(tiny), data, data, epochs=10, batch_size=16, rate=3e-3)
    vectors = encode(tiny, FOODS + TOOLS)  # the encoder that was trained is the one that encodes
    best = (vectors[:10] @ vectors[10:].T).argmax(axis=1)
    assert best.tolist() == [i % 5 for i in range(10)]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_no_number_stops_before_any_harm(tiny, model, what) -> None:
    train = examples(tiny)
    forward, count, kept = model.forward, itertools.count(), {}

    def sick(**batch):
        output = forward(**batch)
        if model.training and next(count) == 8:  # epoch 1, batch 2
            kept.update(weights(model))
            poison = torch.nan if what == "loss" else output.loss.detach() * 0
            output.loss = output.loss * poison if what == "loss" else torch.sqrt(output.loss * poison)
        return output

    model.forward = sick
    message = rf"the {what} is (nan|inf) at epoch 1, batch 2 \(examples \d+, .*from before this batch"
    with pytest.raises(FloatingPointError, match=message):
        fit(model, train, train, **SETTINGS)
    assert equal(weights(model), kept)
    model.forward = forward  # what the sick gradient has left behind does not spoil a new run
    assert np.isfinite(fit(model, train, train, **SETTINGS).losses).all()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_full_memory_is_explained(tiny, model, error) -> None:
    def full(**batch):
        raise error

    model.forward = full
    with pytest.raises(MemoryError, match=r"batch of 8 × \d+ \(texts × tokens\)\. Halve batch_size"):
        fit(model, examples(tiny), examples(tiny), **SETTINGS)


def test_other_errors_are_not_taken_for_a_full_memory(tiny, model) -> None:
    def broken(**batch):
        raise RuntimeError("shapes do not fit")

    model.forward = broken
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit(model, examples(tiny), examples(tiny), **SETTINGS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "must be positive"), ({"batch_size": 0}, "must be positive"),
        ({"rate": 0.0}, "must be positive"),
    ],
)  # fmt: skip
def test_settings_without_sense_are_refused(tiny, model, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        fit(model, examples(tiny), examples(tiny), **(SETTINGS | changes))


def test_training_on_nothing_is_refused(tiny, model) -> None:
    words = tiny.tokenizer
    for nothing in (
        labeled_pairs(words, [], [], []),
        masked_texts(words, []),
        matching_texts(words, [], []),
    ):
        with pytest.raises(ValueError, match="train holds no examples"):
            fit(model, nothing, examples(tiny), **SETTINGS)
        with pytest.raises(ValueError, match="validation holds no examples"):
            fit(model, examples(tiny), nothing, **SETTINGS)
        with pytest.raises(ValueError, match="no examples to take the mean loss of"):
            mean_loss(model, nothing)
    assert predict(model, labeled_pairs(words, [], [], [])).shape == (0,)


def test_a_model_without_a_weight_to_train_is_refused(tiny, model) -> None:
    for value in model.parameters():
        value.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        fit(model, examples(tiny), examples(tiny), **SETTINGS)
