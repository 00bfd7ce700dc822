"""Cells of a table that somebody will open in a spreadsheet."""

import re

_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")


def without_apostrophe(cell: str) -> str:
    """Return the text that `formula_safe` made a cell of.

    >>> without_apostrophe("'=1+1"), without_apostrophe("''=1+1"), without_apostrophe("'plain")
    ('=1+1', "'=1+1", "'plain")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def formula_safe(text: str) -> str:
    """Return a text as a spreadsheet shows it instead of running it (OWASP, CSV injection).

    An apostrophe goes before every text that begins like a formula, also behind apostrophes of its own, so that
    nothing is lost: take one away from what begins with apostrophes and one of these signs.

    >>> formula_safe("=1+1"), formula_safe("'=1+1"), formula_safe("plain")
    ("'=1+1", "''=1+1", 'plain')
    """
    return f"'{text}" if _FORMULA.match(text) else text
