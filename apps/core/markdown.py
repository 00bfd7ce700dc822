"""Render Markdown from models and people: no HTML passes through, nothing is loaded from elsewhere, nothing raises."""

from collections.abc import Sequence
from functools import lru_cache
from html import escape

import nh3
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_CHARS = 200_000
MAX_HIGHLIGHTED_CHARS = 20_000
"""Longer code is shown without colours: Pygments is a hundred times slower than the rest."""

_SCHEMES = {"http", "https", "mailto"}
_TAGS = {"a", "blockquote", "br", "code", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"}
_TAGS |= {"s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"}
_ATTRIBUTES = {"a": {"href", "title", "target"}, "ol": {"start"}, "td": {"class"}, "th": {"class"}, "span": {"class"}}
_ATTRIBUTES |= {"div": {"class", "tabindex"}, "pre": {"tabindex"}}
_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    attributes=_ATTRIBUTES,
    url_schemes=_SCHEMES,
    link_rel="nofollow noopener noreferrer",
    strip_comments=True,
)
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True, classprefix="hl-")
_ALIGNED = {"text-align:left": "at-start", "text-align:center": "at-center", "text-align:right": "at-end"}


def render_markdown(text: str, *, hard_wrapped: bool = False) -> SafeString:
    """Return safe HTML for any text; what cannot be rendered, or is too long to be, is shown as it is.

    In messages a line break is meant; in a `hard_wrapped` document it only keeps lines short.
    """
    if len(text) > MAX_CHARS:
        return raw_text(text)
    try:
        return mark_safe(_CLEANER.clean((_DOCUMENT if hard_wrapped else _MESSAGE).render(text)))  # noqa: S308  (nh3's allow-list stands right here)
    except (ValueError, IndexError, RecursionError, KeyError):
        # A parser that trips over somebody's text must not hide that text from the person who judges it.
        return raw_text(text)


def raw_text(text: str) -> SafeString:
    """Return the text itself, escaped, with its line breaks."""
    return format_html('<div class="raw">{}</div>', text)


def _code(text: str, language: str) -> str:
    lexer = _lexer(language.lower()[:40]) if language and len(text) <= MAX_HIGHLIGHTED_CHARS else None
    body = highlight(text, lexer, _FORMATTER) if lexer else escape(text)
    # A wide block scrolls by itself, so the keyboard has to be able to reach it.
    return f'<pre tabindex="0"><code>{body}</code></pre>\n'


@lru_cache(maxsize=128)
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return None


def _render_fence(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    token = tokens[index]
    return _code(token.content, token.info.strip().split(maxsplit=1)[0] if token.info.strip() else "")


def _render_code_block(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return _code(tokens[index].content, "")


def _render_image(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Show an image as its words and its address: loading it would tell a stranger's server who reads what."""
    token = tokens[index]
    alt = renderer.renderInlineAsText(token.children or [], options, env)
    source = str(token.attrs.get("src", ""))
    return f'<span class="image">[image: {escape(alt)}] {escape(source)}</span>'


def _render_link(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    tokens[index].attrSet("target", "_blank")
    return renderer.renderToken(tokens, index, options, env)


def _render_cell(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Give an aligned column a class instead of a `style`, which the Content-Security-Policy forbids."""
    token = tokens[index]
    style = str(token.attrs.pop("style", ""))
    if style in _ALIGNED:
        token.attrSet("class", _ALIGNED[style])
    if token.tag == "th" and not tokens[index + 1].content.strip():
        token.tag = tokens[index + 2].tag = "td"  # an empty corner is no heading, least of all for a screen reader
    return renderer.renderToken(tokens, index, options, env)


def _render_table_open(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return '<div class="wide" tabindex="0">' + renderer.renderToken(tokens, index, options, env)


def _render_table_close(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return renderer.renderToken(tokens, index, options, env) + "</div>"


def _make_parser(*, breaks: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": True, "breaks": breaks, "maxNesting": 60})
    parser.enable(["table", "strikethrough", "linkify"])
    # Bare words such as `config.py` are not addresses; only what starts with a scheme becomes a link.
    assert parser.linkify is not None  # noqa: S101  (for the type checker: linkify-it-py is installed)
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    for name, rule in (
        ("fence", _render_fence),
        ("code_block", _render_code_block),
        ("image", _render_image),
        ("link_open", _render_link),
        ("th_open", _render_cell),
        ("td_open", _render_cell),
        ("table_open", _render_table_open),
        ("table_close", _render_table_close),
    ):
        parser.add_render_rule(name, rule)
    return parser


_MESSAGE = _make_parser(breaks=True)
_DOCUMENT = _make_parser(breaks=False)
