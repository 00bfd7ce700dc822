"""How long a text is: what a reward model must know better than."""

UNITS = ("characters", "words")


def length_of(text: str, unit: str) -> int:
    """Return the number of characters (code points), or of words (runs of what is not white space)."""
    return len(text.split()) if unit == "words" else len(text)
