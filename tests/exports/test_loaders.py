"""The tools that snapshots are made for read them: datasets, TRL, NeMo RL, OpenRLHF, Croissant."""

import csv
import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

datasets = pytest.importorskip("datasets")

from django.core.management import call_command  # noqa: E402

from apps.core.artifacts import artifact_storage  # noqa: E402
from apps.exports.formats import FORMATS  # noqa: E402
from apps.exports.services import export_folder  # noqa: E402
from tests.exports.rows import labels, rows_of, written  # noqa: E402
from tests.imports.test_imports import load, row  # noqa: E402

pytestmark = pytest.mark.django_db
SPLITS = {"train": 0.5, "validation": 0.5}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Look for nothing on the hub. Not through the environment: other tests start processes, which inherit it."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def snapshot(project):
    """Twenty comparisons with every kind of outcome, written in every format."""
    outcomes = [(2, 3, 3), (-1, -2, -2), ("neither", "neither", "neither"), (-1, -1, 1), (3, "neither", 2, 3)]
    for number in range(20):
        load(
            project,
            row(
                external_id=f"q-{number}",
                messages=[{"role": "user", "content": f'Question {number}, "with" =quotes'}],
                responses=[
                    {"text": f"=Answer {number}", "model": "a"},
                    {"text": f"Other\nanswer {number}", "model": "b"},
                ],
                annotations=labels(*outcomes[number % 5]),
                metadata={"domain": "chat"} if number % 2 else {"number": number},
            ),
        )
    encodings = ["jsonl", "parquet", "csv", "csv.gz"]
    return written(project, {"name": "All of it", "splits": SPLITS, "seed": 1, "encodings": encodings})


@pytest.fixture
def folder(snapshot):
    return Path(artifact_storage().path(snapshot.folder))


def read(encoding, path, cache):
    return datasets.load_dataset(encoding, data_files=str(path), cache_dir=str(cache))["train"]


@pytest.mark.parametrize("encoding", ["json", "parquet", "csv"])
def test_datasets_reads_every_format(snapshot, folder, tmp_path, encoding):
    ending = {"json": "jsonl"}.get(encoding, encoding)
    for name, export_format in FORMATS.items():
        data = read(encoding, folder / name / f"train.{ending}", tmp_path)
        rows = rows_of(snapshot, name)
        assert (len(data), set(data.column_names)) == (len(rows), set(export_format.columns)), name
        if encoding == "json" or (encoding == "parquet" and name != "annotations"):
            assert list(data) == rows, name


def test_a_csv_has_the_texts_of_the_json_lines(snapshot, folder):
    with (folder / "trl-preference/train.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    expected = rows_of(snapshot, "trl-preference")
    assert [(row["prompt"], float(row["margin"])) for row in rows] == [
        (row["prompt"], row["margin"]) for row in expected
    ]
    assert {row["chosen"].removeprefix("'") for row in rows} == {row["chosen"] for row in expected}


def test_the_whole_snapshot_is_a_dataset_by_its_card(snapshot, folder, tmp_path):
    assert set(datasets.get_dataset_config_names(str(folder))) == set(FORMATS)
    data = datasets.load_dataset(str(folder), "trl-preference", cache_dir=str(tmp_path))
    assert set(data) == set(SPLITS)
    assert list(data["validation"]) == rows_of(snapshot, "trl-preference", "validation")
    everything = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))["train"]
    assert everything["external_id"] == [row["external_id"] for row in rows_of(snapshot, "annotations")]


def test_the_card_types_columns_as_datasets_does(folder):
    front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert front["pretty_name"] == "All of it"
    for described in front["dataset_info"]:
        name = described["config_name"]
        features = datasets.Features._from_yaml_list(described["features"])
        assert features.arrow_schema.equals(pq.read_schema(folder / name / "train.parquet")), name


@pytest.mark.parametrize("encoding", ["jsonl", "parquet", "csv"])
def test_an_exported_folder_is_a_dataset_too(snapshot, tmp_path, encoding):
    options = {"format": "trl-preference", "output": tmp_path / "out", "encoding": encoding}
    call_command("export_snapshot", "tides", **options)
    data = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path))
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert len(data["train"]) == manifest["files"][f"trl-preference/train.{encoding}"]["rows"] > 0


