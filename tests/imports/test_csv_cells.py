"""A cell of a CSV file is a text, unless its column needs something else."""

import gzip
import json

import pytest

from apps.exports.encodings import Csv, HashedFile
from apps.exports.formats import FORMATS
from apps.imports.benchmarks import read_benchmark
from apps.imports.csv_rows import OUR_COLUMNS, OUR_HEADERS
from apps.imports.files import rows_of
from apps.imports.options import Options
from apps.imports.rows import BadRow
from apps.imports.shapes import pairs_of, shape_of
from apps.labeling.models import Annotation
from apps.prompts.models import Comparison
from apps.reward_models.evaluations import benchmark_rows
from tests.imports.rows import load, load_file

IDS = ["007", "7", "7.0", "+7", "1e3", "[1]"]
PICKS = ["A", "B", "2", "-2.0", "+3", "tie"]
MAPPED = {"prompt": "q", "response_1": "a", "response_2": "b", "model_1": "m", "reference": "r", "metadata": ["q"]}
MAPPING = {"prompt": "q", "response_1": "a", "response_2": "b", "external_id": "uid", "preference": "pick"}


def written(tmp_path, *rows, name="a.csv"):
    path = tmp_path / name
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def pairs(path, **options):
    with rows_of(path, file_name=path.name) as rows:
        return [pair for _, unit in pairs_of(rows, **options) for pair in unit]


