"""Suggestions for misspelt names."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns " (did you mean 'simclr'?)" with the known name that is most similar, or
    an empty text if none is similar."""
    spelt = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(str(name).casefold(), spelt, n=1)
    return f" (did you mean {spelt[close[0]]!r}?)" if close else ""
