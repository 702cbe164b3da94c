"""Back-translation through tiny translation models that know a phrase book: no network, no chance."""

import json

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast, T5Config
from transformers import T5ForConditionalGeneration as T5

from recsys_lib.text import back_translate, translation

SPECIAL = ("<pad>", "</s>", "<unk>")
ABROAD = {
    "bread butter": "pain beurre",
    "milk": "lait",
    "apple bread cheese": "pomme pain fromage",
    "cheese": "fromage",
    "bread bread bread bread bread bread bread": "pain pain",
    "to french: milk": "lait lait",
}
HOME = {
    "pain beurre": "loaf and butter",
    "lait": "milk",
    "pomme pain fromage": "apple loaf cheese",
    "fromage": "curd",
    "pain pain": "loaf",
    "lait lait": "milk and milk",
    "to english: lait lait": "much milk",
}
TEXTS = ["bread butter", "milk", "apple bread cheese", "milk", "cheese"]
THERE_AND_BACK = ["loaf and butter", "milk", "apple loaf cheese", "milk", "curd"]


def save_translator(folder, phrases: dict[str, str], kind: str = "marian"):
    """Save a tiny model that has learnt a phrase book by heart."""
    words = (*SPECIAL, *dict.fromkeys(" ".join([*ABROAD, *HOME, *HOME.values()]).split()))
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = dict(pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    tokenizer.save_pretrained(folder)
    rate = 1e-3 if kind == "t5" else 1e-2
    shape = dict(vocab_size=len(words), pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, d_model=32)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if kind == "t5":
            model = T5(T5Config(
                d_kv=16, d_ff=64, num_layers=1, num_heads=2, dropout_rate=0.0, tie_word_embeddings=False,
                **shape,
            ))  # fmt: skip
        else:
            model = MarianMTModel(MarianConfig(
                encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64,
                encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=32,
                forced_eos_token_id=None, dropout=0.0, init_std=0.2, **shape,
            ))  # fmt: skip
        inputs = dict(padding=True, return_tensors="pt", return_token_type_ids=False)
        batch = tokenizer(list(phrases), **inputs)
        labels = tokenizer(list(phrases.values()), **inputs)["input_ids"]
        labels = labels.masked_fill(labels == 0, -100)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        for _ in range(400):
            loss = model(**batch, labels=labels).loss
            if loss < 0.01:
                break
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert loss < 0.01
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    return save_translator(tmp_path_factory.mktemp("there"), ABROAD)


@pytest.fixture(scope="module")
def back(tmp_path_factory):
    return save_translator(tmp_path_factory.mktemp("back"), HOME)


@pytest.mark.parametrize("beams", [1, 4])
def test_texts_go_there_and_come_back(there, back, beams, monkeypatch) -> None:
    monkeypatch.setattr(translation, "BEAMS", beams)
    monkeypatch.setattr(translation, "BATCH_SIZE", 2)
    given = list(TEXTS)
    assert back_translate(given, there, back) == THERE_AND_BACK
    assert given == TEXTS
    assert back_translate([], there, back) == []
    monkeypatch.setattr(translation, "MAX_TOKENS", 2)
    assert back_translate(["cheese"], there, back) == ["curd"]


def test_models_of_t5s_type_get_their_prefix(tmp_path, back) -> None:
    phrases = {text: ABROAD[text] for text in ("milk", "to french: milk", "cheese")}
    folder = save_translator(tmp_path, phrases, "t5")
    for prefixes, expected in (
        (("to french: ", "to english: "), "much milk"),
        (("to french: ", ""), "milk and milk"),
        (("", ""), "milk"),
    ):
        assert back_translate(["milk"], folder, back, prefixes=prefixes) == [expected]
    assert back_translate(["cheese"], folder, back) == ["curd"]


def test_an_empty_translation_leaves_the_text_as_it_was(there, back, tmp_path) -> None:
    phrases = {"milk": "", "bread butter": "pain beurre", "lait": "", "pain beurre": "loaf"}
    half = save_translator(tmp_path, phrases)
    assert back_translate(["milk", "bread butter"], half, back) == ["milk", "loaf and butter"]
    assert back_translate(["milk", "bread butter"], there, half) == ["milk", "loaf"]


def test_nothing_is_printed_and_no_random_number_is_drawn(there, back, capfd) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    back_translate(TEXTS, there, back)
    assert torch.equal(torch.rand(1), expected)
    assert capfd.readouterr() == ("", "")


def test_a_long_text_is_cut_and_said_to_be(there, back, monkeypatch) -> None:
    long, generate, widths = "bread " * 20, MarianMTModel.generate, []

    def watched(model, input_ids, **settings):
        widths.append(input_ids.shape[1])
        return generate(model, input_ids=input_ids, **settings)

    monkeypatch.setattr(MarianMTModel, "generate", watched)
    monkeypatch.setattr(translation, "MAX_TOKENS", 8)
    with pytest.warns(UserWarning, match=r"1 of 2 texts to translate have more than 8 tokens.*'bread bread"):
        found = back_translate([long, "milk"], there, back)
    assert found == ["loaf", "milk"]
    assert widths == [8, 3]  # what was read, on the way there and on the way back


def test_models_that_cannot_translate_are_refused(there, tiny_folder, tmp_path, monkeypatch) -> None:
    for pair in ((there, tiny_folder), (tiny_folder, there)):
        with pytest.raises(ValueError, match="type 'bert': it writes no translation"):
            back_translate(TEXTS, *pair)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        back_translate(TEXTS, there, tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no config\.json"):
        back_translate(TEXTS, there, tmp_path)
    for file in there.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for _ in range(2):  # without weights, then with weights in a pickle, which could run any code
        with pytest.raises(ValueError, match="holds no model that can be read"):
            back_translate(TEXTS, there, tmp_path)
        torch.save(MarianMTModel.from_pretrained(there).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing known"}))
    with pytest.raises(ValueError, match="holds no model that can be read"):
        back_translate(TEXTS, there, tmp_path)

    def unreachable(*arguments, **settings) -> None:
        raise OSError("We couldn't connect to the hub")

    monkeypatch.setattr("recsys_lib.text.translation.AutoConfig.from_pretrained", unreachable)
    with pytest.raises(FileNotFoundError, match=r"Without a network: download it .* give FOLDER"):
        back_translate(TEXTS, "Helsinki-NLP/opus-mt-en-fr", there)


def test_a_missing_package_is_named(there, monkeypatch) -> None:
    def missing(*arguments, **settings) -> None:
        raise ImportError("MarianTokenizer requires the SentencePiece library")

    monkeypatch.setattr("recsys_lib.text.translation.AutoTokenizer.from_pretrained", missing)
    with pytest.raises(ImportError, match="pip install sentencepiece"):
        back_translate(TEXTS, there, there)


@pytest.mark.parametrize(
    ("texts", "message"), [(["milk", " "], r"texts\[1\] is empty"), ([3], "is 3, a int")]
)
def test_what_is_no_text_is_refused(there, texts, message) -> None:
    with pytest.raises(ValueError, match=message):
        back_translate(texts, there, there)
