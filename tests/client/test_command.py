"""The command `tiebreak`: exit codes, one sentence on standard error, and a key that nobody else can read."""

import io
import json
import stat
import sys

import pytest

from tests.client.conftest import answering, row
from tests.factories import ProjectFactory
from tiebreak import command as module
from tiebreak import credentials


def test_projects_are_listed(command):
    done = command("projects")
    assert (done.returncode, done.stdout, done.stderr) == (0, "tides\tmanager\tTides\n", "")
    assert json.loads(command("projects", "--json").stdout)["slug"] == "tides"


def test_import_export_and_watch(command, worker, pairs_file, tmp_path):
    pairs_file.write_text(pairs_file.read_text() + '{"prompt": "?"}\n')
    done = command("import", "pairs.jsonl", "--project", "tides")
    assert done.returncode == 0, done.stderr
    assert "created 20" in done.stdout
    assert "rejected 1" in done.stdout
    assert "line 21: " in done.stderr
    done = command("export", "tides", "--format", "trl-preference", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "train.jsonl",
        "validation.jsonl",
    ]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert done.stdout.splitlines()[-1] == f"Snapshot {manifest['id']}, content {manifest['content_hash']}"
    again = command(
        "export", "tides", "--format", "annotations", "--output", "out2", "--snapshot", manifest["id"], "--json"
    )
    assert json.loads(again.stdout)["content_hash"] == manifest["content_hash"]
    wrong = command(
        "export", "tides", "--format", "annotations", "--as", "xml", "--output", "o", "--snapshot", manifest["id"]
    )
    assert wrong.returncode == 1
    assert "There is no format annotations as xml. The snapshot has annotations as " in wrong.stderr
    rows = [json.loads(line) for line in (tmp_path / "out2" / "train.jsonl").read_text().splitlines()]
    assert rows
    assert "consensus" in rows[0]
    watched = command("watch", manifest["job"]["id"])
    assert watched.stdout == f"Job {manifest['job']['id']} (snapshot) succeeded.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("import", "missing.jsonl", "--project", "tides"), 1, "missing.jsonl: No such file or directory."),
        (("export", "nowhere", "--format", "annotations", "--output", "o"), 1, "There is no such project"),
        (("watch", "999"), 1, "There is no such job"),
        (("score", "1", "missing"), 1, "missing: No such file or directory."),
        (("import", "x", "--project", "p", "--options", "[]"), 2, "expected a JSON object"),
        (("watch",), 2, "usage: tiebreak watch"),
        (("dance",), 2, "invalid choice"),
    ],
)
def test_what_goes_wrong_is_one_sentence(command, token, arguments, code, said):
    done = command(*arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert token not in done.stderr + done.stdout


def test_a_server_that_is_away_has_a_code_of_its_own(command, monkeypatch, capsys):
    monkeypatch.setenv("TIEBREAK_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TIEBREAK_TOKEN", "tb_x")
    monkeypatch.setattr("tiebreak.exchange.Retries.pause", lambda self, attempt: 0.0)
    assert module.main(["projects"]) == 3
    assert "tiebreak: http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err


def test_a_failed_job_fails_the_command(command, transactional_db):
    from apps.jobs.models import Job
    from apps.projects.models import Project

    job = Job.objects.create(
        project=Project.objects.get(slug="tides"), kind="scoring", state="failed", error="No model."
    )
    done = command("watch", str(job.pk))
    assert (done.returncode, done.stderr) == (1, f"tiebreak: Job {job.pk} (scoring) failed: No model.\n")


def test_without_a_key_it_says_what_to_do(command):
    done = command("projects", TIEBREAK_URL="", TIEBREAK_TOKEN="")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "tiebreak: There is no key yet: run `tiebreak login`, or set TIEBREAK_URL and TIEBREAK_TOKEN.\n"
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("TIEBREAK_URL", raising=False)
    monkeypatch.delenv("TIEBREAK_TOKEN", raising=False)
    return tmp_path / "tiebreak" / "credentials.toml"


def login(monkeypatch, url, key):
    monkeypatch.setattr(module, "getpass", lambda prompt: key)
    return module.main(["login", "--url", url])


def test_login_checks_the_key_and_keeps_it_for_its_owner_only(home, live_server, token, monkeypatch, capsys):
    assert login(monkeypatch, f"{live_server.url}/", token) == 0
    assert "it sees tides" in capsys.readouterr().out
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.parent.stat().st_mode) & 0o077 == 0
    assert module.main(["projects"]) == 0
    assert capsys.readouterr().out == "tides\tmanager\tTides\n"
    home.chmod(0o644)
    assert module.main(["projects"]) == 1
    assert "can be read by others" in capsys.readouterr().err


