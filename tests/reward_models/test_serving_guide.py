"""What docs/serving.md shows runs, and the client package scores end to end: real sockets, from curl to the model."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from apps.accounts.services import create_token
from tiebreak import AsyncTiebreak, Tiebreak

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text()
ITEMS = [
    {"messages": [{"role": "user", "content": "why is the tide"}], "response": response}
    for response in ("the moon", "bad")
]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.S)


@pytest.mark.django_db(transaction=True)
def test_the_guide_and_the_client_score(live_server, reward_server, researcher, make_model, tmp_path, monkeypatch):
    model = make_model("mean")
    token = create_token(user=researcher, name="trainer", scope="read", projects=["tides"])[1]
    known = {
        "API": f"{live_server.url}/api/v1",
        "RM": f"{live_server.url}/rm/tides",
        "AUTH": f"Authorization: Bearer {token}",
        "JSON": "Content-Type: application/json",
        "TOKEN": token,
    }
    text = "\n".join(block.strip() for block in blocks("sh") if block.startswith("curl"))
    asked = re.split(r"\n(?=curl)", text.replace("reward-models/1/", f"reward-models/{model.pk}/"))
    assert len(asked) == 11
    script = "; echo ,; ".join(asked)
    done = subprocess.run(["bash", "-euc", script], env={**os.environ, **known}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, openrlhf, chat, messages, score, rerank, pooling, sglang, embedding, tei, gym = json.loads(f"[{done.stdout}]")
    assert len(ours["intervals"]) == len(openrlhf["rewards"]) == len(rerank["results"]) == len(embedding["data"]) == 1
    same = pytest.approx(messages["data"][0]["probs"][0], abs=1e-5)
    assert [chat["data"][0]["probs"][0], score["data"][0]["score"], tei[0][0]["score"], gym["reward"]] == [same] * 4
    assert [row["embedding"] for row in sglang] == [pytest.approx(row["data"], abs=1e-5) for row in pooling["data"]]

    with Tiebreak(live_server.url, token) as client:
        rewards = client.score(str(model.pk), ITEMS).rewards
        assert client.score(str(model.pk), ITEMS, shaping="tanh").shaping == "tanh"

    async def score_async():
        async with AsyncTiebreak(live_server.url, token) as client:
            return (await client.score(str(model.pk), ITEMS)).rewards

    assert asyncio.run(score_async()) == pytest.approx(rewards, abs=1e-5)
    command = subprocess.run(
        [sys.executable, "-m", "tiebreak", "score", str(model.pk), "-"],
        env={**os.environ, "PYTHONPATH": "client/src", "TIEBREAK_URL": live_server.url, "TIEBREAK_TOKEN": token},
        input="".join(json.dumps(item) + "\n" for item in ITEMS),
        capture_output=True,
        text=True,
    )
    assert command.returncode == 0, command.stderr
    printed = [json.loads(line)["reward"] for line in command.stdout.splitlines()]
    assert printed == pytest.approx(rewards, abs=1e-5)

    for name in ("RM", "TOKEN"):
        monkeypatch.setenv(name, known[name])
    (example,) = blocks("python")
    functions: dict = {}
    exec(compile(example, "docs/serving.md", "exec"), functions)
    prompts = [item["messages"] for item in ITEMS]
    completions = [[{"role": "assistant", "content": item["response"]}] for item in ITEMS]
    assert functions["tiebreak_reward"](prompts, completions) == pytest.approx(rewards, abs=1e-5)
    texts = [turns[0]["content"] for turns in prompts], [turns[0]["content"] for turns in completions]
    assert functions["tiebreak_reward"](*texts) == pytest.approx(rewards, abs=1e-5)
    functions["client"].close()


def test_every_address_and_every_shape_stands_in_the_guide():
    from apps.reward_models.serving_urls import POSTS
    from worker.core.shaping import SHAPERS

    assert [name for name in POSTS if f"{name}" not in GUIDE] == []
    assert re.findall(r"^\| `(\w+)` \|", GUIDE, re.M)[: len(SHAPERS)] == list(SHAPERS)


@pytest.mark.django_db
def test_the_page_says_where_the_current_version_answers(client, researcher, make_model):
    client.force_login(researcher)
    address = "http://testserver/rm/tides"
    assert address not in client.get("/projects/tides/reward-models/").content.decode()
    make_model()
    page = client.get("/projects/tides/reward-models/").content.decode()
    assert f"{address}/score" in page