def cell(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.django_db
def test_ids_that_a_number_would_join_stay_apart(project, tmp_path):
    rows = [f"{uid},What is it?,this,that {n},{pick}" for n, (uid, pick) in enumerate(zip(IDS, PICKS, strict=True))]
    path = written(tmp_path, "uid,q,a,b,pick", *rows)
    report = load_file(project, path, options=Options(mapping=MAPPING))
    assert (report.created, report.errors) == (len(IDS), [])
    assert list(Comparison.objects.order_by("id").values_list("external_id", flat=True)) == IDS
    assert list(Annotation.objects.order_by("id").values_list("preference", flat=True)) == [-1, 1, 2, -2, 3, 0]


@pytest.mark.parametrize(
    "text", ["42", "007", "1999", "2.0", "[1, 2]", '[{"a":1}]', '{"a": 1}', "true", '[{"role": 1}]']
)
@pytest.mark.parametrize("name", ["mapped", "helpsteer2-preference", "helpsteer3-preference", "trl", "native"])
def test_a_text_stays_the_text_that_it_is(tmp_path, name, text):
    """Whatever it looks like, wherever a text belongs."""
    quoted = cell(text)
    header, row, options = {
        "mapped": ("q,a,b,m,r", [quoted, quoted, '"x"', quoted, quoted], {"mapping": MAPPED}),
        "helpsteer2-preference": (
            "prompt,response_1,response_2,preference_strength",
            [quoted, quoted, '"x"', "-2"],
            {},
        ),
        "helpsteer3-preference": (
            "context,response1,response2,overall_preference",
            [cell([{"role": "user", "content": text}]), quoted, '"x"', "-2"],
            {},
        ),
        "trl": ("prompt,chosen,rejected,margin", [quoted, quoted, '"x"', "2"], {}),
        "native": ("prompt,responses,reference", [quoted, cell([text, "x"]), quoted], {}),
    }[name]
    (pair,) = pairs(written(tmp_path, header, ",".join(row)), **options)
    assert json.loads(pair.messages) == [{"role": "user", "content": text}]
    assert pair.texts == (text, "x")
    if name == "mapped":
        assert (pair.models[0], pair.reference, pair.metadata) == (text, text, {"q": text})
    elif name != "native":
        assert [label.preference for label in pair.annotations] == [-2]


def test_only_what_a_column_is_for_is_read_as_json_or_a_number(tmp_path):
    talk = [{"role": "user", "content": "Hi?"}]
    header = "turns,answers,topic,metadata"
    values = ",".join([cell(talk), cell({"x": [{"t": "5"}, {"t": "6"}]}), "+49", cell({"zip": "00123"})])
    mapping = {"messages": "turns", "response_1": "/answers/x/0/t", "response_2": "/answers/x/1/t"}
    (pair,) = pairs(
        written(tmp_path, header, values), mapping={**mapping, "metadata": ["topic", "answers", "metadata"]}
    )
    assert (json.loads(pair.messages), pair.texts) == (talk, ("5", "6"))
    assert pair.metadata == {
        "topic": "+49",
        "answers": '{"x": [{"t": "5"}, {"t": "6"}]}',
        "metadata": {"zip": "00123"},
    }


@pytest.mark.parametrize(
    ("header", "values", "preference"),
    [
        ("prompt,chosen,rejected,margin", "a,b,c,2.7", -3),
        ("prompt,chosen,rejected,margin", "a,b,c,2", -2),
        ("prompt,chosen,rejected,margin", "a,b,c,1e9", -3),
        ("prompt,chosen,rejected,margin", "a,b,c,much", -1),
        ("prompt,response_1,response_2,preference_strength", "a,b,c,-2.0", -2),
    ],
)
def test_a_number_in_a_cell_is_that_number(tmp_path, header, values, preference):
    (pair,) = pairs(written(tmp_path, header, values))
    assert [label.preference for label in pair.annotations] == [preference]


@pytest.mark.django_db
@pytest.mark.parametrize("margin", [2.7, "2.7", " +2.7", "27e-1", "3"])
def test_a_margin_is_the_same_strength_as_a_number_and_as_a_text(project, margin):
    load(project, {"prompt": "a", "chosen": "b", "rejected": "c", "margin": margin})
    assert Annotation.objects.get().preference == -3


def test_ratings_and_conversations_are_still_read(tmp_path):
    header = "prompt,response,helpfulness,correctness"
    (pair,) = pairs(written(tmp_path, header, 'p,7,"[1, 2]","[3, 3]"', 'p,8,"[4, 4]","[0, 1]"'))
    assert pair.texts == ("7", "8")
    assert [label.ratings[1] for label in pair.annotations] == [
        {"helpfulness": 4, "correctness": 0},
        {"helpfulness": 4, "correctness": 1},
    ]
    sides = [cell([{"role": "assistant", "content": text}]) for text in ("7", "8")]
    prompt = cell([{"role": "user", "content": "Hi?"}])
    for before in (prompt, "Hi?"):
        (pair,) = pairs(written(tmp_path, "prompt,chosen,rejected", ",".join([before, *sides])))
        assert (json.loads(pair.messages)[0]["content"], pair.texts) == ("Hi?", ("7", "8"))


def test_json_in_a_cell_is_checked_like_any_other(tmp_path):
    header = "prompt,responses,metadata"
    good, nul, deep = '["a","b"]', '{"a": "\\u0000"}', '{"a":' * 45 + "1" + "}" * 45
    path = written(tmp_path, header, *(f"p,{cell(good)},{cell(json_text)}" for json_text in (nul, deep, "plain", "{}")))
    with rows_of(path, file_name=path.name) as rows:
        found = [unit for _, unit in pairs_of(rows)]
    assert [bad.reason[:21] for bad in found if isinstance(bad, BadRow)] == [
        "The row has a NUL cha",
        "The row is nested mor",
        "Expected JSON in this",
    ]
    assert found[3][0].metadata == {}


# --- Our own exports ---

HOSTILE = [
    "'+5",
    "''=1",
    "'",
    "''",
    "'x",
    "@x",
    "-1",
    "=1+1",
    "\tx",
    "\rx",
    "\n=1",
    "'\n",
    "＝1",
    "+",
    "42",
    "007",
    "[1, 2]",
]
HOSTILE += ['[{"a": 1}]', '[{"role": "user", "content": "x"}]', '","', 'a "b"', "", " ", "None", "1e5", "true", "-1.50"]


def our_formats():
    """Return the formats with texts that are recognised when they come in."""
    return [
        name
        for name, made in FORMATS.items()
        if shape_of(dict.fromkeys(made.columns, "x")) is not None and "string" in made.columns.values()
    ]


def test_every_export_that_can_come_back_is_known_by_its_first_line():
    headers = {",".join(FORMATS[name].columns) for name in our_formats()}
    assert {header for header in headers if not set(header.split(",")) >= OUR_COLUMNS} == OUR_HEADERS


def exported(path, name, rows):
    file = Csv(HashedFile(path), FORMATS[name].columns)
    file.write(rows, 0)
    file.close()
    return path


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", our_formats())
def test_a_hostile_text_comes_back_from_our_own_csv(tmp_path, name, text):
    row = {column: text if kind == "string" else 1 for column, kind in FORMATS[name].columns.items()}
    if name == "annotations":
        row |= {"messages": [], "responses": [text], "metadata": {"a": text}, "consensus": {}, "annotations": []}
    row |= {
        column: [] for column, value in row.items() if value == 1 and isinstance(FORMATS[name].columns[column], list)
    }
    path = exported(tmp_path / "a.csv", name, [row])
    with rows_of(path, file_name="a.csv") as rows:
        ((_, read),) = rows
    texts = {column for column, kind in FORMATS[name].columns.items() if kind == "string"}
    assert {column: read[column] or "" for column in texts} == dict.fromkeys(texts, text)


@pytest.mark.parametrize("prompt", [text for text in HOSTILE if text.strip()])
def test_texts_of_our_own_csv_are_never_taken_for_messages(tmp_path, prompt):
    row = {"prompt": prompt, "chosen": prompt, "rejected": "'-", "margin": 2.0}
    (pair,) = pairs(exported(tmp_path / "a.csv", "trl-preference", [row]))
    assert json.loads(pair.messages) == [{"role": "user", "content": prompt}]
    assert pair.texts == (prompt, "'-")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("prompt,chosen,rejected,margin", "'+5,'-1,'=2,2.0"),
        ('"prompt","chosen","rejected","margin"', '"\'+5","\'-1","\'=2","2.0"'),
        ("prompt,chosen,rejected", '"\'+5","\'-1","\'=2"'),
        ("prompt;chosen;rejected;margin", '"\'+5";"\'-1";"\'=2";2.0'),
    ],
)
def test_the_apostrophes_of_others_are_theirs(tmp_path, header, row):
    (pair,) = pairs(written(tmp_path, header, row))
    assert (json.loads(pair.messages)[0]["content"], pair.texts) == ("'+5", ("'-1", "'=2"))


