"""Files of every kind come in alike, row by row, and hostile ones are refused with a sentence."""

import datetime
import decimal
import gzip
import json
import random
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apps.core.errors import InvalidInput
from apps.core.spreadsheets import formula_safe
from apps.imports import csv_rows, files, json_arrays, parquet
from apps.imports.files import rows_of
from apps.imports.rows import BadRow, BrokenOff
from apps.imports.services import start_import
from apps.labeling.models import Annotation
from apps.prompts.models import Comparison
from tests.imports.rows import lines, load_file, row

ROWS = [row(external_id=f"q-{n}", metadata={"n": n}) for n in range(3)]


def read(path, name=None):
    with rows_of(path, file_name=name or path.name) as rows:
        return list(rows)


def reasons(path, name=None):
    return [value.reason for _, value in read(path, name) if isinstance(value, BadRow)]


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def gzipped(content):
    """Return the same bytes at any time: they are in the names of tests, which all of xdist's processes must share."""
    return gzip.compress(content, mtime=0)


def as_csv(rows):
    header = "external_id,messages,responses,metadata\n"
    cells = [[r["external_id"], *(json.dumps(r[name]) for name in ("messages", "responses", "metadata"))] for r in rows]
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in cells]
    return (header + "\n".join(quoted)).encode()


def as_parquet(tmp_path, rows, **options):
    path = tmp_path / "written.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path.read_bytes()


@pytest.mark.django_db
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.json", "pairs.csv", "pairs.parquet"])
def test_every_kind_of_file_brings_the_same_pairs(project, tmp_path, name, packed):
    content = {
        "pairs.jsonl": lines(ROWS),
        "pairs.json": json.dumps(ROWS, indent=1).encode(),
        "pairs.csv": as_csv(ROWS),
        "pairs.parquet": as_parquet(tmp_path, ROWS, row_group_size=1),
    }[name]
    path = written(tmp_path, f"{name}.gz" if packed else name, gzip.compress(content) if packed else content)
    report = load_file(project, path)
    assert (report.created, report.errors) == (3, [])
    stored = Comparison.objects.order_by("external_id").values_list("external_id", "metadata", "response_2__text")
    assert list(stored) == [(f"q-{n}", {"n": n}, "2 and 3") for n in range(3)]
    assert load_file(project, path).unchanged == 3


def test_a_name_says_nothing_against_the_content(tmp_path):
    assert len(read(written(tmp_path, "pairs.csv", lines(ROWS)))) == 3
    assert len(read(written(tmp_path, "pairs", as_parquet(tmp_path, ROWS)))) == 3
    assert read(written(tmp_path, "pairs", b"prompt\tchosen\trejected\na\tb\tc\n")) == [
        (2, {"prompt": "a", "chosen": "b", "rejected": "c"})
    ]


def test_a_byte_order_mark_is_no_text(tmp_path):
    assert len(read(written(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + lines(ROWS)))) == 3
    assert read(written(tmp_path, "a.csv", b"\xef\xbb\xbfprompt;x\na;b\n")) == [(2, {"prompt": "a", "x": "b"})]


