"""What docs/client.md and docs/webhooks.md show runs, in the order in which it stands there."""

import json
import re
import shlex
from pathlib import Path

import pytest
from django.utils import timezone
from standardwebhooks import WebhookVerificationError

from apps.webhooks.events import EVENTS, TEST
from apps.webhooks.signing import new_seed, secret_of, signed_headers
from tests.client.conftest import answering, row
from tiebreak import Tiebreak
from tiebreak.command import _parser

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / document).read_text(), re.S)


def test_the_examples_of_the_client_run(live_server, token, worker, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIEBREAK_URL", live_server.url)
    monkeypatch.setenv("TIEBREAK_TOKEN", token)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row(number)) + "\n" for number in range(30)))
    known: dict[str, object] = {}
    examples = blocks("client.md", "python")
    shown = [example for example in examples if "client.score(" not in example]  # that one: the next test
    assert (len(examples), len(shown)) == (7, 6)
    for example in shown:
        exec(compile(example, "docs/client.md", "exec"), known)
    known["client"].close()
    said = capsys.readouterr().out
    assert "tides manager" in said
    assert "30 comparisons" in said
    assert len(known["votes"]) == 90
    assert {path.name for path in known["paths"]} == {"hs2-train.jsonl", "hs2-test.jsonl"}
    assert (tmp_path / "data" / "train.jsonl").exists()
    assert re.search(r"^4(09|22) |already", said, re.M)


def test_the_example_of_scoring_runs_against_what_the_contract_says(capsys):
    (example,) = [each for each in blocks("client.md", "python") if "client.score(" in each]
    model = {"id": "7", "version": 2, "state": "current", "metrics": {}, "decision": "It is the first version."}

    def contract(request):
        if request.path.startswith("/api/v1/projects/tides/reward-models/"):
            said = {"results": [{**model, "id": "6", "state": "retired"}, model], "next": None, "previous": None}
        else:
            assert request.path == "/api/v1/reward-models/7/score/"
            assert json.loads(request.sent)["shaping"] == "none"
            said = {"rewards": [1.25], "model": "7", "shaping": "none"}
        return 200, {}, json.dumps(said).encode()

    with answering(contract) as url, Tiebreak(url, "tb_x") as client:
        exec(compile(example, "docs/client.md", "exec"), {"client": client})
    assert capsys.readouterr().out == "1.25\n"


def test_the_commands_of_the_guide_are_commands():
    lines = [line for block in blocks("client.md", "sh") for line in block.splitlines() if line.startswith("tiebreak ")]
    assert len(lines) == 6
    for line in lines:
        assert _parser().parse_args(shlex.split(line)[1:]).run


def test_the_receiver_of_the_guide_checks_a_message():
    known: dict[str, object] = {}
    (example,) = blocks("webhooks.md", "python")
    exec(compile(example, "docs/webhooks.md", "exec"), known)
    (message,) = blocks("webhooks.md", "json")
    seed = new_seed()
    headers = signed_headers(event_id="msg_1", payload=message, seeds=[seed], now=timezone.now())
    receive = known["receive"]
    assert receive(headers, message.encode(), secret_of(seed))["data"]["snapshot"] == "4"
    with pytest.raises(WebhookVerificationError):
        receive(headers, message.replace("tides", "waves").encode(), secret_of(seed))


def test_every_event_stands_in_the_guide():
    listed = re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", (DOCS / "webhooks.md").read_text(), re.M)
    assert listed == [*EVENTS, TEST]
