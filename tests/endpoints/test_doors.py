"""Language models by page and by REST: whose they are, what is refused, and a key that never comes out."""

import json
import logging
import socket
import threading

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command

from apps.core.errors import Conflict
from apps.endpoints.encryption import decrypted, encrypted
from apps.endpoints.models import ModelCall, ModelEndpoint
from apps.endpoints.services import change_endpoint
from tests.api.conftest import Api, pointers, problem
from tests.endpoints.conftest import KEY
from tests.language_model_server import Said
from worker.tasks.language_models import test_local_models as run_local_tests

pytestmark = pytest.mark.django_db
PAGE = "/account/models/"
BODY = {"name": "GPT <b>", "base_url": "https://example.org/v1", "model": "m-1", "api_key": KEY, "kind": "openai"}


def test_a_model_is_added_changed_and_deleted_by_rest_and_its_key_never_comes_back(manager):
    api = Api(manager, scope="write")
    made = api.post("model-endpoints/", BODY)
    assert made.status_code == 201
    address = f"model-endpoints/{made.json()['id']}/"
    stored = ModelEndpoint.objects.get()
    assert KEY not in stored.encrypted_key
    assert decrypted(stored.encrypted_key) == KEY
    changed = api.call("PATCH", address, {"concurrency": 9, "cost_ceiling": "2.5"})
    for reply in (made, changed, api.get(address), api.get("model-endpoints/")):
        assert KEY not in reply.content.decode()
    assert (changed.json()["concurrency"], changed.json()["cost_ceiling"]) == (9, "2.5000")
    assert changed.json()["has_key"] is True
    assert api.call("DELETE", address).status_code == 204
    assert not ModelEndpoint.objects.exists()


def test_another_address_forgets_the_key_unless_it_comes_along(endpoint):
    moved = change_endpoint(endpoint=endpoint, base_url="https://example.org/v1")
    assert moved.encrypted_key == ""
    back = change_endpoint(endpoint=moved, base_url="https://example.com/v1", api_key="other")
    assert decrypted(back.encrypted_key) == "other"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"base_url": "http://10.0.0.1/v1"}, ["/base_url"]),
        ({"base_url": "file:///etc/passwd"}, ["/base_url"]),
        ({"base_url": ""}, ["/base_url"]),
        ({"kind": "magic"}, ["/kind"]),
        ({"kind": "local", "base_url": "", "model": "/etc"}, ["/model"]),
        ({"api_key": "with\nline"}, ["/api_key"]),
        (
            {"concurrency": 0, "price_in": "-1", "max_answer_tokens": 10**6},
            ["/concurrency", "/max_answer_tokens", "/price_in"],
        ),
        ({"spent": 0}, ["/spent"]),
    ],
)
def test_what_cannot_be_is_refused_at_its_field(manager, change, where):
    assert pointers(Api(manager, scope="write").post("model-endpoints/", {**BODY, **change})) == where
    assert not ModelEndpoint.objects.exists()


def test_two_of_one_name_are_refused(manager, endpoint):
    assert pointers(Api(manager, scope="write").post("model-endpoints/", {**BODY, "name": "Scripted"})) == ["/name"]


def test_only_its_owner_and_superusers_see_it(manager, annotator, endpoint, client, django_user_model):
    root = django_user_model.objects.create_user("root", is_superuser=True)
    address = f"model-endpoints/{endpoint.pk}/"
    assert Api(root, scope="read").get(address).status_code == 200
    other = Api(annotator, scope="write")
    assert other.get("model-endpoints/").json()["results"] == []
    for method, path in (("GET", address), ("PATCH", address), ("DELETE", address), ("POST", f"{address}test/")):
        problem(other.call(method, path, {}), 404)
    client.force_login(annotator)
    for path in ("", "test/", "delete/"):
        assert client.post(f"{PAGE}{endpoint.pk}/{path}").status_code == 404
    assert client.get(f"{PAGE}{endpoint.pk}/").status_code == 404
    client.logout()
    assert client.get(PAGE).status_code == 302


def test_the_test_says_what_was_answered_or_what_is_wrong(server, endpoint, manager, caplog):
    caplog.set_level(logging.DEBUG)
    api = Api(manager, scope="write")
    server.script(Said("<think>Hm</think>ready <b>"), Said("no credit", 401))
    said = api.post(f"model-endpoints/{endpoint.pk}/test/", {})
    assert said.status_code == 200
    test = said.json()["test"]
    assert (test["ok"], test["answer"], test["tokens_in"], test["error"]) == (True, "ready <b>", 7, "")
    assert 0 < test["seconds"] < 5
    test = api.post(f"model-endpoints/{endpoint.pk}/test/", {}).json()["test"]
    assert (test["ok"], test["error"]) == (False, "The server does not accept the key (401). no credit")
    assert ModelCall.objects.filter(purpose="test").count() == 2
    assert KEY not in caplog.text