# --- Hostile files ---


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xlsx", b"PK\x03\x04rest", "ZIP archive or an Excel"),
        ("a.jsonl", '{"prompt": "é"}'.encode("utf-16"), "UTF-16"),
        ("a.jsonl", '{"prompt": "é"}'.encode("utf-16-le"), "looks like UTF-16"),
        ("a.csv", "prompt,chosen,rejected\na,b,c\n".encode("utf-16-be"), "looks like UTF-16"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfdrest", "Zstandard"),
        ("a.jsonl.gz", gzipped(gzipped(lines(ROWS))), "compressed twice"),
        ("a.jsonl.gz", gzipped(lines(ROWS * 99))[:-20], "breaks off"),
        ("a.jsonl.gz", gzipped(lines(ROWS))[:-8] + b"\x00" * 8, "damaged"),
        ("a.parquet", b"PAR1" + b"\x00" * 40 + b"PAR1", "Parquet file cannot be read"),
        ("a.parquet", b"PAR1", "Parquet file cannot be read"),
        ("a.csv", b"a,a\n1,2\n", "each once"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_whole(tmp_path, name, content, words):
    with pytest.raises(InvalidInput, match=words):
        read(written(tmp_path, name, content))


def test_a_gzip_bomb_is_refused_before_a_row_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SMALL_ENOUGH", 1 << 20)
    bomb = gzip.compress(lines(ROWS) + b" " * (64 << 20))
    assert len(bomb) < 100_000
    with pytest.raises(InvalidInput, match="over 200 times its size"):
        read(written(tmp_path, "bomb.jsonl.gz", bomb))


def test_a_gzip_file_over_the_limit_of_the_server_is_refused(tmp_path, settings):
    settings.IMPORT_MAX_BYTES = 100
    with pytest.raises(InvalidInput, match="server's limit"):
        read(written(tmp_path, "a.jsonl.gz", gzip.compress(lines(ROWS))))


def test_a_parquet_bomb_is_refused_by_what_it_declares(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_CHUNK_BYTES", 1000)
    with pytest.raises(InvalidInput, match="write smaller row groups"):
        read(written(tmp_path, "a.parquet", as_parquet(tmp_path, [{"prompt": "x" * 5000}])))


def test_a_parquet_text_that_many_rows_share_is_not_spelled_out_for_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_CELL_BYTES", 1000)
    monkeypatch.setattr(parquet, "MAX_BATCH_BYTES", 5000)
    rows = [{"prompt": "x" * 2000}] * 50 + [{"prompt": "short"}]
    found = read(written(tmp_path, "a.parquet", as_parquet(tmp_path, rows)))
    assert len(found) == 51
    assert found[-1] == (51, {"prompt": "short"})
    assert "longer than" in found[0][1].reason


def test_a_line_of_a_hundred_megabytes_is_skipped(tmp_path):
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"prompt": "')
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + lines(ROWS))
    assert reasons(path) == ["The line is longer than 16 MiB."]
    assert len(read(path)) == 4


@pytest.mark.parametrize("opening", [b'["', b"[" * 9, b'[{"a": "'])
def test_an_array_with_an_endless_value_is_one_sentence(tmp_path, opening):
    path = tmp_path / "endless.json"
    with path.open("wb") as file:
        file.write(opening)
        for _ in range(20):
            file.write(b"[" * (1 << 20) if opening.endswith(b"[") else b"x" * (1 << 20))
    assert reasons(path) == ["The JSON array cannot be read on from here: it has no end."]


def test_a_value_of_a_hundred_megabytes_in_an_array_is_skipped_in_little_memory(tmp_path):
    path = tmp_path / "long.json"
    with path.open("wb") as file:
        file.write(b'[{"a": 1}, {"a": "')
        for _ in range(100):
            file.write(b"],{" * (1 << 18) + b"x" * (1 << 18))
        file.write(b'"}, {"a": 3}]')
    tracemalloc.start()
    found = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [value if isinstance(value, dict) else value.reason for _, value in found] == [
        {"a": 1},
        "The value is longer than 16 MiB.",
        {"a": 3},
    ]
    assert peak < 32 << 20


BROKEN = "The JSON array cannot be read on from here:"


@pytest.mark.parametrize(
    ("content", "count", "words"),
    [
        (b'[{"a": 1}, {"a": 2}', 2, "it has no end"),
        (b'[{"a": 1}, {"a": 2', 1, "it has no end"),
        (b"[", 0, "it has no end"),
        (b'[{"a": 1}, , {"a": 2}]', 1, "a value is missing before a comma"),
        (b'[, {"a": 2}]', 0, "a value is missing before a comma"),
        (b'[{"a": 1}, ]', 1, "a value is missing after a comma"),
        (b'[{"a": 1} {"a": 2}, {"a": 3}]', 1, "no comma stands before this value"),
        (b'[{"a": 1}, {"a": 2} {"a": 3}]', 2, "no comma stands before this value"),
        (b'[{"a": 1}} , {"a": 2}]', 1, "a brace is closed that was not opened"),
        (b'[{"a": 1}]\n[{"a": 2}]', 1, "something follows the end of the array"),
    ],
)
def test_a_broken_array_gives_the_rows_before_and_a_sentence(tmp_path, content, count, words):
    *rows, (number, last) = read(written(tmp_path, "a.json", content))
    assert rows == [(place + 1, {"a": place + 1}) for place in range(count)]
    assert (number, type(last), last.reason) == (count + 1, BrokenOff, f"{BROKEN} {words}.")


BAD_VALUES = [
    (b'{"a": "\\u0000"}', "NUL character"),
    (b'{"a": "\x00"}', "Not valid JSON"),
    (b'{"a": "\\ud800"}', "Not valid JSON"),
    (b'{"a": "caf\xe9"}', "not UTF-8"),
    (b'{"a": Infinity}', "Not valid JSON"),
    (b'{"a": 1e999}', "Not valid JSON"),
    (b'{"a": [}', "Not valid JSON"),
    (b'{"a":' * 50 + b"1" + b"}" * 50, "more than 40 levels"),
    (b'{"a":' * 99_999 + b"1" + b"}" * 99_999, "Not valid JSON"),
]


@pytest.mark.parametrize(("value", "words"), [each for each in BAD_VALUES if b"[}" not in each[0]])
def test_a_bad_value_of_an_array_costs_its_row_and_reads_as_in_a_line(tmp_path, value, words):
    found = read(written(tmp_path, "a.json", b'[{"a": 1}, ' + value + b',\n{"a": 3} ]\n'))
    (_, in_a_line), *_ = read(written(tmp_path, "a.jsonl", value + b"\n"))
    assert words in found[1][1].reason
    assert [found[0], found[2]] == [(1, {"a": 1}), (3, {"a": 3})]
    assert (type(found[1][1]), found[1][1].reason) == (BadRow, in_a_line.reason)


@pytest.mark.parametrize("content", [b"[]", b" [ \n ] \n", b"[\t]"])
def test_an_empty_array_has_no_rows(tmp_path, content):
    assert read(written(tmp_path, "a.json", content)) == []


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1 << 18])
def test_where_an_array_is_cut_into_blocks_changes_nothing(tmp_path, monkeypatch, block):
    monkeypatch.setattr(json_arrays, "BLOCK", block)
    dice = random.Random(7)
    pieces = ["\\", '"', "[", "]", "{", "}", ",", " ", "\n", "é", "\U0001f30a", "a", '\\"', "\\u0041"]

    def text():
        return "".join(dice.choices(pieces, k=dice.randrange(12)))

    values = [text(), "", 0, -1.5e3, None, True, [], {}, [[{}], [1, {"a": [text()]}]]]
    values += [{text(): [text(), {text(): text()}]} for _ in range(150)]
    for separators in ((",", ":"), (" ,\n", " : ")):
        content = json.dumps(values, separators=separators, ensure_ascii=False).encode()
        assert read(written(tmp_path, "a.json", content)) == list(enumerate(values, 1))


