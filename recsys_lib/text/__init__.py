"""A pre-trained BERT for texts: vectors, fine-tuning, augmentation, compression."""

from recsys_lib.text.adapters import add_adapters, count_weights, load_adapters, merge_adapters
from recsys_lib.text.augmentation import delete_words
from recsys_lib.text.batches import Tokens, length_batches, tokenize
from recsys_lib.text.compression import drop_layers, model_bytes, quantize
from recsys_lib.text.encoder import TextModel, bundled_folder, encode, load_text_model, mean_of_tokens
from recsys_lib.text.examples import purchase_pairs, related_purchases
from recsys_lib.text.tasks import (
    ContrastiveModel,
    MaskedLanguageModel,
    PairClassifier,
    labeled_pairs,
    masked_texts,
    matching_texts,
)
from recsys_lib.text.training import History, fit, mean_loss, predict
