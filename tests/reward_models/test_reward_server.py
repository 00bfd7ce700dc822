"""The web server and the reward server behind it: what goes wrong between them, and whom the latter trusts."""

import base64
import json
import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpcore
import openai
import pytest
import uvicorn
from django.test import Client
from starlette.testclient import TestClient

from apps.reward_models.reward_server import Turns, _pool, ask, server_token
from tests.api.conftest import problem
from tests.e2e.running import free_port, wait_until
from tests.reward_models.asking import LONG, PAIRS, Rm, items, score
from tests.reward_models.conftest import serving, stored
from worker.core.batching import Limits
from worker.core.reward_inputs import Pair, Text
from worker.core.scoring import Scorer
from worker.core.serving import ServedFeatures, measure
from worker.reward_server import RewardServer, Version, model_app
from worker.serve import ServeError, listening

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def api(researcher):
    """A researcher whose token may only read."""
    return Rm(researcher, scope="read")


def test_without_the_reward_server_it_is_503_with_what_to_do(api, make_model, settings, tmp_path):
    settings.REWARD_SERVER_URL = f"unix:{tmp_path / 'nobody.sock'}"
    for reply in (score(api, make_model(), items()), api.client.get("/rm/tides/health")):
        assert "python -m worker.serve" in problem(reply, 503)["detail"]
        assert reply.headers["Retry-After"] == "5"
    ready = Client().get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["reward_server"]["ok"]) == (200, False)


def test_a_server_of_its_own_process_that_is_killed_while_it_scores_is_503(api, make_model, settings, tmp_path):
    address = f"unix:{tmp_path / 'own.sock'}"
    settings.REWARD_SERVER_URL = address
    known = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    known |= {"SECRET_KEY": settings.SECRET_KEY, "TIEBREAK_VAR": str(tmp_path), "REWARD_SERVER_URL": address}
    process = subprocess.Popen([sys.executable, "-m", "worker.serve"], cwd=ROOT, env=known, stderr=subprocess.DEVNULL)
    try:
        model = make_model()
        wait_until(lambda: Client().get("/readyz").json()["checks"]["reward_server"]["ok"], 60, "the server answers")
        with httpcore.ConnectionPool(uds=address.removeprefix("unix:")) as pool, ThreadPoolExecutor(1) as threads:
            killed = threads.submit(kill_once_a_request_waits, process, pool)
            reply = score(api, model, items())  # it still loads torch: the request waits
            killed.result()
        assert problem(reply, 503)["detail"]
        assert reply.headers["Retry-After"]
    finally:
        process.kill()
        process.wait()
    # The socket that it left is no obstacle to the next one; one that answers is.
    with serving(address, tmp_path / "c.sqlite3", Limits()):
        assert score(api, model, items()).status_code == 200
        with pytest.raises(ServeError, match="already"):
            listening(address)
    _pool(address)[0].close()


def kill_once_a_request_waits(process, pool):
    def waiting():
        return json.loads(pool.request("GET", "http://x/health").content)["waiting"]

    wait_until(waiting, 30, "the request waits")
    process.kill()


def test_too_much_at_once_is_503_and_who_leaves_frees_the_place(api, make_model, settings, tmp_path, reward_server):
    model = make_model()
    assert score(api, model, items()).status_code == 200
    address = f"unix:{tmp_path / 'busy.sock'}"
    settings.REWARD_SERVER_URL = address
    arrived = threading.Event()

    def fetched(version):  # the storage is far away, and the scoring thread waits for the model
        arrived.wait(60)
        return stored(version)

    with serving(address, tmp_path / "c.sqlite3", Limits(waiting=10), fetched) as server:
        with httpcore.ConnectionPool(uds=address.removeprefix("unix:")) as pool:
            body = {
                "model": {"folder": model.folder, "files": model.files},
                "inputs": [{"prompt": "p", "response": "r"}],
            }
            options = {
                "headers": {"Authorization": f"Bearer {server_token()}", "Host": "x"},
                "content": json.dumps(body).encode(),
            }
            for seconds in (0.2, 0.2):  # the first is in work, the second waits; both go away
                with pytest.raises(httpcore.ReadTimeout):
                    pool.request("POST", "http://x/score", **options, extensions={"timeout": {"read": seconds}})
            wait_until(lambda: server.batcher.waiting == 0, 10, "both places are free")
            with ThreadPoolExecutor(1) as threads:
                waiting = threads.submit(pool.request, "POST", "http://x/score", **options)
                wait_until(lambda: server.batcher.waiting, 10, "one waits")
                reply = score(api, model, items())
                assert "more to do than it takes in" in problem(reply, 503)["detail"]
                assert int(reply.headers["Retry-After"]) >= 1
                arrived.set()
                assert waiting.result(5).status == 200
        assert score(api, model, items()).status_code == 200
    _pool(address)[0].close()


def test_requests_of_many_callers_share_batches(make_model, reward_server, transactional_db):
    model = make_model()
    expected = ask(model=model, inputs=[Pair(*pair) for pair in PAIRS]).rewards
    before = reward_server.batcher.batches
    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(_ask_directly, model, number) for number in range(200)]
        got = [each.result(20) for each in asked]
    assert got == pytest.approx([expected[number % len(PAIRS)] for number in range(200)], abs=1e-5)
    assert reward_server.batcher.batches - before < 150


