"""The command `tiebreak`: exit codes, one sentence on standard error, and a key that nobody else can read."""

import gzip
import io
import json
import stat
import sys

import pytest

from apps.exports.models import Snapshot
from tests.client.conftest import answering, row
from tests.factories import ProjectFactory
from tiebreak import ApiError, credentials
from tiebreak import command as module


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
    assert command("import", "pairs.jsonl", "--project", "tides").returncode == 0  # everything is there already
    (tmp_path / "bad.jsonl").write_text('{"prompt": "?"}\n')
    done = command("import", "bad.jsonl", "--project", "tides")
    assert (done.returncode, "Nothing came in: every row was refused." in done.stderr) == (1, True)
    wrong = command("export", "tides", "--format", "trl", "--output", "o")
    assert (wrong.returncode, "/formats: Expected a list of these: annotations, " in wrong.stderr) == (1, True)
    assert not Snapshot.objects.exists()
    asked = ("--as", "jsonl.gz", "--split", "train=0.75", "--split", "test=0.25", "--seed", "3", "--card")
    done = command(
        "export", "tides", "--format", "annotations", "--output", "out", *asked, "--filters", '{"strength": {"min": 2}}'
    )
    assert done.returncode == 0, done.stderr
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    files = ["annotations/test.jsonl.gz", "annotations/train.jsonl.gz"]
    assert made == ["README.md", *files, "croissant.json", "manifest.json"]
    assert files[0] in (tmp_path / "out" / "README.md").read_text()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert sorted(manifest["files"]) == files
    assert (manifest["selection"]["seed"], manifest["selection"]["filters"]) == (3, {"strength": {"min": 2}})
    assert done.stdout.splitlines()[-1] == f"Snapshot {manifest['id']}, content {manifest['content_hash']}"
    again = command(
        *("export", "tides", "--format", "annotations", "--as", "jsonl.gz", "--output", "out2"),
        *("--snapshot", manifest["id"], "--json"),
    )
    assert json.loads(again.stdout)["content_hash"] == manifest["content_hash"]
    wrong = command(
        "export", "tides", "--format", "annotations", "--as", "xml", "--output", "o", "--snapshot", manifest["id"]
    )
    assert wrong.returncode == 1
    assert "has no annotations as xml. It has annotations as jsonl.gz." in wrong.stderr
    ProjectFactory(slug="waves")
    wrong = command("export", "waves", "--format", "annotations", "--output", "o", "--snapshot", manifest["id"])
    assert (wrong.returncode, "is not one of the project waves" in wrong.stderr) == (1, True)
    with gzip.open(tmp_path / "out2" / "train.jsonl.gz") as stream:
        rows = [json.loads(line) for line in stream]
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
        (("import", "x", "--project", "p", "--options", "{a"), 2, "expected a JSON object: Expecting property name"),
        (("export", "p", "--format", "f", "--output", "o", "--split", "test"), 2, "such as test=0.1, not 'test'"),
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


def login(monkeypatch, url, key, *, typed):
    monkeypatch.setattr(module, "getpass", lambda prompt: key)
    monkeypatch.setattr("sys.stdin", io.StringIO("" if typed else f"{key}\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: typed)
    return module.main(["login", "--url", url])


@pytest.mark.parametrize("typed", [True, False])
def test_login_checks_the_key_and_keeps_it_for_its_owner_only(home, live_server, token, monkeypatch, capsys, typed):
    assert login(monkeypatch, f"{live_server.url}/", token, typed=typed) == 0
    assert "it sees tides" in capsys.readouterr().out
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.parent.stat().st_mode) & 0o077 == 0
    assert module.main(["projects"]) == 0
    assert capsys.readouterr().out == "tides\tmanager\tTides\n"
    home.chmod(0o644)
    assert module.main(["projects"]) == 1
    assert "can be read by others" in capsys.readouterr().err


def test_a_wrong_key_is_not_kept(home, live_server, manager, monkeypatch, capsys):
    assert login(monkeypatch, live_server.url, "tb_wrong", typed=True) == 1
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
    monkeypatch.setattr(sys, "stdin", typed("".join(json.dumps(item) + "\n" for item in items).encode()))
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
    for text, said in (
        (b"{}\n", "expected an object"),
        (b"\n{\n", "line 2: this is not JSON"),
        (b'{"messages": "caf\xe9"}\n', "line 1: this is not UTF-8"),
    ):
        monkeypatch.setattr(sys, "stdin", typed(text))
        assert module.main(["score", "7", "-"]) == 1
        assert said in capsys.readouterr().err


def test_what_the_server_refuses_is_named_by_its_line(token, monkeypatch, capsys):
    def refusing(request):
        if len(json.loads(request.sent)["items"]) == 256:
            return 200, {}, json.dumps({"rewards": [0.5] * 256, "model": "7", "shaping": "none"}).encode()
        errors = [{"pointer": "/items/3/response", "detail": "Expected text."}]
        return 422, {}, json.dumps({"detail": "Expected text.", "errors": errors}).encode()

    line = json.dumps({"messages": [], "response": "x"}).encode() + b"\n"
    monkeypatch.setattr(sys, "stdin", typed(b"\n" + line * 300))
    with answering(refusing) as url:
        monkeypatch.setenv("TIEBREAK_URL", url)
        monkeypatch.setenv("TIEBREAK_TOKEN", token)
        assert module.main(["score", "7", "-"]) == 1
    assert capsys.readouterr().err == "tiebreak: -, line 261, /response: Expected text.\n"
    assert str(ApiError.of(422, {"detail": "Odd.", "errors": [{"pointer": "/a", "detail": "Odd."}]})) == "/a: Odd."


def typed(content):
    return io.TextIOWrapper(io.BytesIO(content))


def test_rows_of_other_projects_stay_there(command, worker, tmp_path):
    ProjectFactory(slug="waves")
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row(1)) + "\n")
    done = command("import", "pairs.jsonl", "--project", "waves")
    assert (done.returncode, "no such project" in done.stderr) == (1, True)
