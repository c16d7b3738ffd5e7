"""A tiny model of embeddings, made with the library that reads it."""

from pathlib import Path

import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

VECTORS = {"[UNK]": (9.0, 9.0, 9.0), "up": (1.0, 0.0, 0.0), "down": (-1.0, 0.0, 0.0), "left": (0.0, 1.0, 0.0)}


def write_model(folder: Path, *, scale: float = 1.0) -> str:
    """Write a model of three words in three dimensions; where it is."""
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(VECTORS)}, unk_token="[UNK]"))  # noqa: S106  # no password
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.array(list(VECTORS.values()), dtype=np.float32) * np.array([1.0, scale, 1.0], dtype=np.float32)
    StaticModel(vectors, tokenizer).save_pretrained(folder)
    return str(folder)
