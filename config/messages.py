"""`make messages`: bring the catalogues in `locale/` up to date with the texts of the source, and compile them.

Run it in the folder of `manage.py`. It needs GNU gettext; nothing else does, since compiled catalogues are kept in git.
"""

import os
import re
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import CommandError, call_command

IGNORED = [".*", "var", "static", "tests", "benchmarks"]
"""Folders without texts for people."""


def main() -> int:
    """Extract, merge and compile; say what a translator has to do next."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    languages = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
    layout = {"add_location": "file", "no_obsolete": True, "no_wrap": True}
    try:
        call_command("makemessages", locale=languages, ignore_patterns=IGNORED, verbosity=0, **layout)
        for code in languages:
            _forget_when(Path("locale", code, "LC_MESSAGES", "django.po"))
        call_command("compilemessages", locale=languages, ignore_patterns=IGNORED, verbosity=0)
    except CommandError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print("Translate what is empty or fuzzy in locale/, then do this again (docs/translating.md).")  # noqa: T201
    return 0


def _forget_when(catalogue: Path) -> None:
    """Drop the time of extraction: it would be the only change of most runs."""
    text = catalogue.read_text(encoding="utf-8")
    catalogue.write_text(re.sub(r'"POT-Creation-Date: .*"\n', "", text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
