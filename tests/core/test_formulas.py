"""LaTeX in Markdown becomes MathML; what is money, code or no formula stays what it is."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.formulas import MAX_CHARS, MAX_COMMANDS, mathml
from apps.core.markdown import render_anew

ROOT = Path(__file__).resolve().parents[2]


def sources(text: str) -> list[str]:
    """Return the LaTeX that a text's formulas were made of, in its order."""
    return re.findall(r'<math alttext="([^"]*)"', render_anew(text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Let $x$ be", ["x"]),
        ("$a_1 * b * c_2$", ["a_1 * b * c_2"]),
        ("the $n$th of $k$s", ["n", "k"]),
        ("($x$), $y$. $z$-axis", ["x", "y", "z"]),
        ("$3x + 10 = 5$", ["3x + 10 = 5"]),
        ("令$x$是", ["x"]),
        (r"\(a+b\) and \(f(x)\)", ["a+b", "f(x)"]),
        (r"\[ x = 1 \]", ["x = 1"]),
        ("$$x$$ and $$y$$", ["x", "y"]),
        ("# About $x^2$\n\n- $y$\n\n| $z$ |\n|---|\n| $w$ |", ["x^2", "y", "z", "w"]),
        ("Text:\n$$\na\n= b\n- c\n$$\nmore", ["a\n= b\n- c"]),
        ("1. first\n\n   \\[\n   x\n   \\]\n", ["x"]),
        ("> $$\n> x\n> $$", ["x"]),
        ("$$\nx\n$$.", ["x."]),
        ("```math\nx\n```", ["x"]),
        (r"**$x$** [$y$](https://a.example)", ["x", "y"]),
        (r"$\text{5\% of } x$", [r"\text{5\% of } x"]),
    ],
)
def test_a_formula_is_found(text, found):
    assert [source.strip() for source in sources(text)] == found


@pytest.mark.parametrize(
    "text",
    [
        "$5 and $10",
        "It costs $3.50 a $",
        "from $5-$10, $1,000 or US$20 (A$30)",
        "5$ or 6$",
        "$20 a month or 200$ a year",
        "$$$ for $$$",
        "$ x $",
        r"\$x\$",
        "`$x$` and ``$y$``",
        "costs $x `and $y` z",
        "```\n$x$ \\(y\\)\n```",
        "    $x$",
        "echo $HOME/$USER $PATH:$HOME",
        "$x",
        r"\(x",
        "$$\nx\n\ny\n$$",
        r"\[citation needed\] \[12\] \(see above\)",
        r"\[a link\](https://a.example)",
        "$$$$",
        r"\(\)",
        "![$x$](https://a.example/x.png)",
        "https://a.example/$x$/",
    ],
)
def test_what_is_no_formula_stays_text(text):
    assert "<math" not in render_anew(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"a $\foo{x}$ b", r'a <code dir="ltr">$\foo{x}$</code> b'),
        (r"\(\frac{1}\)", r'<code dir="ltr">\(\frac{1}\)</code>'),
        ("$$\n\\foo\n$$", '<pre tabindex="0" dir="ltr"><code>$$\\foo$$</code></pre>'),
        ("```math\n\\foo\n```", '<pre tabindex="0" dir="ltr"><code>\\foo\n</code></pre>'),
    ],
)
def test_what_the_converter_does_not_know_is_shown_as_source(text, shown):
    assert shown in render_anew(text)


def test_a_wide_formula_scrolls_by_itself_and_by_keyboard():
    wide = "x+" * 50 + "1"
    for text in (f"$${wide}$$", f"\\[\n{wide}\n\\]", f"```math\n{wide}\n```", f"see $${wide}$$ here"):
        assert re.search(r'<(div|span) class="wide formula" tabindex="0"><math [^>]*display="block"', render_anew(text))
    assert '<span class="wide formula" tabindex="0"><math' in render_anew(f"${wide}$")


def test_a_short_formula_is_no_stop_of_the_keyboard():
    assert render_anew("$x$ and $$y$$").count("tabindex") == 0
    assert '<span class="wide formula"><math' in render_anew("see $$y$$")


