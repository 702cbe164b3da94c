"""Back-translation: the same in other words, by way of another language."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerBase

from recsys_lib.text.batches import check_texts, length_batches
from recsys_lib.text.encoder import model_source, quiet, read_model

BEAMS = 4  # translations followed at the same time
BATCH_SIZE = 16  # texts translated at once
MAX_TOKENS = 128  # longer texts lose their end, and no translation gets longer


def back_translate(
    texts: Sequence[str],
    there: str | Path,
    back: str | Path,
    *,
    prefixes: tuple[str, str] = ("", ""),
    device: str | torch.device = "cpu",
) -> list[str]:
    """Translate texts into another language and back, without anything random.

    Parameters
    ----------
    texts : sequence of str
        Equal texts are translated once.
    there, back : str or Path
        Two translation models, of the type of Marian or T5: local folders with weights as safetensors, or
        names on the Hugging Face hub, which need a network.
    prefixes : tuple of str
        Put before each text, as T5 expects: ("translate English to German: ", …).
    device : str or torch.device

    Returns
    -------
    list of str
        The most probable of four translations; where it comes out empty, the text as it was. Texts of more
        than 128 tokens are cut off, with a warning.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or the hub cannot be reached.
    ValueError
        If a folder holds no model, or one that does not translate.
    ImportError
        If a tokenizer needs a package that is not installed.

    References
    ----------
    Sennrich et al. (2016), "Improving Neural Machine Translation Models with Monolingual Data".
    """
    texts = check_texts(texts, "texts")
    unique = list(dict.fromkeys(texts))
    with quiet():
        # Both are loaded before the first is used: a wrong name shows before the work, not after half of it.
        models = [_load_translator(name, device) for name in (there, back)]
        abroad = _translate(*models[0], [prefixes[0] + text for text in unique])
        translated = [text for text in abroad if text]
        again = iter(_translate(*models[1], [prefixes[1] + text for text in translated]))
    home = {text: (next(again) if foreign else "") for text, foreign in zip(unique, abroad, strict=True)}
    return [home[text] or text for text in texts]


def _load_translator(
    name: str | Path, device: str | torch.device
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    source, label = model_source(name)
    config = read_model(lambda: AutoConfig.from_pretrained(source), label, otherwise="")
    if not config.is_encoder_decoder:
        raise ValueError(
            f"{label} is a model of type {config.model_type!r}: it writes no translation. Give one of the "
            "type of Marian or T5"
        )
    try:
        tokenizer = read_model(lambda: AutoTokenizer.from_pretrained(source), label, otherwise="")
    except ImportError as error:
        raise ImportError(
            f"the tokenizer of {label} needs another package, mostly: pip install sentencepiece protobuf"
        ) from error
    weights = dict(use_safetensors=True, dtype=torch.float32)
    load = AutoModelForSeq2SeqLM.from_pretrained
    with torch.random.fork_rng(devices=[]):  # loading draws start weights before it reads the real ones
        model = read_model(lambda: load(source, **weights), label, otherwise="")
    return model.to(device).eval(), tokenizer


def _translate(model: nn.Module, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[str]:
    if not texts:
        return []
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    long = [row for row, length in enumerate(lengths) if length > MAX_TOKENS]
    if long:
        warnings.warn(
            f"{len(long)} of {len(texts)} texts to translate have more than {MAX_TOKENS} tokens, the first "
            f"is {texts[long[0]][:40]!r}…: their end is cut off",
            stacklevel=3,
        )
    translations = [""] * len(texts)
    for rows in length_batches(lengths, BATCH_SIZE):
        some = [texts[row] for row in rows]
        batch = tokenizer(some, truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt")
        inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            ids = model.generate(**inputs, num_beams=BEAMS, do_sample=False, max_new_tokens=MAX_TOKENS)
        for row, text in zip(rows, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True):
            translations[row] = text.strip()
    return translations