@pytest.mark.parametrize(("line", "words"), BAD_VALUES)
def test_a_bad_line_is_one_sentence_and_the_next_is_read(tmp_path, line, words):
    found = read(written(tmp_path, "a.jsonl", line + b"\n" + lines(ROWS)))
    assert words in found[0][1].reason
    assert len(found) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'prompt,x\n"never closed,1\n', "never closed"),
        (b"prompt,x\n" + b'"' + b"x" * (17 << 20) + b'",1\n', "longer than 16 MiB"),
        (b"prompt,x\na\rb,1\n", "line break stands in a cell"),
        (b"prompt,x\ncaf\xe9,1\n", "not UTF-8: byte 4"),
        (b"prompt,x\na,1,2\n", "3 cells; the header names 2"),
        (b"prompt,x\na\x00b,1\n", "NUL"),
    ],
)
def test_a_bad_csv_is_one_sentence(tmp_path, content, words):
    (reason,) = reasons(written(tmp_path, "a.csv", content))
    assert words.lower() in reason.lower()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"caf\xe9,1,2", "not UTF-8: byte 4"),
        (b'"a" b,1,2', "A quote stands where none may"),
        (b'"never closed,1,2', "A quote is opened in this row and never closed"),
        (b"x" * (17 << 20), "longer than 16 MiB"),
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_a_bad_line_of_a_csv_takes_no_other_row_with_it(tmp_path, line, words, quoted):
    rows = [b'"q-%d","yes\nor","no"' % n if quoted else b"q-%d,yes,no" % n for n in range(300)]
    content = b"\n".join([b"prompt,chosen,rejected", *rows[:10], line, *rows[10:], b""])
    found = read(written(tmp_path, "a.csv", content))
    bad = [(number, value.reason) for number, value in found if isinstance(value, BadRow)]
    good = [value["prompt"] for _, value in found if isinstance(value, dict)]
    assert [number for number, _ in found] == sorted(number for number, _ in found)
    assert bad[0][0] == (22 if quoted else 12)
    assert quoted or words in bad[0][1]
    assert good == [f"q-{n}" for n in range(300)]


def test_a_csv_of_quotes_without_end_is_given_up_and_says_how_much_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_rows, "MAX_READ_AGAIN", 20_000)
    content = b"prompt,chosen,rejected\na,b,c\n" + b'a","""\n' * 1000
    found = read(written(tmp_path, "a.csv", content))
    number, last = found[-1]
    assert isinstance(last, BrokenOff)
    assert f" {1002 - number} lines after it were not read." in last.reason
    assert len(found) < 20


@pytest.mark.django_db
def test_a_file_that_breaks_off_says_so_where_nobody_overlooks_it(project, tmp_path):
    report = load_file(project, written(tmp_path, "a.json", json.dumps(ROWS).encode()[:-1] + b", {"))
    assert (report.created, report.rejected) == (3, 1)
    assert report.to_dict()["notice"] == "What follows line 4 was not read."