def test_croissant_is_valid_and_reads_the_rows(snapshot, folder):
    croissant = pytest.importorskip("mlcroissant")
    dataset = croissant.Dataset(folder / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    records = list(dataset.records("trl-preference-train"))
    expected = rows_of(snapshot, "trl-preference")
    assert [record["trl-preference-train/chosen"].decode() for record in records] == [row["chosen"] for row in expected]
    listed = {
        entry["@id"]: entry["sha256"] for entry in json.loads((folder / "croissant.json").read_text())["distribution"]
    }
    assert listed == {name: entry["sha256"] for name, entry in snapshot.manifest["files"].items() if name in listed}
    assert len(listed) == len(FORMATS) * len(SPLITS)


def recorded(value, kind, encoding):
    """Return a value of a file as mlcroissant gives it: text as bytes, an object as a dict of its typed parts."""
    if value is None:
        return None
    if isinstance(kind, list):
        return [recorded(item, kind[0], encoding) for item in value]
    if isinstance(kind, dict):
        return {name: recorded(value[name], part, encoding) for name, part in kind.items() if is_typed(part, encoding)}
    return value if kind in ("int", "float", "bool") else str(value).encode()


def is_typed(kind, encoding):
    while isinstance(kind, list):
        kind = kind[0]
    return kind != "json" or encoding != "jsonl"


def named(value):
    """Return what mlcroissant gives without the path in each field's name."""
    if isinstance(value, list):
        return [named(item) for item in value]
    if isinstance(value, dict):
        return {name.rpartition("/")[2]: named(part) for name, part in value.items()}
    return value


def rows_in(path, columns):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    typed = {"int": int, "float": float, "bool": "True".__eq__}
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as lines:
        return [
            {name: typed.get(str(columns[name]), str)(cell) if cell else None for name, cell in row.items()}
            for row in csv.DictReader(lines)
        ]


@pytest.mark.parametrize("encoding", ["jsonl", "parquet", "csv", "csv.gz"])
def test_croissant_reads_every_format_in_every_encoding(snapshot, tmp_path, encoding, caplog):
    croissant = pytest.importorskip("mlcroissant")
    for name, export_format in FORMATS.items():
        out = tmp_path / name
        out.mkdir()
        export_folder(snapshot=snapshot, export_format=name, encoding=encoding, folder=out)
        dataset = croissant.Dataset(out / "croissant.json")
        assert not dataset.metadata.ctx.issues.errors, name
        assert "@context" not in caplog.text  # the standard's own
        columns = {column: kind for column, kind in export_format.columns.items() if is_typed(kind, encoding)}
        flat = {column: kind if isinstance(kind, str) else "json" for column, kind in columns.items()}
        for split in SPLITS:
            rows = rows_in(out / f"{split}.{encoding}", columns)
            kinds = flat if encoding.startswith("csv") else columns
            expected = [
                {column: recorded(row[column], kind, encoding) for column, kind in kinds.items()} for row in rows
            ]
            found = [named(record) for record in dataset.records(f"{name}-{split}")]
            if name == "nemo-rl" and not encoding.startswith("csv"):
                # mlcroissant has one level of parts: the one turn of each completion lies beside it
                for record in found:
                    record["completions"] = [
                        {**ranked, "completion": [turn]}
                        for ranked, turn in zip(record["completions"], record.pop("completion"), strict=True)
                    ]
            assert found == expected, (name, split)
            assert rows, (name, split)


def test_nemo_rl_reads_ranks_and_pairs(folder, tmp_path):
    """The loop of NeMo RL's nemo_rl/data/datasets/preference_datasets and data/processors, retold.

    A rank file is used as it is; of two completions the one with the lower rank is chosen, and context and completion
    are one conversation. A pair file becomes a rank file first.
    """
    ranks = read("json", folder / "nemo-rl/train.jsonl", tmp_path)
    pairs = read("json", folder / "trl-preference/train.jsonl", tmp_path)

    def chosen_and_rejected(data):
        completions = sorted(data["completions"], key=lambda completion: completion["rank"])
        assert [completion["rank"] for completion in completions] == [0, 1]
        return [data["context"] + completion["completion"] for completion in completions]

    def from_pair(data):
        context = data["prompt"] if isinstance(data["prompt"], list) else [{"role": "user", "content": data["prompt"]}]
        sides = [[{"role": "assistant", "content": data[side]}] for side in ("chosen", "rejected")]
        return {
            "context": context,
            "completions": [{"rank": rank, "completion": side} for rank, side in enumerate(sides)],
        }

    conversations = [chosen_and_rejected(data) for data in ranks]
    assert conversations == [chosen_and_rejected(from_pair(data)) for data in pairs]
    assert all(conversation[-1]["role"] == "assistant" for pair in conversations for conversation in pair)


def test_openrlhf_cuts_the_prompt_off_both_sides(folder, tmp_path):
    """As openrlhf/datasets/reward_dataset.py does with --data.prompt_key prompt and --data.apply_chat_template."""
    data = read("json", folder / "openrlhf/train.jsonl", tmp_path)

    def template(messages, add_generation_prompt=False):
        turns = "".join(f"<{message['role']}>{message['content']}</>" for message in messages)
        return turns + ("<assistant>" if add_generation_prompt else "")

    for each in data:
        prompt = template(each["prompt"], add_generation_prompt=True)
        for side in ("chosen", "rejected"):
            assert template(each["prompt"] + each[side])[len(prompt) :] == each[side][0]["content"] + "</>"
        assert each["margin"] > 0


def test_trl_trains_a_reward_model_on_the_file(folder, tmp_path):
    pytest.importorskip("trl")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast
    from trl import RewardConfig, RewardTrainer

    words = Tokenizer(models.WordLevel({"<eos>": 0, "<unk>": 1, "Answer": 2, "Other": 3, "Question": 4}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=8, num_labels=1, pad_token_id=0, eos_token_id=0, bos_token_id=None, **shape)
    for name in ("trl-preference", "trl-preference-implicit-conversational"):
        trainer = RewardTrainer(
            LlamaForSequenceClassification(config),
            args=RewardConfig(
                output_dir=str(tmp_path / name),
                max_steps=2,
                per_device_train_batch_size=2,
                report_to=[],
                use_cpu=True,
                bf16=False,
                disable_tqdm=True,
                save_strategy="no",
            ),
            processing_class=tokenizer,
            train_dataset=read("json", folder / name / "train.jsonl", tmp_path / "cache"),
        )
        assert trainer.train().training_loss > 0
