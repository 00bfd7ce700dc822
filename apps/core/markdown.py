"""Render Markdown from models and people: no HTML passes through, nothing is loaded from elsewhere, nothing raises.

Formulas become MathML, which browsers set themselves; images come from our own address (`apps.core.images`).
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from functools import lru_cache
from html import escape

import nh3
from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from apps.core.formulas import CLOSING, formulas_plugin, mathml
from apps.core.images import image_address

MAX_CHARS = 200_000
MAX_MARKS = 20_000
"""More brackets, bars, stars and underscores than any text needs: the parser looks for the partner of each of them."""
MAX_HIGHLIGHTED_CHARS = 20_000
"""Longer code is shown without colours: Pygments is a hundred times slower than the rest."""

MAX_KEPT_CHARS = 8_000_000
"""Rendered texts that a process keeps: several people read the same pair, and a form with a mistake shows it again."""
LONG_FORMULA = 40
"""A formula whose source is longer may be wider than a phone: it scrolls by itself, so the keyboard has to reach it."""

_SCHEMES = {"http", "https", "mailto"}
_BLOCKS = {"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "table", "ul"}
_TAGS = {
    "a",
    "br",
    "code",
    "div",
    "em",
    "hr",
    "img",
    "li",
    "pre",
    "s",
    "span",
    "strong",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
}
_ATTRIBUTES = {
    **{tag: {"dir"} for tag in _BLOCKS},
    "a": {"href", "title", "target"},
    "code": {"dir"},
    "div": {"class", "dir", "tabindex"},
    "img": {"alt", "class", "loading", "src", "title"},
    "ol": {"dir", "start"},
    "pre": {"dir", "tabindex"},
    "span": {"class", "tabindex"},
    "td": {"class"},
    "th": {"class"},
}
# What the converter of formulas emits: no links, no styles, and none of the elements in which HTML could begin again.
_MATH = {
    "math": {"alttext", "display"},
    "menclose": {"notation"},
    "mfrac": {"displaystyle", "scriptlevel"},
    "mi": {"mathvariant"},
    "mo": {"form", "lspace", "maxsize", "minsize", "movablelimits", "rspace", "stretchy", "symmetric"},
    "mover": {"accent"},
    "mrow": {"displaystyle", "scriptlevel"},
    "mspace": {"width"},
    "mtable": {"class", "displaystyle", "scriptlevel"},
    "mtd": {"class"},
    "munder": {"accentunder"},
    **{tag: set() for tag in ("mmultiscripts", "mn", "mpadded", "mphantom", "mprescripts", "mroot", "msqrt", "msub")},
    **{tag: set() for tag in ("msubsup", "msup", "mtext", "mtr", "munderover")},
}
_CLEANER = nh3.Cleaner(
    tags=_BLOCKS | _TAGS | set(_MATH),
    attributes=_ATTRIBUTES | _MATH,
    tag_attribute_values={"mfrac": {"linethickness": {"0"}}},
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
    if len(text) > MAX_CHARS or sum(map(text.count, "[|*_")) > MAX_MARKS:
        return raw_text(text)
    key = (text, hard_wrapped, settings.LOAD_IMAGES, get_language())
    html = _RENDERED.get(key)
    if html is None:
        html = render_anew(text, hard_wrapped=hard_wrapped)
        _RENDERED.keep(key, html, len(text) + len(html))
    return html


def render_anew(text: str, *, hard_wrapped: bool = False) -> SafeString:
    """Return what `render_markdown` does, without looking whether it has been rendered before."""
    parser = _PARSERS[hard_wrapped, "//" in text or "mailto:" in text.lower()]
    try:
        tokens = parser.parse(text)
        for token in tokens:
            if token.level == 0 and token.nesting == 1:
                # The outermost block takes its direction from its text; what is in it follows (`.prose` in the CSS).
                token.attrSet("dir", "auto")
        return mark_safe(_CLEANER.clean(parser.renderer.render(tokens, parser.options, {})))  # noqa: S308  (nh3's allow-list stands right here)
    except (ValueError, IndexError, RecursionError, KeyError):
        # A parser that trips over somebody's text must not hide that text from the person who judges it.
        return raw_text(text)


def raw_text(text: str) -> SafeString:
    """Return the text itself, escaped, with its line breaks."""
    return format_html('<div class="raw" dir="auto">{}</div>', text)


def _code(text: str, language: str) -> str:
    lexer = _lexer(language.lower()[:40]) if language and len(text) <= MAX_HIGHLIGHTED_CHARS else None
    body = highlight(text, lexer, _FORMATTER) if lexer else escape(text)
    # A wide block scrolls by itself, so the keyboard has to be able to reach it.
    return f'<pre tabindex="0" dir="ltr"><code>{body}</code></pre>\n'


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
    language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
    formula = mathml(token.content.strip(), display=True) if language == "math" else None
    return _framed(formula, "div", token.content) if formula else _code(token.content, language)


def _render_code_block(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return _code(tokens[index].content, "")


def _render_code(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return f'<code dir="ltr">{escape(tokens[index].content)}</code>'


def _render_formula(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Show a formula, or its source where it is none that the converter knows."""
    token = tokens[index]
    formula = mathml(token.content, display=token.meta["display"])
    if formula is None:
        source = token.markup + token.content + CLOSING[token.markup]
        return _code(source, "") if token.block else f'<code dir="ltr">{escape(source)}</code>'
    if token.meta["display"] or len(token.content) > LONG_FORMULA:
        return _framed(formula, "div" if token.block else "span", token.content)
    return formula


