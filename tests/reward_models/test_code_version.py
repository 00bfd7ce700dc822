"""Versions say which code made them."""

import re

from apps.reward_models.code_version import code_hash, code_version


def test_a_change_of_the_code_or_of_where_it_stands_is_another_version(tmp_path):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "losses.py").write_text("a = 1\n")
    first = code_hash(tmp_path)
    (tmp_path / "core" / "notes.txt").write_text("no code")
    assert code_hash(tmp_path) == first
    (tmp_path / "core" / "losses.py").write_text("a = 2\n")
    changed = code_hash(tmp_path)
    (tmp_path / "core" / "losses.py").rename(tmp_path / "core" / "gains.py")
    assert len({first, changed, code_hash(tmp_path)}) == 3


def test_it_is_the_version_of_the_program_and_a_hash():
    assert re.fullmatch(r"\d+\.\d+\.\d+\+[0-9a-f]{12}", code_version())
