"""Back-translation: say the same in other words, by way of another language."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerBase

from recsys_lib.text.batches import check_texts, length_batches
from recsys_lib.text.encoder import model_source, quiet, read_model


def back_translate(
    texts: Sequence[str],
    there: str | Path,
    back: str | Path,
    *,
    prefixes: tuple[str, str] = ("", ""),
    beams: int = 4,
    batch_size: int = 16,
    max_tokens: int = 128,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> list[str]:
    """Translate texts into another language and back.

    Parameters
    ----------
    texts : sequence of str
        Equal texts are translated once.
    there, back : str or Path
        Two translation models, of the type of Marian or T5: local folders with weights as safetensors, or
        names on the Hugging Face hub, which need a network.
    prefixes : tuple of str
        What such a model wants before each text, as T5 does: ("translate English to German: ", …).
    beams : int
        Translations followed at the same time; the most probable one is taken, so that nothing is left to
        chance.
    batch_size : int
        Texts translated at once.
    max_tokens : int
        Longer texts lose their end, and a warning says how many; no translation gets longer.
    device : str or torch.device
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of str
        Where a translation comes out empty: the text as it was.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or the hub cannot be reached.
    ValueError
        If a folder holds no model, a model does not translate, or a text is empty or not a string.
    ImportError
        If a tokenizer needs a package that is not installed.

    References
    ----------
    Sennrich et al. (2016), "Improving Neural Machine Translation Models with Monolingual Data".
    """
    texts = check_texts(texts, "texts")
    unique = list(dict.fromkeys(texts))
    settings = dict(beams=beams, batch_size=batch_size, max_tokens=max_tokens)
    with tqdm(total=2 * len(unique), unit="text", disable=not progress) as bar, quiet():
        # Both are loaded before the first is used: a wrong name shows before the work, not after half of it.
        models = [_load_translator(name, device) for name in (there, back)]
        abroad = _translate(*models[0], [prefixes[0] + text for text in unique], **settings, bar=bar)
        spoken = [text for text in abroad if text]
        again = iter(_translate(*models[1], [prefixes[1] + text for text in spoken], **settings, bar=bar))
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
            f"the tokenizer of {label} needs another package, mostly: pip install sentencepiece"
        ) from error
    weights = dict(use_safetensors=True, dtype=torch.float32)
    load = AutoModelForSeq2SeqLM.from_pretrained
    with torch.random.fork_rng(devices=[]):  # loading draws start weights before it reads the real ones
        model = read_model(lambda: load(source, **weights), label, otherwise="")
    return model.to(device).eval(), tokenizer


def _translate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    *,
    beams: int,
    batch_size: int,
    max_tokens: int,
    bar: tqdm,
) -> list[str]:
    if not texts:
        return []
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    long = [row for row, length in enumerate(lengths) if length > max_tokens]
    if long:
        warnings.warn(
            f"{len(long)} of {len(texts)} texts to translate have more than {max_tokens} tokens, the first "
            f"is {texts[long[0]][:40]!r}…: their end is cut off",
            stacklevel=3,
        )
    found = [""] * len(texts)
    for rows in length_batches(lengths, batch_size):
        some = [texts[row] for row in rows]
        batch = tokenizer(some, truncation=True, max_length=max_tokens, padding=True, return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(
                input_ids=batch["input_ids"].to(model.device),
                attention_mask=batch["attention_mask"].to(model.device),
                num_beams=beams,
                do_sample=False,
                max_new_tokens=max_tokens,
            )
        for row, text in zip(rows, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True):
            found[row] = text.strip()
        bar.update(len(rows))
    return found
