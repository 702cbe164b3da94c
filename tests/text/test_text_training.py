"""Training: it learns, changes only what it should; failures say what to do."""

import itertools

import numpy as np
import pytest
import torch

from recsys_lib.text import (
    ContrastiveModel,
    MaskedLanguageModel,
    PairClassifier,
    add_adapters,
    count_weights,
    encode,
    fit,
    labeled_pairs,
    masked_texts,
    matching_texts,
    mean_loss,
    predict,
)
from recsys_lib.text import steps as steps_module
from recsys_lib.text import training as training_module
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


@pytest.mark.parametrize("kind", ["lora", "adalora"])
def test_adapters_train_and_frozen_weights_stay_bit_for_bit(tiny, model, patient, kind) -> None:
    before = weights(model)
    all_weights = count_weights(model)[1]
    train = examples(tiny, 96)
    adapted = add_adapters(model, kind, rank=2, steps=24)
    trained, total = count_weights(adapted)
    assert 0 < trained < 0.1 * all_weights < all_weights < total
    start = weights(adapted)
    loss = mean_loss(adapted, train)
    p = predict(adapted, train)
    entropy = -np.log(np.where(train.labels == 1, p, 1 - p)).mean()
    assert loss == pytest.approx(entropy, rel=1e-5)  # without AdaLoRA's penalty, which is part of training
    history = fit(adapted, train, train, epochs=4, batch_size=16, rate=2e-2)
    assert min(history.validation) < loss - 0.02
    after = weights(adapted)
    frozen = [name for name, value in adapted.named_parameters() if not value.requires_grad]
    assert len(frozen) >= len(before)
    for name in frozen:
        assert torch.equal(start[name], after[name]), name
    changed = {name for name in after if not torch.equal(start[name], after[name])}
    assert any("query" in name and "lora_A" in name for name in changed)
    assert any("value" in name and "lora_B" in name for name in changed)
    assert any("head" in name for name in changed)
    originals = {n.replace(".base_layer", "").removeprefix("model."): v for n, v in after.items()}
    for name, value in before.items():
        if not name.startswith("head"):
            assert torch.equal(originals[name], value), name


def test_adalora_gives_up_ranks(tiny, model, patient) -> None:
    train = examples(tiny, 96)
    adapted = add_adapters(model, "adalora", rank=2, steps=48)
    fit(adapted, train, train, epochs=8, batch_size=16, rate=2e-2)
    kept = [int((v != 0).sum()) for n, v in adapted.named_parameters() if "lora_E" in n]
    assert len(kept) == 4  # two layers, query and value
    assert sum(kept) == 4 * 2 < 4 * 3
    with pytest.raises(ValueError, match="give steps"):
        add_adapters(model, "adalora")
    with pytest.raises(ValueError, match="'lora' or 'adalora', got 'prefix'"):
        add_adapters(model, "prefix")


def test_a_model_without_a_head_gets_adapters_only(tiny) -> None:
    adapted = add_adapters(ContrastiveModel(tiny), "lora", rank=2)
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


def test_adversarial_training_raises_the_loss_by_its_move_and_moves_back(tiny, model, monkeypatch) -> None:
    monkeypatch.setattr(training_module, "WEIGHT_DECAY", 0)
    seen, vectors = [], tiny.model.embeddings.word_embeddings.weight
    start = vectors.detach().clone()
    forward = model.forward

    def watched(**batch):
        output = forward(**batch)
        seen.append((output.loss.item(), (vectors - start).norm().item()))
        return output

    without_dropout(model)
    monkeypatch.setattr(model, "forward", watched)
    train = examples(tiny, 8)
    fit(model, train, train, epochs=1, batch_size=8, rate=1e-12, adversarial=0.5)
    (plain, unmoved), (attacked, moved) = seen[:2]
    assert attacked > plain + 1e-3
    assert unmoved == 0
    assert moved == pytest.approx(0.5, rel=1e-4)
    assert (vectors - start).abs().max() < 1e-9
    frozen = add_adapters(PairClassifier(tiny), "lora", rank=2)
    with pytest.raises(ValueError, match="word vectors, and this model's are frozen"):
        fit(frozen, train, train, **SETTINGS, adversarial=0.5)


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
