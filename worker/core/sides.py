"""Left and right on the screen against response 1 and response 2 in the database.

Every value an annotator gives refers to the labels shown. Swapping is its own inverse, so nothing typed is lost.
"""

import hashlib
import re

_MENTION = re.compile(
    r"\b(?:Responses?|Antwort(?:en)?)[\s#]*[12]\b(?:\s*(?:and|or|und|oder|vs\.?|versus|&|/)\s*[12]\b)?"
    r"|(?<![\w.])@R?[12]\b",
    re.IGNORECASE,
)
_OTHER = str.maketrans("12", "21")


def is_swapped(seed: str, comparison_id: int, annotator_id: int) -> bool:
    """Say whether this annotator sees response 2 first: a fair coin, the same at every reload."""
    digest = hashlib.sha256(f"{seed}:{comparison_id}:{annotator_id}".encode()).digest()
    return bool(digest[0] & 1)


def swap_mentions(text: str) -> str:
    """Exchange `Response 1` and `Response 2`, with or without `@`, and `@1` and `@2`, keeping the spelling around them.

    The words are those of every language of the interface (`docs/translating.md`).

    >>> swap_mentions("@Response 1 beats response 2; responses 1 and 2 are unlike Response 12. @1 wins, not a@1.org.")
    '@Response 2 beats response 1; responses 2 and 1 are unlike Response 12. @2 wins, not a@1.org.'
    >>> swap_mentions("Antworten 1 und 2 sind gut, Antwort 2 ist kürzer.")
    'Antworten 2 und 1 sind gut, Antwort 1 ist kürzer.'
    """
    return _MENTION.sub(lambda match: match[0].translate(_OTHER), text)
