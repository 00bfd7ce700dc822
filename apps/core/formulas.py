"""LaTeX in Markdown: where a formula begins and ends, and its MathML. What is no formula stays the text it is."""

import re
from html import escape

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from math_core import LatexError, LatexToMathML

MAX_CHARS = 4_000
MAX_COMMANDS = 500
"""The converter recurses by up to 3 kB of stack for each (math-core 0.9), and a thread may have no more than 2 MB."""

_CONVERTER = LatexToMathML(fancy_error=False)
_DEFINITION = re.compile(r"\\(?:g?def|let|newcommand|renewcommand|providecommand)")  # a macro may expand to any depth
_INLINE = {
    # As in Pandoc, no space inside the dollars and no digit behind them, so that $5 and $10 stay money.
    "$": r"(?<![0-9A-Za-z$])\$(?![\s$])((?:[^$\\`]|\\.){1,%d}+)(?<!\s)\$(?!(?!(?:th|st|nd|rd|s)\b)[0-9A-Za-z_$])",
    "$$": r"(?<!\$)\$\$(?!\$)((?:[^$\\`]|\\.){1,%d}+)\$\$(?!\$)",
    r"\(": r"\\\(((?:[^\\`]|\\[^()\[\]]){1,%d}+)\\\)",
    r"\[": r"\\\[((?:[^\\`]|\\[^()\[\]]){1,%d}+)\\\]",
}
_INLINE_PATTERNS = {opening: re.compile(pattern % MAX_CHARS, re.DOTALL) for opening, pattern in _INLINE.items()}
CLOSING = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]"}
_SIGN = re.compile(r"[\\^_{}=<>|+]")
_WORD = re.compile(r"(?:^|[\s/])[A-Za-z]{2,}|[A-Za-z]{3,}")
_STYLE = re.compile(r' style="([^"]*)"')
_CLASSES = {
    "text-align: left": "at-left",
    "text-align: right": "at-right",
    "padding-left:1em": "after-gap",
    "border-top": "ruled-top",
    "border-right": "ruled-right",
    "border-bottom": "ruled-bottom",
    "border-left": "ruled-left",
}


def formulas_plugin(parser: MarkdownIt) -> None:
    r"""Make tokens `formula` of `$…$`, `$$…$$`, `\(…\)` and `\[…\]`; `token.meta["display"]` says how it is set."""
    parser.inline.ruler.before("escape", "formula", _inline_formula)
    interrupted = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("fence", "formula_block", _block_formula, {"alt": interrupted})


def mathml(latex: str, *, display: bool) -> str | None:
    """Return LaTeX as MathML that carries its source, or None for what the converter does not know or is too much."""
    if len(latex) > MAX_CHARS or latex.count("{") + latex.count("\\") > MAX_COMMANDS or _DEFINITION.search(latex):
        return None
    try:
        converted = _CONVERTER.convert_with_local_state(latex, displaystyle=display)
    except LatexError:
        return None
    return _STYLE.sub(_as_class, converted).replace("<math", f'<math alttext="{escape(latex)}"', 1)


def _as_class(style: re.Match[str]) -> str:
    """Say with a class what the converter says with a `style`, which the Content-Security-Policy forbids."""
    names = [name for wording, name in _CLASSES.items() if wording in style[1]]
    return f' class="{" ".join(names)}"' if names else ""


def _reads_as_prose(latex: str, opening: str) -> bool:
    r"""Tell `$20 a month or 200$`, `\[citation needed\]` and `\[12\]` from formulas."""
    if _SIGN.search(latex):
        return False
    if opening in {"$", "$$"}:
        return opening == "$" and latex[0].isdigit() and _WORD.search(latex) is not None
    return bool(re.fullmatch(r"[\d\s.,;:–-]*", latex)) or re.search(r"[A-Za-z]{3,}", latex) is not None


def _inline_formula(state: StateInline, silent: bool) -> bool:
    opening = state.src[state.pos : state.pos + 2]
    if opening not in CLOSING:
        opening = opening[:1]
        if opening != "$":
            return False
    match = _INLINE_PATTERNS[opening].match(state.src, state.pos, state.posMax)
    if match is None or match[1].isspace() or _reads_as_prose(match[1], opening):
        return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content, token.markup = match[1], opening
        token.meta = {"display": opening in {"$$", r"\["}}
    state.pos = match.end()
    return True


def _block_formula(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Take the lines from one that begins with `$$` or a bracket to one that ends with its partner; none is blank."""
    first = state.bMarks[start] + state.tShift[start]
    opening = state.src[first : first + 2]
    if opening not in {"$$", r"\["} or state.is_code_block(start):
        return False
    closing, lines, size = CLOSING[opening], [], 0
    for line in range(start, end):
        if state.isEmpty(line) or state.sCount[line] < state.blkIndent:
            return False
        text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
        text = text[2:] if line == start else text
        inside, found, after = text.partition(closing)
        lines.append(inside)
        size += len(inside)
        if found:
            break
        if size > MAX_CHARS or opening in text:
            return False
    else:
        return False
    latex = "\n".join(lines).strip()
    if not latex or after.strip() not in {"", ".", ",", ";", ":"} or _reads_as_prose(latex, opening):
        return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content, token.markup, token.block = latex + after.strip(), opening, True
        token.meta, token.map = {"display": True}, [start, line + 1]
        state.line = line + 1
    return True
