"""The scripts and the style sheet keep the promises of the style guide."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
STYLES = sorted((ROOT / "static" / "css").glob("*.css"))
FORBIDDEN = re.compile(
    r"\beval\(|new Function|innerHTML|outerHTML|document\.write|insertAdjacentHTML|setTimeout\(['\"]"
    r"|\.style\b(?!\.setProperty\(['\"]--)"  # a custom property is a number that the style sheet uses as it likes
)


def test_scripts_are_small():
    assert SCRIPTS
    sizes = {path.name: path.stat().st_size for path in SCRIPTS}
    assert sizes.pop("upload.js") <= 3_500  # of the imports page alone
    assert sum(sizes.values()) <= 25_000


def test_scripts_never_turn_text_into_markup_or_code():
    assert {path.name: FORBIDDEN.findall(path.read_text()) for path in SCRIPTS} == {path.name: [] for path in SCRIPTS}
    assert FORBIDDEN.search("panel.innerHTML = text")


def test_the_style_sheet_is_layered_and_short():
    for path in STYLES:
        text = path.read_text()
        assert text.count("\n") <= 800
        assert "!important" not in re.sub(r"@layer (reset|utilities|compare) \{.*?\n\}", "", text, flags=re.S)
        outside = re.sub(r"@layer [\w, ]+(;|\{.*?\n\})|/\*.*?\*/", "", text, flags=re.S)
        assert outside.strip() == ""


def test_nothing_is_loaded_from_elsewhere():
    for path in [*SCRIPTS, *STYLES, *(ROOT / "templates").rglob("*.html")]:
        assert not re.search(r"(src|href)=[\"']?(https?:)?//|url\(|@import", path.read_text()), path
