"""What stands in templates, in the README and in the code as text."""

import re
import subprocess
from pathlib import Path

from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|\bhx-on|\bjs:|javascript:", re.IGNORECASE)


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT, capture_output=True)
    return [ROOT / name for name in listed.stdout.decode().split("\n") if name and (ROOT / name).is_file()]


def test_no_template_has_inline_script_style_or_handlers():
    templates = tracked("templates/*.html")
    assert templates
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in templates
        for match in INLINE.finditer(path.read_text())
    ]
    assert found == []


def test_the_scan_sees_each_of_them():
    bad = [
        "<script>x</script>",
        "<style>",
        '<p style="">',
        '<a onclick="">',
        '<a hx-on:click="">',
        '<a href="javascript:x">',
    ]
    assert all(INLINE.search(text) for text in bad)
    assert not INLINE.search('<script src="/static/js/compare.js" type="module"></script><section data-on="x">')


def commands_in(path: Path) -> list[str]:
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", path.read_text(), re.S)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_the_commands_of_the_readme_and_the_docs_exist():
    makefile = (ROOT / "Makefile").read_text()
    documents = [ROOT / "README.md", *tracked("docs/*.md")]
    commands = [command for document in documents for command in commands_in(document)]
    targets = {target for command in commands for target in re.findall(r"\bmake ([a-z]+)", command)}
    assert {"demo", "test"} <= targets
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.M)} == set()
    managed = {name for command in commands for name in re.findall(r"manage\.py ([a-z_]+)", command)}
    assert managed <= set(get_commands())


def test_links_between_documents_lead_somewhere():
    documents = [ROOT / "README.md", *tracked("docs/*.md")]
    broken = [
        f"{document.relative_to(ROOT)} → {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert broken == []
