"""Texts become vectors: the same alone and in a batch, from the cache and without; bad input is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_lib.files import load_tensors, save_tensors
from recsys_lib.text import bundled_folder, encode, length_batches, load_text_model, tokenize
from recsys_lib.text.encoder import fingerprint

TEXTS = [
    "apple",
    "fresh bread; butter; cheese",
    "milk, tea",
    "soap",
    "big towel; brush; shampoo; sponge; small soap",
]


def test_vectors_equal_those_of_each_text_alone(tiny) -> None:
    together = encode(tiny, TEXTS, batch_size=5)
    for text, vector in zip(TEXTS, together, strict=True):
        inputs = tiny.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            mean = tiny.model(**inputs).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-6)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert np.abs(together @ together.T - 1).max() > 1e-3


def test_equal_texts_are_encoded_once_and_stay_in_their_places(tiny, monkeypatch) -> None:
    twice = [TEXTS[1], TEXTS[0], TEXTS[1]]
    forward, seen = tiny.model.forward, []

    def watched(**batch):
        seen.append(len(batch["input_ids"]))
        return forward(**batch)

    with monkeypatch.context() as patch:
        patch.setattr(tiny.model, "forward", watched)
        vectors = encode(tiny, twice)
    assert sum(seen) == 2
    assert (vectors[0] == vectors[2]).all()
    np.testing.assert_allclose(vectors[:2], encode(tiny, twice[:2]), atol=1e-6)
    assert encode(tiny, []).shape == (0, 32)


def test_encoding_leaves_the_model_in_its_mode(tiny) -> None:
    tiny.model.train()
    first = encode(tiny, TEXTS)
    assert tiny.model.training
    assert (first == encode(tiny, TEXTS)).all()  # dropout was off


def test_the_cache_returns_what_encoding_gives(tiny, tmp_path, monkeypatch) -> None:
    plain = encode(tiny, TEXTS)
    np.testing.assert_allclose(encode(tiny, TEXTS[:2], cache=tmp_path), plain[:2], atol=1e-6)
    np.testing.assert_allclose(encode(tiny, TEXTS, cache=tmp_path), plain, atol=1e-6)
    monkeypatch.setattr(tiny.model, "forward", None)  # from here on nothing can be encoded
    np.testing.assert_allclose(encode(tiny, TEXTS[::-1], cache=tmp_path), plain[::-1], atol=1e-6)
    with pytest.raises(TypeError):
        encode(tiny, ["rice"], cache=tmp_path)


def test_another_model_or_length_never_reads_old_vectors(tiny, tmp_path) -> None:
    old = encode(tiny, TEXTS, cache=tmp_path)
    with torch.no_grad():
        tiny.model.encoder.layer[1].output.LayerNorm.bias[:5] += 1
    new = encode(tiny, TEXTS, cache=tmp_path)
    np.testing.assert_allclose(new, encode(tiny, TEXTS), atol=1e-6)
    assert np.abs(new - old).max() > 0.01
    with pytest.warns(UserWarning, match="more than 4 tokens"):
        encode(tiny, TEXTS, cache=tmp_path, max_tokens=4)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
def test_a_damaged_cache_is_rebuilt(tiny, tmp_path, place) -> None:
    plain = encode(tiny, TEXTS, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    file.write_bytes(content)
    with pytest.warns(UserWarning, match=r"is damaged: .*; its vectors are rebuilt"):
        again = encode(tiny, TEXTS, cache=tmp_path)
    assert (again == plain).all()
    assert (encode(tiny, TEXTS, cache=tmp_path) == plain).all()  # no warning: it was repaired


def test_a_truncated_cache_is_rebuilt(tiny, tmp_path) -> None:
    plain = encode(tiny, TEXTS, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.warns(UserWarning, match=r"is damaged: .*; its vectors are rebuilt"):
        assert (encode(tiny, TEXTS, cache=tmp_path) == plain).all()


def test_a_cache_of_another_model_is_not_read(tiny, tmp_path) -> None:
    plain = encode(tiny, TEXTS, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    tensors, _ = load_tensors(file)
    save_tensors(file, tensors | {"vectors": -tensors["vectors"]}, {"model": "another"})
    with pytest.warns(UserWarning, match="holds the vectors of another model; its vectors are rebuilt"):
        assert (encode(tiny, TEXTS, cache=tmp_path) == plain).all()


def test_the_fingerprint_sees_the_type_of_the_weights(tiny) -> None:
    tiny.model.half()
    halves = fingerprint(tiny, 256)
    for weight in tiny.model.parameters():  # the same bytes, read as other numbers
        weight.data = weight.data.view(torch.bfloat16)
    assert fingerprint(tiny, 256) != halves


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["tea", ""], r"texts\[1\] is empty"),
        (["tea", " \n"], r"texts\[1\] is empty"),
        (["tea", 3.5], r"texts\[1\] is 3.5, a float"),
        (["tea", None], r"texts\[1\] is None"),
        ("tea", "must be a list"),
    ],
)
def test_empty_texts_and_what_is_no_text_are_refused(tiny, texts, message) -> None:
    with pytest.raises(ValueError, match=message):
        encode(tiny, texts)


def test_a_long_text_is_cut_and_said_to_be(tiny) -> None:
    long = "bread butter " * 40
    with pytest.warns(UserWarning, match="1 of 2 texts have more than 16 tokens, the first is number 1"):
        tokens = tokenize(tiny.tokenizer, ["tea", long], max_tokens=16)
    assert tokens.lengths.tolist() == [3, 16]
    just = "bread " * 14
    fits = tokenize(tiny.tokenizer, [just], max_tokens=16)  # 14 words and two special tokens: no warning
    assert fits.lengths.tolist() == [16]
    assert (
        tokens.ids[3:].tolist() == tokenize(tiny.tokenizer, ["bread butter " * 7], max_tokens=16).ids.tolist()
    )


def test_as_many_tokens_as_no_text_has_room_in_are_refused(tiny) -> None:
    for most in (0, 2):
        with pytest.raises(ValueError, match=f"max_tokens must be at least 3, got {most}"):
            tokenize(tiny.tokenizer, ["tea"], max_tokens=most)
    with pytest.raises(ValueError, match="max_tokens must be at least 4, got 3"):
        tokenize(tiny.tokenizer, ["tea"], ["milk"], max_tokens=3)
    with pytest.warns(UserWarning, match="1 of 1 texts have more than 3 tokens"):
        assert tokenize(tiny.tokenizer, ["tea milk"], max_tokens=3).lengths.tolist() == [3]
    tiny.tokenizer.model_max_length = 64
    assert tokenize(tiny.tokenizer, ["tea"], max_tokens=64).lengths.tolist() == [3]
    with pytest.raises(ValueError, match="at least 3 and at most 64, got 65"):
        encode(tiny, ["tea"], max_tokens=65)


def test_batches_equal_the_tokenizers_own_padding(tiny) -> None:
    first, second = TEXTS, ["tea", "soup; rice", "pasta", "big brush", "milk"]
    for pairs in (None, second):
        tokens = tokenize(tiny.tokenizer, first, pairs)
        rows = np.array([3, 1, 4])
        some = [first[i] for i in rows], None if pairs is None else [pairs[i] for i in rows]
        expected = tiny.tokenizer(*some, padding=True, return_tensors="pt", return_token_type_ids=True)
        for name, value in tokens.batch(rows).items():
            assert torch.equal(value, expected[name]), name
        assert tokens.batch(rows, width=30)["input_ids"].shape == (3, 30)


def test_length_batches_hold_every_text_once_and_pad_little() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, size=1003)
    for generator in (None, np.random.default_rng(1)):
        batches = length_batches(lengths, 16, generator)
        assert sorted(np.concatenate(batches)) == list(range(1003))
        assert len(batches) == 63
        padded = sum(lengths[rows].max() * len(rows) for rows in batches)
        assert lengths.sum() < padded < 1.1 * lengths.sum()
    shuffled = [length_batches(lengths, 16, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert all((a == b).all() for a, b in zip(shuffled[0], shuffled[1], strict=True))
    assert shuffled[0][0].tolist() != shuffled[2][0].tolist()
    means = [lengths[rows].mean() for rows in shuffled[0]]
    assert abs(np.corrcoef(means, range(63))[0, 1]) < 0.4  # batches come in no order of length


def test_a_folder_without_a_model(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"holds no model that can be read: .*config\.json"):
        load_text_model(tmp_path)


def test_a_folder_that_is_not_there(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_text_model(tmp_path / "nowhere")


def test_a_path_is_never_asked_for_at_the_hub(monkeypatch) -> None:
    monkeypatch.setattr("recsys_lib.text.encoder.AutoConfig.from_pretrained", lambda name: pytest.fail(name))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_text_model(Path("some/model"))


def test_a_model_that_is_no_bert(tiny_folder, tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ValueError, match="of type 'gpt2', not a BERT"):
        load_text_model(tmp_path)


def test_a_folder_without_weights(tiny_folder, tmp_path) -> None:
    for file in tiny_folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="holds no model that can be read"):
        load_text_model(tmp_path)


def test_no_network(monkeypatch) -> None:
    def unreachable(*arguments, **settings) -> None:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr("recsys_lib.text.encoder.AutoConfig.from_pretrained", unreachable)
    with pytest.raises(FileNotFoundError, match="leave the name out, for the bundled model"):
        load_text_model("google-bert/bert-base-uncased")


def test_loading_leaves_global_random_numbers_alone(tiny_folder) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = load_text_model(tiny_folder, masked=True, seed=5)
    assert torch.equal(torch.rand(3), expected)
    second = load_text_model(tiny_folder, masked=True, seed=5)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    head = "cls.predictions.transform.dense.weight"
    third = load_text_model(tiny_folder, masked=True, seed=6)
    assert not torch.equal(first.model.state_dict()[head], third.model.state_dict()[head])


def test_the_bundled_model_knows_what_words_mean(capfd) -> None:
    assert (bundled_folder() / "model.safetensors").is_file()
    minilm = load_text_model()
    assert capfd.readouterr() == ("", "")  # no reports, no bars in a notebook
    assert sum(w.numel() for w in minilm.model.parameters()) == 22_713_216
    texts = [
        "frozen fish sticks", "breaded fish fillets, frozen", "toilet paper", "bathroom tissue rolls",
        "birthday candles", "a much longer text about fresh whole wheat bread from the bakery of this shop",
    ]  # fmt: skip
    vectors = encode(minilm, texts, batch_size=6)
    alone = np.concatenate([encode(minilm, [text]) for text in texts])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.6 > 0.3 > similarity[0, 4]
    assert similarity[2, 3] > 0.6 > 0.3 > similarity[2, 1]
