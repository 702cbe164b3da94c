"""A BERT of two thin layers over a handful of words, saved in a folder as any other model."""

from copy import deepcopy

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from recsys_lib.text import load_text_model

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FOODS = ("apple", "bread", "butter", "cheese", "milk", "pasta", "rice", "salad", "soup", "tea")
WORDS = (*SPECIAL, *FOODS, "soap", "sponge", "shampoo", "brush", "towel", "fresh", "big", "small", ";", ",")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Return the folder of a tiny BERT with random weights."""
    folder = tmp_path_factory.mktemp("tiny_bert")
    words = Tokenizer(WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = dict(
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def load(tiny_folder):
    """Return a function that gives a new copy of the tiny BERT: tests train it."""
    loaded = {masked: load_text_model(tiny_folder, masked=masked) for masked in (False, True)}
    return lambda masked=False: deepcopy(loaded[masked])


@pytest.fixture
def tiny(load):
    """Return the tiny BERT, as new."""
    return load()
