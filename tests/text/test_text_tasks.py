"""What BERT is trained on: masks as promised, losses equal to those computed by hand, bad labels refused."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from recsys_lib.text import (
    ContrastiveModel,
    MaskedLanguageModel,
    PairClassifier,
    encode,
    labeled_pairs,
    masked_texts,
    matching_texts,
    tokenize,
)
from recsys_lib.text.tasks import IGNORED

FIRST = ["apple; milk", "soap", "bread", "tea; milk; rice"]
SECOND = ["cheese", "sponge; brush", "butter", "soup"]
ROWS = np.arange(4)


def test_masks_hide_the_promised_share(tiny) -> None:
    words = "apple bread butter cheese milk pasta rice salad soup tea "
    words += "soap sponge shampoo brush towel fresh big small ; ,"
    examples = masked_texts(tiny.tokenizer, [words] * 400 + ["tea"] * 100)
    plain = examples.tokens.batch(np.arange(500))["input_ids"]
    batch = examples.batch(np.arange(500), np.random.default_rng(0))
    shown, labels = batch["input_ids"], batch["labels"]
    hidden = labels != IGNORED
    assert (hidden[:400].sum(1) == 3).all()  # 15 % of 20 words
    assert (hidden[400:].sum(1) == 1).all()  # of a single word that word
    assert torch.equal(labels[hidden], plain[hidden])
    assert torch.equal(shown[~hidden], plain[~hidden])
    special = torch.isin(plain, torch.tensor([0, 2, 3]))
    assert not (hidden & special).any()
    masked = (shown == 4)[hidden].float().mean()
    kept = (shown == plain)[hidden].float().mean()
    assert abs(masked - 0.8) < 0.04
    assert abs(kept - 0.1) < 0.04
    places = hidden[:400].float().mean(0)[1:21]
    assert (places > 0.08).all()  # every place is hidden now and then
    assert (places < 0.23).all()


def test_masks_differ_from_draw_to_draw_only(tiny) -> None:
    examples = masked_texts(tiny.tokenizer, FIRST * 5)
    one, two, same = (examples.batch(np.arange(20), np.random.default_rng(seed)) for seed in (0, 1, 0))
    assert not torch.equal(one["labels"], two["labels"])
    assert all(torch.equal(one[name], same[name]) for name in one)


def test_the_masked_loss_equals_that_of_the_whole_head(load) -> None:
    text_model = load(True)
    batch = masked_texts(text_model.tokenizer, FIRST).batch(ROWS, np.random.default_rng(0))
    inputs = {k: v for k, v in batch.items() if k not in ("labels", "places")}
    with torch.no_grad():
        whole = text_model.model(**inputs).logits
        output = MaskedLanguageModel(text_model)(**batch)
    expected = F.cross_entropy(whole.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(output.loss, expected)
    assert output.logits.shape == (int((batch["labels"] != IGNORED).sum()), 25)


def test_masked_needs_the_head(tiny) -> None:
    with pytest.raises(ValueError, match="masked=True"):
        MaskedLanguageModel(tiny)


def test_the_pair_classifiers_loss_is_binary_cross_entropy(tiny) -> None:
    model = PairClassifier(tiny).eval()
    labels = np.array([1, 0, 0, 1])
    examples = labeled_pairs(tiny.tokenizer, FIRST, SECOND, labels)
    output = model(**examples.batch(ROWS, np.random.default_rng(0)))
    logits = []
    for first, second in zip(FIRST, SECOND, strict=True):
        inputs = tiny.tokenizer(first, second, return_tensors="pt", return_token_type_ids=True)
        mean = tiny.model(**inputs).last_hidden_state[0].mean(0)
        logits.append(model.head.weight[0] @ mean + model.head.bias[0])
    logits = torch.stack(logits).detach()
    p = torch.sigmoid(logits).numpy().astype(np.float64)
    torch.testing.assert_close(output.logits.detach(), logits, atol=1e-6, rtol=0)
    expected = -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    np.testing.assert_allclose(output.loss.item(), expected, rtol=1e-5)
    assert np.ptp(p) > 1e-4


def test_the_same_seed_makes_the_same_head(tiny) -> None:
    one, two, other = (PairClassifier(tiny, seed=seed).head.weight for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_the_contrastive_loss_by_hand(tiny) -> None:
    first = [*FIRST, "apple; milk"]
    second = [*SECOND, "cheese; soup"]
    examples = matching_texts(tiny.tokenizer, first, second)
    model = ContrastiveModel(tiny).eval()
    output = model(**examples.batch(np.arange(5), np.random.default_rng(0)))
    a, b = (encode(tiny, texts).astype(np.float64) for texts in (first, second))
    losses = [-np.log(np.exp(20 * a[i] @ b[i]) / np.exp(20 * a[i] @ b.T).sum()) for i in range(5)]
    np.testing.assert_allclose(output.loss.item(), np.mean(losses), rtol=1e-4)
    assert output.loss.item() > 0.1


def test_texts_that_are_right_are_never_negatives(tiny) -> None:
    first = ["apple", "bread", "milk", "tea"]
    second = ["cheese", "cheese", "apple", "soup"]
    examples = matching_texts(tiny.tokenizer, first, second)
    batch = examples.batch(np.array([0, 1, 2, 3]), np.random.default_rng(0))
    expected = [
        [0, 1, 1, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]  # row 0: cheese again, and apple itself
    assert batch["impossible"].int().tolist() == expected
    logits = ContrastiveModel(tiny)(**batch).logits
    assert torch.isinf(logits).int().tolist() == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 0], r"labels must lie between 0 and 1; labels\[2\] is 2"),
        ([0, 1, np.nan, 0], r"labels\[2\] is nan"),
        ([0, 1, -0.1, 0.5], r"labels\[2\] is -0\.1"),
        ([0, 1, 1.5, 0.5], r"labels\[2\] is 1\.5"),
        (["yes", "no", "no", "no"], r"labels must be numbers; labels\[0\] is yes"),
        ([0, 1], r"4 pairs need as many labels, got an array of shape \(2,\)"),
    ],
)
def test_labels_outside_of_0_to_1_are_refused(tiny, labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        labeled_pairs(tiny.tokenizer, FIRST, SECOND, labels)


def test_pairs_that_do_not_fit_are_refused(tiny) -> None:
    with pytest.raises(ValueError, match="4 first texts need as many second ones, got 3"):
        matching_texts(tiny.tokenizer, FIRST, SECOND[:3])
    with pytest.raises(ValueError, match=r"two different texts, .*; pairs\[1\] is \('soap', 'soap'\)"):
        matching_texts(tiny.tokenizer, FIRST, ["tea", "soap", "milk", "soup"])
    with pytest.raises(ValueError, match=r"pairs\[2\] is empty"):
        labeled_pairs(tiny.tokenizer, FIRST, ["tea", "soap", "", "soup"], [0, 1, 0, 1])


def test_a_long_pair_is_cut_and_said_to_be(tiny) -> None:
    first, second = ["milk " * 50, "tea"], ["bread", "rice"]
    with pytest.warns(UserWarning, match="1 of 2 texts have more than 20 tokens"):
        tokens = tokenize(tiny.tokenizer, first, second, max_tokens=20)
    assert tokens.lengths.tolist() == [20, 5]
    words = tiny.tokenizer.convert_ids_to_tokens(tokens.ids[:20])
    assert words[-2:] == ["bread", "[SEP]"]  # the short second text is whole
