"""Names in sentences of errors: those that are known, and the one that was meant."""

from collections.abc import Sequence
from difflib import get_close_matches

_MOST_NAMES = 20
_LONGEST = 100  # of what is compared, as that takes time


def listed(names: Sequence[str]) -> str:
    """The first names and how many more there are; `none` of none."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (", ".join(names[:_MOST_NAMES]) or "none") + more


def meant(sent: str, known: Sequence[str]) -> str:
    """A question for the known name that is closest to what was sent; empty where none is close."""
    close = get_close_matches(sent[:_LONGEST], known, n=1)
    return f" Did you mean `{close[0]}`?" if close else ""