def test_a_wrong_key_is_not_kept(home, live_server, manager, monkeypatch, capsys):
    assert login(monkeypatch, live_server.url, "tb_wrong") == 1
    said = capsys.readouterr().err
    assert "does not take this key" in said
    assert "tb_wrong" not in said
    assert not home.exists()


def test_the_environment_wins_and_a_stored_key_goes_to_no_other_address(home, live_server, token, monkeypatch, capsys):
    credentials.save(credentials.Target("https://stored.example.org", "tb_stored"))
    monkeypatch.setenv("TIEBREAK_URL", live_server.url)
    assert module.main(["projects"]) == 1
    assert "the stored key is for https://stored.example.org" in capsys.readouterr().err
    monkeypatch.setenv("TIEBREAK_TOKEN", token)
    assert module.main(["projects"]) == 0
    monkeypatch.delenv("TIEBREAK_URL")
    monkeypatch.delenv("TIEBREAK_TOKEN")
    assert credentials.load() == credentials.Target("https://stored.example.org", "tb_stored")


def test_odd_characters_of_a_key_survive_the_file(home):
    target = credentials.Target("https://example.org", 'a"b\\c#d')
    credentials.save(target)
    assert credentials.load() == target


def test_scoring_reads_lines_and_adds_rewards(token, monkeypatch, capsys):
    """The contract's `reward-models/{id}/score/`, from a server that answers with the length of each response."""
    asked = []

    def scoring(request):
        body = json.loads(request.sent)
        asked.append(body)
        rewards = [len(item["response"]) / 2 for item in body["items"]]
        return 200, {}, json.dumps({"rewards": rewards, "model": "7", "shaping": body["shaping"]}).encode()

    items = [{"messages": [{"role": "user", "content": "?"}], "response": "x" * (n % 7)} for n in range(300)]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(item) + "\n" for item in items)))
    with answering(scoring) as url:
        monkeypatch.setenv("TIEBREAK_URL", url)
        monkeypatch.setenv("TIEBREAK_TOKEN", token)
        assert module.main(["score", "7", "-", "--shaping", "par"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reward"] for line in lines] == [len(item["response"]) / 2 for item in items]
    assert [{name: line[name] for name in ("messages", "response")} for line in lines] == items
    assert [len(body["items"]) for body in asked] == [256, 44]
    assert {body["shaping"] for body in asked} == {"par"}


def test_a_line_that_is_no_item_is_named(home, monkeypatch, capsys):
    monkeypatch.setenv("TIEBREAK_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TIEBREAK_TOKEN", "tb_x")
    for text, said in (("{}\n", "expected an object"), ("\n{\n", "line 2: this is not JSON")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert module.main(["score", "7", "-"]) == 1
        assert said in capsys.readouterr().err


def test_rows_of_other_projects_stay_there(command, worker, tmp_path):
    ProjectFactory(slug="waves")
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row(1)) + "\n")
    done = command("import", "pairs.jsonl", "--project", "waves")
    assert (done.returncode, "no such project" in done.stderr) == (1, True)
