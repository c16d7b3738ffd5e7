"""Names in sentences of errors: those that are known, and the one that was meant."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType

_MOST_NAMES = 20
_LONGEST = 100  # of what is compared, as that takes time


def listed(names: Sequence[str]) -> str:
    """The first names and how many more there are; `none` of none."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (", ".join(names[:_MOST_NAMES]) or "none") + more


def known_are(names: Sequence[str]) -> str:
    """The sentence that tells which names there are."""
    return f"Known are: {listed(names)}."


def meant(
    sent: str,
    known: Sequence[str],
    *,
    other_words: Mapping[str, Sequence[str]] = MappingProxyType({}),
    closeness: float = 0.6,
) -> str:
    """A question for the known name that is closest to what was sent; empty where none is close.

    Args:
        sent: What is not known.
        known: What is.
        other_words: Known names by what others call them, which is closer than any spelling.
        closeness: How alike two spellings must be, from 0 to 1.
    """
    word = sent[:_LONGEST]
    close = other_words.get(_plain(word)) or get_close_matches(word, known, n=1, cutoff=closeness)
    return f" Did you mean {' or '.join(f'`{name}`' for name in close)}?" if close else ""


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]+", "_", word.strip().lower())