def test_the_test_counts_within_the_rate_limit_and_tells_a_bad_answer_from_none(server, endpoint, manager):
    change_endpoint(endpoint=endpoint, requests_per_minute=1)
    api = Api(manager, scope="write")
    assert api.post(f"model-endpoints/{endpoint.pk}/test/", {}).status_code == 200
    assert problem(api.post(f"model-endpoints/{endpoint.pk}/test/", {}), 429)["detail"].startswith("The calls of this")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        change_endpoint(
            endpoint=endpoint, requests_per_minute=0, base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        )

        def answer():
            with listener.accept()[0] as near:
                near.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                near.shutdown(socket.SHUT_WR)
                while near.recv(65536):  # what is closed with unread bytes is reset, and the caller may lose the answer
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        said = api.post(f"model-endpoints/{endpoint.pk}/test/", {}).json()["test"]["error"]
        thread.join()
    assert "The server was reached, but what it answered is not whole, or is not HTTP." in said


def test_the_pages_add_test_change_and_delete(server, client, manager):
    client.force_login(manager)
    assert "There is none." in client.get(PAGE).content.decode()
    refused = client.post(PAGE, {**BODY, "base_url": "http://10.0.0.1/"})
    assert refused.status_code == 422
    assert "10.0.0.1 is not a public address" in refused.content.decode()
    assert KEY not in refused.content.decode()
    made = client.post(PAGE, {**BODY, "base_url": server.url})
    assert made.status_code == 302
    page = made.headers["Location"]
    server.script(Said("ready <b>"))
    html = client.post(f"{page}test/", follow=True).content.decode()
    assert "ready &lt;b&gt;" in html
    assert "GPT &lt;b&gt;" in html
    assert KEY not in html
    form = {**BODY, "api_key": "", "base_url": server.url, "name": "Two", "cost_ceiling": "0"}
    assert client.post(page, form).status_code == 302
    changed = ModelEndpoint.objects.get()
    assert (changed.name, changed.cost_ceiling, decrypted(changed.encrypted_key)) == ("Two", 0, KEY)
    said = client.post(f"{page}test/", follow=True).content.decode()
    assert "The cost ceiling of Two is reached" in said
    assert client.post(f"{page}delete/").status_code == 302
    assert not ModelEndpoint.objects.exists()


def test_a_local_model_is_tested_by_the_gpu_worker(client, manager, settings, tiny_language_model):
    settings.LOCAL_MODELS = [tiny_language_model]
    api = Api(manager, scope="write")
    made = api.post("model-endpoints/", {"name": "Own", "kind": "local", "model": tiny_language_model})
    assert made.status_code == 201, made.content
    address = f"model-endpoints/{made.json()['id']}/"
    assert api.post(f"{address}test/", {}).status_code == 202
    client.force_login(manager)
    page = f"{PAGE}{made.json()['id']}/"
    assert 'hx-trigger="every 3s"' in client.get(page).content.decode()
    run_local_tests()
    test = api.get(address).json()["test"]
    assert (test["ok"], test["error"]) == (True, "")
    assert test["tokens_in"] > 10
    assert test["tokens_out"] > 0
    fragment = client.get(page, headers={"HX-Request": "true"})
    assert (fragment.status_code, fragment.content.decode().strip()[:8]) == (286, "<section")


def test_keys_survive_a_new_setting_and_say_so_when_none_opens_them(endpoint, settings, capsys):
    settings.ENCRYPTION_KEYS = ["new", *settings.ENCRYPTION_KEYS]
    call_command("encrypt_keys_again")
    assert "1 keys" in capsys.readouterr().out
    settings.ENCRYPTION_KEYS = ["new"]
    endpoint.refresh_from_db()
    assert decrypted(endpoint.encrypted_key) == KEY
    settings.ENCRYPTION_KEYS = ["lost"]
    with pytest.raises(Conflict, match="Enter it again"):
        decrypted(endpoint.encrypted_key)
    with pytest.raises(Conflict):
        decrypted(Fernet(Fernet.generate_key()).encrypt(b"x").decode())
    assert encrypted("") == decrypted("") == ""


def test_the_log_has_no_key(server, endpoint, manager):
    Api(manager, scope="write").post(f"model-endpoints/{endpoint.pk}/test/", {})
    rows = json.dumps(list(ModelCall.objects.values()), default=str)
    assert KEY not in rows