def test_turns_go_in_the_order_of_coming():
    turns, seen = Turns(1), []
    assert turns.take(0)
    assert not turns.take(0.01)

    def wait(number):
        assert turns.take(5)
        seen.append(number)
        turns.give_back()

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(3)]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        wait_until(lambda number=number: turns.waiting == number, 5, f"{number} in line")
    turns.give_back()
    for thread in threads:
        thread.join(5)
    assert seen == [0, 1, 2]
    assert turns.take(0)


def _ask_directly(model, number):
    from django.conf import settings

    pool, base = _pool(settings.REWARD_SERVER_URL)
    prompt, response = PAIRS[number % len(PAIRS)]
    body = {
        "model": {"folder": model.folder, "files": model.files},
        "inputs": [{"prompt": prompt, "response": response}],
    }
    headers = {"Authorization": f"Bearer {server_token()}", "Host": "x"}
    reply = pool.request("POST", f"{base}/score", headers=headers, content=json.dumps(body).encode())
    return json.loads(reply.content)["rewards"][0]


def test_the_reward_server_trusts_nobody(make_model, settings, reward_server, tmp_path):
    model = make_model()
    pool, base = _pool(settings.REWARD_SERVER_URL)

    def status(body, token=None):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token or server_token()}", "Host": "x"}
        return pool.request("POST", f"{base}/score", headers=headers, content=content).status

    fine = {"model": {"folder": model.folder, "files": model.files}, "inputs": [{"prompt": "p", "response": "r"}]}
    assert status(fine) == 200
    assert status(fine, token="guess") == 401
    assert (tmp_path / "rewards.sock").stat().st_mode & 0o077 == 0
    for folder in ("/etc", "../x", "reward-models/../../x", "", "a\\b", 7):
        assert status({**fine, "model": {"folder": folder, "files": []}}) == 400, folder
    assert status({**fine, "model": {"folder": model.folder, "files": ["../../x"]}}) == 400
    assert status({**fine, "model": {"folder": "reward-models/none", "files": []}}) == 500
    for body in (b"{", b"[]", b"\xff", b"", {**fine, "inputs": "p"}, {}):
        assert status(body) == 400, body
    assert status({**fine, "inputs": [{"prompt": "p"}]}) == 422
    assert status(fine) == 200
    with pytest.raises(ValueError, match="inside"):
        Version("a/../../b", ())


def test_a_model_that_cannot_be_loaded_is_502_and_tells_no_path(api, make_model, reward_server, caplog):
    model = make_model()
    model.folder = "reward-models/gone"
    model.save()
    detail = problem(score(api, model, items()), 502)["detail"]
    assert "Version 1" in detail
    assert "/" not in detail


def test_one_folder_is_served_by_itself_in_the_same_dialects(model_folders, tmp_path):
    folder = model_folders["pooler"]
    server = RewardServer(find=lambda version: folder, cache=tmp_path / "c.sqlite3", limits=Limits(), resident=1)
    with TestClient(model_app(server, "secret", "tides-1")) as client:
        body = {"text_1": "why", "text_2": ["good", "bad"]}
        assert client.post("/score", json=body).status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        said = client.post("/v1/score", json=body).json()
        with ServedFeatures(tmp_path / "d.sqlite3") as cache:
            expected = Scorer.load(folder).score([("why", "good"), ("why", "bad")], cache)
        assert [row["score"] for row in said["data"]] == pytest.approx(expected.tolist(), abs=1e-5)
        assert said["model"] == client.get("/v1/models").json()["data"][0]["id"] == "tides-1"
        assert client.post("/score", json={}).status_code == 422
        assert client.post("/predict", json={"inputs": LONG, "truncate": False}).status_code == 422
        assert client.get("/health").json()["status"] == "ok"
        client.headers["Authorization"] = f"Basic {base64.b64encode(b'token:secret').decode()}"
        shaped = client.post("/get_reward?shaping=tanh", json={"query": ["good"]}).json()["rewards"]
        raw = client.post("/get_reward", json={"query": ["good"]}).json()["rewards"]
        assert shaped == pytest.approx([math.tanh(raw[0])])
        for shaping in ("standardise", "par", "square"):
            assert client.post(f"/get_reward?shaping={shaping}", json={"query": ["good"]}).status_code == 422
        half = {"query": "a", "documents": ["\ud800", "b"]}
        reply = client.post("/rerank", content=json.dumps(half).encode())
        assert {row["document"]["text"] for row in reply.json()["results"]} == {"\ud800", "b"}
        client.headers["Authorization"] = "Basic secret"
        assert client.post("/score", json=body).status_code == 401


def test_openais_own_client_reads_rewards_as_embeddings(model_folders, tmp_path):
    folder, port = model_folders["pooler"], free_port()
    server = RewardServer(find=lambda version: folder, cache=tmp_path / "c.sqlite3", limits=Limits(), resident=1)
    app = uvicorn.Server(uvicorn.Config(model_app(server, "secret", "tides-1"), port=port, log_config=None))
    thread = threading.Thread(target=app.run)
    thread.start()
    try:
        wait_until(lambda: app.started, 10, "the server listens")
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret") as client:
            said = client.embeddings.create(model="tides-1", input=["good", "bad"])
            with pytest.raises(openai.AuthenticationError):
                client.with_options(api_key="guess").embeddings.create(model="tides-1", input="good")
    finally:
        app.should_exit = True
        thread.join()
    with ServedFeatures(tmp_path / "d.sqlite3") as cache:
        expected = measure(Scorer.load(folder), [Text("good"), Text("bad")], cache, count=True)
    assert [row.embedding for row in said.data] == [pytest.approx([each.reward], abs=1e-5) for each in expected]
    assert said.usage.total_tokens == sum(each.tokens for each in expected)
