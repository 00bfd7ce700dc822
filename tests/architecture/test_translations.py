"""The catalogues in locale/: every text of the source, translated, with its placeholders, and compiled as it stands.

`make messages` runs here on a copy of the source; what it would change is what is missing (docs/translating.md).
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ("apps", "config", "locale", "templates", "worker", "manage.py")
LANGUAGES = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
FIELD = re.compile(r'^(msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?) ((?:".*"\n?)+)', re.M)
PLACEHOLDER = re.compile(r"%\(\w+\)[#0 +-]?[.\d]*[a-z]|%%|\{\w*\}")


@dataclass(frozen=True)
class Entry:
    """One text of a catalogue with its translations: one, or one for each plural form."""

    context: str
    text: str
    plural: str
    translations: tuple[str, ...]
    fuzzy: bool

    def __str__(self) -> str:
        return " | ".join(filter(None, [self.context, self.text, self.plural]))


def read(catalogue: Path) -> tuple[str, list[Entry]]:
    """Return the header of a .po file and its entries; those kept as comments are obsolete and not among them."""
    entries = []
    for block in catalogue.read_text(encoding="utf-8").split("\n\n"):
        fields = {name: ast.literal_eval(f"({quoted})") for name, quoted in FIELD.findall(block)}
        if fields:
            strings = tuple(value for name, value in fields.items() if name.startswith("msgstr"))
            flags = re.findall(r"^#,(.*)", block, re.M)
            entries.append(
                Entry(
                    fields.get("msgctxt", ""),
                    fields["msgid"],
                    fields.get("msgid_plural", ""),
                    strings,
                    any("fuzzy" in flag for flag in flags),
                )
            )
    header, *rest = entries
    assert header.text == ""
    return header.translations[0], rest


def listed(*parts: str | Collection[str]) -> str:
    """Return sentences and lists as lines; pytest would cut a long list short."""
    return "\n".join(
        part if isinstance(part, str) else "\n".join(f"  {line}" for line in sorted(part)) for part in parts
    )


def catalogue(root: Path, language: str) -> Path:
    return root / "locale" / language / "LC_MESSAGES" / "django.po"


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the source after `make messages`."""
    if shutil.which("xgettext") is None:
        pytest.fail("GNU gettext is missing; install it with your package manager (Debian, Ubuntu: gettext).")
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    done = subprocess.run(
        [sys.executable, "-m", "config.messages"],
        cwd=copy,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "TIEBREAK_VAR": str(copy / "var")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_has_the_texts_of_the_source_and_no_others(updated: Path, language: str) -> None:
    kept, wanted = ({str(entry) for entry in read(catalogue(root, language))[1]} for root in (ROOT, updated))
    assert kept == wanted, listed(
        "Run make messages; these are missing:", wanted - kept, "and these are gone:", kept - wanted
    )
    assert len(wanted) > 300


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    header, entries = read(catalogue(ROOT, language))
    forms = int(re.search(r"nplurals=(\d+)", header)[1])
    missing = [
        str(entry)
        for entry in entries
        if entry.fuzzy or not all(entry.translations) or len(entry.translations) != (forms if entry.plural else 1)
    ]
    assert not missing, listed("Translate these and run make messages:", missing)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_obsolete_is_kept(language: str) -> None:
    assert re.findall(r"^#~.*", catalogue(ROOT, language).read_text(encoding="utf-8"), re.M) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_keep_placeholders_and_the_space_around_them(language: str) -> None:
    broken = [str(entry) for entry in read(catalogue(ROOT, language))[1] if loses_something(entry)]
    assert not broken, listed(
        "The translations of these differ in placeholders, or in the space at their ends:", broken
    )


def loses_something(entry: Entry) -> bool:
    originals = [entry.text, entry.plural or entry.text]
    return any(
        translation != "" and shape(translation) not in [shape(original) for original in originals]
        for translation in entry.translations
    )


def shape(text: str) -> tuple[list[str], str, str]:
    """Return what a translation must have in common with its text: placeholders, and white space at its ends."""
    return sorted(PLACEHOLDER.findall(text)), text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]


@pytest.mark.parametrize(
    ("text", "translation"),
    [
        ("%(name)s is a member now.", "%(Name)s ist jetzt Mitglied."),
        ("%(count)s words", "Wörter"),
        ("95 %% interval", "95-%-Intervall"),
        ("Use {key}.", "Nimm {taste}."),
        (" or ", "oder"),
    ],
)
def test_the_check_of_placeholders_sees_each_kind(text: str, translation: str) -> None:
    assert loses_something(Entry("", text, "", (translation,), fuzzy=False))
    assert not loses_something(Entry("", text, "", (text,), fuzzy=False))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_is_the_one_that_stands_in_the_source(updated: Path, language: str) -> None:
    """The copy's is compiled anew; both are read back as texts, since versions of gettext differ in bytes."""
    if read(catalogue(ROOT, language)) != read(catalogue(updated, language)):
        pytest.fail("The catalogue itself is out of date. Run make messages.")
    ours, compiled = (
        subprocess.run(
            ["msgunfmt", catalogue(root, language).with_suffix(".mo")], capture_output=True, check=True, text=True
        ).stdout
        for root in (ROOT, updated)
    )
    assert ours == compiled