def test_rows_before_an_endless_value_come_out(tmp_path):
    content = b"[" + b'{"a": 1}, ' * 5 + b'{"a": ' + b"[" * 9000
    found = read(written(tmp_path, "a.json", content))
    assert [number for number, value in found if isinstance(value, dict)] == [1, 2, 3, 4, 5]
    assert (found[-1][0], found[-1][1].reason) == (6, f"{BROKEN} it has no end.")


def test_an_object_over_several_lines_is_said_once(tmp_path):
    pretty = json.dumps(ROWS[0], indent=1).encode() + b"\n"
    (said,) = reasons(written(tmp_path, "a.json", pretty))
    assert "write each on one line, or one array" in said
    found = read(written(tmp_path, "b.json", pretty + lines(ROWS[1:]) + b'{"cut": "\nof"\n' + lines(ROWS)))
    assert [number for number, value in found if isinstance(value, BadRow)] == [1, pretty.count(b"\n") + 3]
    assert len(found) == 7
    assert found[-1][0] == pretty.count(b"\n") + 7


@pytest.mark.parametrize("content", [lines(ROWS), as_csv(ROWS).rstrip() + b"\n"])
def test_lines_that_end_in_carriage_returns_alone_are_lines(tmp_path, content):
    assert read(written(tmp_path, "a", content.replace(b"\n", b"\r"))) == read(written(tmp_path, "b", content))


@pytest.mark.django_db
def test_formulas_in_a_csv_are_kept_as_text_and_neutralised_in_ours(project, tmp_path):
    path = written(tmp_path, "a.csv", b"prompt,chosen,rejected\n=1+1,=cmd|' /C calc'!A0,-2\n")
    assert load_file(project, path).created == 1
    made = Comparison.objects.get()
    assert (made.prompt.messages[0]["content"], made.response_1.text, made.response_2.text) == (
        "=1+1",
        "=cmd|' /C calc'!A0",
        "-2",
    )
    assert [formula_safe(cell) for cell in ("=1", "+1", "-1", "@x", "\tx", "x=1")] == [
        "'=1",
        "'+1",
        "'-1",
        "'@x",
        "'\tx",
        "x=1",
    ]


@pytest.mark.django_db
def test_parquet_with_wild_types_becomes_json(project, tmp_path):
    table = pa.table(
        {
            "prompt": pa.array(["a", "b"]).dictionary_encode(),
            "chosen": pa.array([b"yes", b"\xff\xfe"], pa.binary()),
            "rejected": pa.array(["no", "no"], pa.large_string()),
            "margin": pa.array([decimal.Decimal("2.00"), None], pa.decimal128(5, 2)),
            "split": pa.array(["train", None]),
            "domain": pa.array([{"at": datetime.datetime(2026, 1, 2, 3, 4)}, None]),
        }
    )
    path = tmp_path / "wild.parquet"
    pq.write_table(table, path)
    report = load_file(project, path)
    assert (report.created, report.rejected) == (1, 1)
    assert (report.errors[0]["line"], report.errors[0]["field"]) == (2, "/chosen")
    made = Comparison.objects.get()
    assert made.metadata == {"split": "train", "domain": {"at": "2026-01-02T03:04:00"}, "margin": 2}
    assert Annotation.objects.get().preference == -2


def test_parquet_values_without_a_form_in_json_name_their_row():
    values = [1.5, 2.0, float("nan"), decimal.Decimal("NaN"), datetime.timedelta(seconds=3), [("k", 1)], b"x"]
    assert [parquet.plain(value, "") for value in values] == [1.5, 2, None, None, 3.0, [["k", 1]], "x"]
    decimals = [decimal.Decimal(f"{10**30 + 1}.00"), decimal.Decimal("2.50")]
    assert [parquet.plain(value, "") for value in decimals] == [10**30 + 1, 2.5]
    with pytest.raises(BadRow, match="no form in JSON"):
        parquet.plain(object(), "/x")


def test_a_parquet_file_with_a_damaged_page_gives_the_rows_before(tmp_path):
    content = bytearray(as_parquet(tmp_path, [{"prompt": str(n) * 50} for n in range(600)], row_group_size=300))
    second = pq.ParquetFile(written(tmp_path, "a.parquet", bytes(content))).metadata.row_group(1).column(0)
    start = second.dictionary_page_offset or second.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    found = read(written(tmp_path, "b.parquet", bytes(content)))
    assert sum(isinstance(value, dict) for _, value in found) >= 256
    assert "cannot be read on from here" in found[-1][1].reason


@pytest.mark.django_db
def test_what_is_no_data_is_refused_when_it_is_handed_in(project, tmp_path):
    with (
        written(tmp_path, "a.jsonl", b"PK\x03\x04").open("rb") as stream,
        pytest.raises(InvalidInput, match="ZIP"),
    ):
        start_import(project=project, file_name="a.jsonl", stream=stream, created_by=None)
    assert not project.imports.exists()