# --- Other readers of the same files ---


def test_prompts_of_a_benchmark_in_csv_are_texts_or_what_the_user_says(tmp_path):
    talk = [{"role": "user", "content": "one two three"}, {"role": "assistant", "content": "four five six"}]
    for name, value, wanted in (("messages", json.dumps(talk), "one two three"), ("question", "1999", "1999")):
        path = tmp_path / "a.csv.gz"
        path.write_bytes(gzip.compress(f"{name},x\n{cell(value)},1\n".encode()))
        benchmark = read_benchmark(path)
        assert [benchmark.match(text) for text in (wanted, "four five six")] == [0, None]


def test_a_reward_benchmark_in_csv_has_texts_and_messages(tmp_path, settings):
    settings.BENCHMARKS_DIR = tmp_path
    sides = [cell([{"role": "assistant", "content": text}]) for text in "ab"]
    written(tmp_path, "id,subset,prompt,chosen,rejected", "007,x,1999,42,[1]", f"8,x,Hi?,{sides[0]},{sides[1]}")
    with benchmark_rows({"path": "a.csv", "name": "a.csv"}, lambda dataset: iter(())) as (rows, _):
        (_, first), (_, second) = rows
    assert first == {"id": "007", "subset": "x", "prompt": "1999", "chosen": "42", "rejected": "[1]"}
    assert (second["prompt"], second["chosen"]) == ("Hi?", json.loads(sides[0].strip('"').replace('""', '"')))
