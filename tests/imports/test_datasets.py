"""A dataset of the Hugging Face hub is read row by row by a worker; the library reads its address when it is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.imports.services import run_import, start_import_of_dataset
from apps.jobs.models import Job
from apps.prompts.models import Comparison
from tests.factories import ProjectFactory
from tests.imports.hub import hub
from tests.imports.rows import lines, row
from worker.core.hub import DatasetUnavailable, dataset_rows, folder_rows
from worker.tasks.datasets import import_pairs

ROWS = [{"prompt": f"Question {n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(30)]
ROOT = Path(__file__).parents[2]
_READ = """
import json, sys
from worker.core.hub import DatasetUnavailable, dataset_rows
try:
    print(json.dumps(list(dataset_rows(json.loads(sys.argv[1])))))
except DatasetUnavailable as error:
    print(json.dumps(str(error)))
"""


def read(dataset, endpoint, home):
    """Read a dataset in a process of its own, as a worker with this HF_ENDPOINT."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if "proxy" not in name.lower() and not name.startswith(("HF_", "HUGGING"))
    }
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", _READ, json.dumps(dataset)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_dataset_of_the_hub_is_read_split_by_split(tmp_path):
    files = {"data/train.jsonl": lines(ROWS), "data/test.jsonl": lines(ROWS[:2]), "README.md": b"---\n---\n"}
    with hub("somebody/pairs", files) as endpoint:
        assert read({"name": "somebody/pairs"}, endpoint, tmp_path) == [[n, row] for n, row in enumerate(ROWS, start=1)]
        assert len(read({"name": "somebody/pairs", "split": "test"}, endpoint, tmp_path)) == 2
        assert "cannot be opened" in read({"name": "somebody/else"}, endpoint, tmp_path)


@pytest.mark.parametrize("name", ["json", "/etc", "../etc/passwd", "tests/imports", "https://evil.example/x", "a/b/c"])
def test_a_name_is_never_a_folder_a_builder_or_an_address(name):
    with pytest.raises(DatasetUnavailable, match="is not the name of a dataset"):
        list(dataset_rows({"name": name}))


@pytest.mark.django_db
def test_rows_of_a_dataset_come_in_like_those_of_a_file(project, tmp_path):
    (tmp_path / "train.jsonl").write_bytes(lines(ROWS))
    made = start_import_of_dataset(project=project, dataset={"name": "somebody/pairs"}, created_by=None)
    report = run_import(
        made=made, on_batch=lambda rows: None, dataset_rows=lambda dataset: folder_rows(tmp_path, "train")
    )
    assert (report.created, Comparison.objects.count()) == (30, 30)


def test_the_fake_hub_answers_what_is_asked(tmp_path):
    with hub("somebody/pairs", {"train.jsonl": lines([row()])}) as endpoint:
        assert "cannot be opened" in read({"name": "somebody/pairs", "split": "nothing"}, endpoint, tmp_path)


@pytest.mark.django_db(transaction=True)
def test_a_dataset_that_cannot_be_read_fails_its_job_with_a_sentence():
    made = start_import_of_dataset(project=ProjectFactory(), dataset={"name": "tests/imports"}, created_by=None)
    import_pairs(made.job_id)
    job = Job.objects.get(pk=made.job_id)
    assert (job.state, "is not the name of a dataset" in job.error) == ("failed", True)