def test_alignment_survives_without_styles():
    html = render_anew(r"$$\begin{aligned}a&=b\\c&=d\end{aligned} \quad \begin{array}{c|c}1&2\\\hline 3&4\end{array}$$")
    assert html.count('<mtd class="at-right">') == html.count('<mtd class="at-left">') == 2
    assert '<mtd class="ruled-right">' in html
    assert '<mtd class="ruled-top ruled-right">' in html
    assert " style=" not in html


def test_mathml_by_hand():
    assert mathml(r"\frac{a}{b}", display=False) == (
        r'<math alttext="\frac{a}{b}"><mfrac><mi>a</mi><mi>b</mi></mfrac></math>'
    )
    assert mathml('x<"y"', display=True).startswith('<math alttext="x&lt;&quot;y&quot;" display="block"><mi>x</mi>')


@pytest.mark.parametrize(
    "latex",
    [
        r"\def\a{\a\a}\a",
        r"\newcommand{\a}{{\a}}\a",
        r"\renewcommand{\alpha}{{\alpha}}\alpha",
        r"\providecommand{\a}{{\a}}\a",
        r"\gdef\a{{\a}}\a",
        r"\let\a=\b",
        "{" * (MAX_COMMANDS + 1),
        "x" * (MAX_CHARS + 1),
    ],
)
def test_definitions_and_what_is_too_much_are_not_converted(latex):
    assert mathml(latex, display=True) is None


DEEPEST = r"""
import threading, time
from apps.core.formulas import MAX_COMMANDS, mathml

def convert():
    for opening, closing in [
        ("{", "}"), (r"\frac{", "}{y}"), (r"\sqrt{", "}"), ("x^{", "}"), (r"\mathrm{", "}"), (r"\left(", r"\right)"),
        (r"\begin{matrix}", r"\end{matrix}"), (r"\hat", ""), (r"\sqrt[", "]{x}"), (r"\color{red}", ""),
        (r"{a\over ", "}"), (r"\displaystyle ", ""), (r"\binom1", ""), (r"\text{", "}"), (r"\overset a", ""),
        (r"\begingroup ", ""),
    ]:
        cost = opening.count("{") + opening.count("\\")
        for closed in (closing, ""):
            each = cost + closed.count("{") + closed.count("\\")
            deep = MAX_COMMANDS // each
            started = time.thread_time()
            mathml(opening * deep + " x" + closed * deep, display=True)
            assert time.thread_time() - started < 0.5

threading.stack_size(2 << 20)
thread = threading.Thread(target=convert)
thread.start()
thread.join()
print("alive")
"""


def test_the_deepest_formulas_fit_the_stack_of_a_small_thread():
    ran = subprocess.run([sys.executable, "-c", DEEPEST], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout.strip()) == (0, "alive"), ran.stderr


FRAGMENTS = [
    r"\frac",
    r"\sqrt[",
    r"\text{",
    r"\begin{aligned}",
    r"\end{aligned}",
    r"\begin{array}{c|c}",
    r"\end{array}",
]
FRAGMENTS += [
    r"\left(",
    r"\right)",
    r"\color{red}",
    r"\label{a}",
    r"\tag{1}",
    r"\hspace{-5em}",
    r"\cancel{",
    r"\mathbb{",
]
FRAGMENTS += [
    r"\overset",
    r"\not",
    r"\operatorname{",
    r"\raisebox{1em}",
    "\\\\",
    "&",
    "{",
    "}",
    "]",
    "^",
    "_",
    "'",
    "x",
    "1",
]
FRAGMENTS += [" ", "é", "中", "\u202e", "\x00", "<", ">", '"', "%", "#1", "~", "$", "😀"]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join))
def test_any_latex_is_converted_or_refused(latex):
    started = time.process_time()
    html = mathml(latex, display=True)
    assert time.process_time() - started < 0.2
    assert html is None or html.startswith("<math alttext=")


def test_many_threads_convert_at_a_time():
    expected, found = mathml(r"\sum_{i=1}^n \frac{i}{2}", display=True), []

    def convert():
        found.extend(mathml(r"\sum_{i=1}^n \frac{i}{2}", display=True) for _ in range(200))

    threads = [threading.Thread(target=convert) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 1600
