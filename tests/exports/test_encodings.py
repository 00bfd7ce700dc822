"""JSON lines, Parquet and CSV hold the same rows; the bytes depend on the rows alone; no spreadsheet runs a cell."""

import csv
import gzip
import hashlib
import json

import pyarrow.parquet as pq
import pytest

from apps.core.spreadsheets import formula_safe
from apps.exports.encodings import ROW_GROUP, WRITERS, HashedFile, gzip_file
from apps.exports.formats import FORMATS
from tests.exports.rows import annotation, frozen
from tests.hostile_texts import HOSTILE


def write(path, encoding, export_format, rows, *, at_a_time=7):
    file = HashedFile(path)
    writer = WRITERS[encoding](file, FORMATS[export_format].columns)
    for start in range(0, len(rows), at_a_time):
        part = rows[start : start + at_a_time]
        writer.write(part, 100 * len(part))
    writer.close()
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.bytes == path.stat().st_size
    return file.sha256


def texts_in(texts):
    return [{"prompt": text, "chosen": text, "rejected": "", "margin": 1.0} for text in texts]


@pytest.mark.parametrize("encoding", list(WRITERS))
def test_bytes_do_not_depend_on_how_many_rows_come_at_a_time(tmp_path, encoding):
    rows = texts_in([f"Row {number}" for number in range(ROW_GROUP + 50)])
    hashes = {
        write(tmp_path / f"{size}", encoding, "trl-preference", rows, at_a_time=size) for size in (1, 13, len(rows))
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("text", [*HOSTILE, "", "a\r\nb", "\u2028", "x" * 70_000])
def test_hostile_text_comes_back_as_it_is(tmp_path, text):
    text = text.replace("\x00", "")
    rows = texts_in([text])
    for encoding in WRITERS:
        write(tmp_path / encoding, encoding, "trl-preference", rows)
    assert json.loads((tmp_path / "jsonl").read_bytes()) == rows[0]
    assert pq.read_table(tmp_path / "parquet").to_pylist() == rows
    with (tmp_path / "csv").open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert row["prompt"] == formula_safe(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "''=1"])
def test_no_cell_of_a_csv_is_run_and_every_text_can_be_had_back(text):
    safe = formula_safe(text)
    assert safe[0] == "'"
    assert safe[1:] == text
    assert formula_safe("It's 1+1") == "It's 1+1"


def test_nothing_differs_from_an_empty_text_in_a_csv(tmp_path):
    rows = [{"id": "1", "subset": "", "prompt": "p", "chosen": "c", "rejected": "r", "chosen_model": None}]
    write(tmp_path / "csv", "csv", "rewardbench", rows)
    assert (tmp_path / "csv").read_text().splitlines()[1] == '"1","","p","c","r",,'


def test_annotations_in_parquet_have_types_and_text_where_shapes_vary(tmp_path):
    row = frozen(metadata={"domain": "chat", "n": 2**70})
    row["annotations"].append(annotation("neither", kept=False))
    for encoding in ("jsonl", "parquet"):
        write(tmp_path / encoding, encoding, "annotations", [row])
    assert json.loads((tmp_path / "jsonl").read_text()) == row
    (read,) = pq.read_table(tmp_path / "parquet").to_pylist()
    assert json.loads(read["metadata"]) == row["metadata"]
    assert read["consensus"]["preference"] == "2"
    assert [each["preference"] for each in read["annotations"]] == ["2", "2", "2", "neither"]
    assert json.loads(read["annotations"][0]["ratings"][1])["helpfulness"] == 4
    assert read["annotations"][0]["problems"] == [[], ["unsafe"]]


def test_gzip_has_neither_time_nor_name_in_it(tmp_path):
    (tmp_path / "plain").write_text("x" * 1000)
    for name in ("one", "other"):
        gzip_file(tmp_path / "plain", HashedFile(tmp_path / name))
    content = (tmp_path / "one").read_bytes()
    assert content == (tmp_path / "other").read_bytes()
    assert content[3:8] == b"\0" * 5  # no name, and the time of nothing
    assert gzip.decompress(content) == b"x" * 1000


def test_row_groups_stay_small_where_rows_are_long(tmp_path):
    file = HashedFile(tmp_path / "parquet")
    writer = WRITERS["parquet"](file, FORMATS["trl-preference"].columns)
    writer.write(texts_in(["x"] * 10), 10 * 5_000_000)
    writer.close()
    assert pq.ParquetFile(tmp_path / "parquet").num_row_groups == 5