def _framed(formula: str, tag: str, source: str) -> str:
    reached = ' tabindex="0"' if len(source) > LONG_FORMULA else ""
    return f'<{tag} class="wide formula"{reached}>{formula}</{tag}>'


def _render_image(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Show an image through our own address, and one that is not loaded as its words and its address.

    While it loads, and when it cannot be loaded, the browser shows the words; the address is in the title.
    """
    token = tokens[index]
    alt = renderer.renderInlineAsText(token.children or [], options, env)
    source = str(token.attrs.get("src", ""))
    address = image_address(source)
    if address is None:
        return f'<span class="image">[{escape(_("image: %s") % alt)}] {escape(source)}</span>'
    words = f'alt="{escape(alt or source)}" title="{escape(source)}"'
    return f'<img class="image" src="{escape(address)}" {words} loading="lazy">'


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


class _Rendered:
    """The texts rendered last, up to a number of characters."""

    def __init__(self, max_chars: int) -> None:
        self.left = max_chars
        self.entries: OrderedDict[Hashable, tuple[SafeString, int]] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Hashable) -> SafeString | None:
        """Return a text rendered before."""
        with self.lock:
            if key not in self.entries:
                return None
            self.entries.move_to_end(key)
            return self.entries[key][0]

    def keep(self, key: Hashable, html: SafeString, chars: int) -> None:
        """Remember a text, and forget those that nobody has asked for longest."""
        with self.lock:
            self.left += self.entries.pop(key, (html, 0))[1] - chars
            self.entries[key] = html, chars
            while self.left < 0:
                self.left += self.entries.popitem(last=False)[1][1]


def _make_parser(*, breaks: bool, links: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": links, "breaks": breaks, "maxNesting": 30})
    parser.enable(["table", "strikethrough"])
    parser.use(formulas_plugin)
    if links:
        parser.enable("linkify")
        # Bare words such as `config.py` are not addresses; only what starts with a scheme becomes a link.
        assert parser.linkify is not None  # noqa: S101  (for the type checker: linkify-it-py is installed)
        parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    for name, rule in (
        ("fence", _render_fence),
        ("code_block", _render_code_block),
        ("code_inline", _render_code),
        ("formula", _render_formula),
        ("image", _render_image),
        ("link_open", _render_link),
        ("th_open", _render_cell),
        ("td_open", _render_cell),
        ("table_open", _render_table_open),
        ("table_close", _render_table_close),
    ):
        parser.add_render_rule(name, rule)
    return parser


_RENDERED = _Rendered(MAX_KEPT_CHARS)
# Most texts name no address, and looking for one in every piece of text is a quarter of the work.
_PARSERS = {
    (hard_wrapped, links): _make_parser(breaks=not hard_wrapped, links=links)
    for hard_wrapped in (False, True)
    for links in (False, True)
}
