"""Ask the reward service, and what about."""

import json

from tests.api.conftest import Api
from tests.core.conftest import WORDS

LONG = " ".join(WORDS * 4)
PAIRS = [("why is the tide", "good clear"), ("how", "bad"), (LONG, "the moon"), ("what is", LONG), ("why", "")]


class Rm(Api):
    """A person at the reward service."""

    def post(self, path, body=None, **options):
        """POST to an address below the root."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.generic("POST", f"/{path}", content, content_type="application/json", **options)


def items(pairs=PAIRS, **more):
    asked = [{"messages": [{"role": "user", "content": prompt}], "response": response} for prompt, response in pairs]
    return {"items": asked, **more}


def score(api, model, body):
    return api.post(f"api/v1/reward-models/{model.pk}/score/", body)
