"""The wire formats in which RLHF stacks ask for rewards: each body becomes inputs, and rewards become its reply.

OpenRLHF `get_reward` (openrlhf/utils/agent.py), vLLM `classify`, `pooling`, `score`, `rerank` and `embeddings`
(vllm/entrypoints/pooling), SGLang `classify` with `text`, TEI `predict` and `rerank` (router/src/http/types.rs),
NeMo Gym `verify` (nemo_gym/base_resources_server.py). Every one answers with raw rewards; only who asks for an
activation in so many words (`use_activation: true`, `raw_scores: false`) gets the sigmoid.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from worker.core.dialect_bodies import (
    Asked,
    DialectError,
    Inputs,
    Rewarded,
    activated_by,
    activated_value,
    best_first,
    content_text,
    documents_of,
    encoding_of,
    flag_of,
    read_rollout,
    text_of,
    texts_of,
)
from worker.core.reward_inputs import Ids, Input, Text
from worker.core.shaping import sigmoid

LABEL = "reward"


# --- OpenRLHF ---


def get_reward(body: Mapping[str, Any]) -> Asked:
    """Read `{"query": [text], "prompts": [text], "labels"}`; sharding clients also send empty lists."""
    queries = texts_of(body, "query")
    prompts = texts_of(body, "prompts") if body.get("prompts") else [""] * len(queries)
    if len(prompts) != len(queries):
        raise DialectError("/prompts", f"Expected as many prompts as there are queries, {len(queries)}.")
    read = Inputs()
    for number, (query, prompt) in enumerate(zip(queries, prompts, strict=True)):
        read.add(Text(query, prompt), f"/query/{number}")

    def reply(said: Rewarded) -> Any:
        rewards = list(said.rewards)
        return {"rewards": rewards, "scores": [sigmoid(each) for each in rewards], "extra_logs": {"reward": rewards}}

    return read.asked(reply)


# --- vLLM, and SGLang where it differs ---


def classify(body: Mapping[str, Any]) -> Asked:
    """Read vLLM's `input` or `messages`, or SGLang's `text`."""
    if "text" in body:
        return _sglang(body)
    activated = activated_by(body)

    def row(index: int, reward: float) -> dict[str, Any]:
        return {"index": index, "label": LABEL, "probs": [activated_value(reward, activated)], "num_classes": 1}

    return _vllm_inputs(body).asked(_vllm_list("classify", row), counts_tokens=True)


def pooling(body: Mapping[str, Any]) -> Asked:
    """Read vLLM's `input` or `messages` with a `task` that gives one number for each."""
    if body.get("task") not in (None, "classify", "reward", "score"):
        raise DialectError("/task", 'A reward model gives one number for a whole sequence: use "classify".')
    encode, activated = encoding_of(body), activated_by(body)

    def row(index: int, reward: float) -> dict[str, Any]:
        return {"index": index, "object": "pooling", "data": encode([activated_value(reward, activated)])}

    return _vllm_inputs(body).asked(_vllm_list("pool", row), counts_tokens=True)


def embeddings(body: Mapping[str, Any]) -> Asked:
    """Read `input`; the embedding of a reward model is its reward (SGLang, which verl asks like this)."""
    encode = encoding_of(body)

    def row(index: int, reward: float) -> dict[str, Any]:
        return {"object": "embedding", "index": index, "embedding": encode([reward])}

    return _vllm_inputs(body).asked(_vllm_list("embd", row), counts_tokens=True)


def score(body: Mapping[str, Any]) -> Asked:
    """Read queries and documents under any of vLLM's names; one query goes with every document."""
    known = (("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2"))
    names = next((pair for pair in known if all(name in body for name in pair)), None)
    if names is None:
        raise DialectError("", 'Expected "queries" and "documents", or "text_1" and "text_2".')
    _refuse_other_cuts(body)
    queries, documents = (documents_of(body, name) for name in names)
    if len(queries) == 1:
        queries *= len(documents)
    if len(queries) != len(documents):
        raise DialectError(f"/{names[1]}", f"Expected one query, or one for each of the {len(documents)} documents.")
    activated = activated_by(body)
    read = Inputs()
    for number, (query, document) in enumerate(zip(queries, documents, strict=True)):
        read.pair(query, document, f"/{names[1]}/{number}")

    def row(index: int, reward: float) -> dict[str, Any]:
        return {"index": index, "object": "score", "score": activated_value(reward, activated)}

    return read.asked(_vllm_list("score", row), counts_tokens=True)


def rerank(body: Mapping[str, Any]) -> Asked:
    """Read a `query` with `documents` (vLLM, Jina, Cohere), or with `texts` (TEI); the best comes first."""
    if "texts" in body:
        return _tei_rerank(body)
    _refuse_other_cuts(body)
    query, documents = text_of(body, "query"), documents_of(body, "documents")
    top = body.get("top_n")
    if top is not None and (type(top) is not int or top < 0):
        raise DialectError("/top_n", "Expected a whole number.")
    activated = activated_by(body)
    read = Inputs()
    for number, document in enumerate(documents):
        read.pair(query, document, f"/documents/{number}")

    def reply(said: Rewarded) -> Any:
        best = best_first(said.rewards)[: top or None]
        rows = [
            {
                "index": index,
                "document": {"text": documents[index]},
                "relevance_score": activated_value(said.rewards[index], activated),
            }
            for index in best
        ]
        return {"id": _id("rerank"), "model": said.model, "usage": {"total_tokens": sum(said.tokens)}, "results": rows}

    return read.asked(reply, counts_tokens=True)


# --- Text Embeddings Inference ---


def predict(body: Mapping[str, Any]) -> Asked:
    """Read `inputs`: a text, a pair of texts, or a list of such in lists of their own. `raw_scores` is true here.

    TEI reads a flat list of two texts as one pair; so does this, and refuses longer ones as it does.
    """
    inputs = body.get("inputs")
    alone = isinstance(inputs, str) or (isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], str))
    activated, whole = flag_of(body, "raw_scores") is False, _tei_whole(body)
    if not isinstance(inputs, str | list):
        raise DialectError("/inputs", "Expected a text or a list.")
    read = Inputs()
    for number, item in enumerate([inputs] if alone else inputs):
        place = "/inputs" if alone else f"/inputs/{number}"
        match item:
            case str(text) | [str(text)]:
                read.add(Text(text), place)
            case [str(prompt), str(response)]:
                read.pair(prompt, response, place)
            case _:
                raise DialectError(
                    place, 'Expected a text, a pair of texts, or a list like [["text"], ["one", "two"]].'
                )

    def reply(said: Rewarded) -> Any:
        rows = [[{"score": activated_value(reward, activated), "label": LABEL}] for reward in said.rewards]
        return rows[0] if alone else rows

    return read.asked(reply, whole=whole)


def _tei_whole(body: Mapping[str, Any]) -> bool:
    """Say whether a text that is too long is to be refused. Raises DialectError."""
    if str(body.get("truncation_direction") or "right").lower() != "right":
        raise DialectError("/truncation_direction", "Texts are cut by the rule of training: leave it out.")
    return flag_of(body, "truncate") is False


def _tei_rerank(body: Mapping[str, Any]) -> Asked:
    query, texts = text_of(body, "query"), texts_of(body, "texts")
    activated, with_text = flag_of(body, "raw_scores") is False, flag_of(body, "return_text") is True
    whole = _tei_whole(body)
    read = Inputs()
    for number, text in enumerate(texts):
        read.pair(query, text, f"/texts/{number}")

    def reply(said: Rewarded) -> Any:
        return [
            {"index": index, "score": activated_value(said.rewards[index], activated)}
            | ({"text": texts[index]} if with_text else {})
            for index in best_first(said.rewards)
        ]

    return read.asked(reply, whole=whole)


# --- NeMo Gym ---


def verify(body: Mapping[str, Any]) -> Asked:
    """Read a rollout of OpenAI's Responses API; the reply is the same body with its `reward`."""
    asked_for, response = body.get("responses_create_params"), body.get("response")
    if not isinstance(asked_for, Mapping):
        raise DialectError("/responses_create_params", "Expected an object.")
    if not isinstance(response, Mapping) or not isinstance(response.get("output"), list):
        raise DialectError("/response/output", "Expected a list.")
    place = "/responses_create_params/input"
    given = asked_for.get("input")
    turns = [{"role": "user", "content": given}] if isinstance(given, str) else read_rollout(given, place)
    instructions = asked_for.get("instructions")
    if isinstance(instructions, str) and instructions:
        turns = [{"role": "system", "content": instructions}, *turns]
    said_last = [
        content_text(item.get("content"), "/response/output")
        for item in response["output"]
        if isinstance(item, Mapping) and item.get("type") == "message" and item.get("role", "assistant") == "assistant"
    ]
    read = Inputs()
    read.answer(turns, "\n\n".join(said_last), place)
    return read.asked(lambda said: {**body, "reward": said.rewards[0]})


DIALECTS: dict[str, Callable[[Mapping[str, Any]], Asked]] = {
    "get_reward": get_reward,
    "classify": classify,
    "score": score,
    "rerank": rerank,
    "pooling": pooling,
    "embeddings": embeddings,
    "predict": predict,
    "verify": verify,
}


# --- What several share ---


def _sglang(body: Mapping[str, Any]) -> Asked:
    texts = texts_of(body, "text")
    alone = isinstance(body["text"], str)
    read = Inputs()
    for number, text in enumerate(texts):
        read.add(Text(text), "/text" if alone else f"/text/{number}")

    def reply(said: Rewarded) -> Any:
        rows = [
            {"embedding": [reward], "meta_info": {"id": _id("sglang"), "prompt_tokens": tokens}}
            for reward, tokens in zip(said.rewards, said.tokens, strict=True)
        ]
        return rows[0] if alone else rows

    return read.asked(reply, counts_tokens=True)


def _vllm_inputs(body: Mapping[str, Any]) -> Inputs:
    """Read `messages` (one conversation, or a list of them) or `input` (texts, or token ids)."""
    if body.get("add_generation_prompt"):
        raise DialectError("/add_generation_prompt", "A response is scored, not asked for: leave it out.")
    if body.get("chat_template") is not None:
        raise DialectError("/chat_template", "The model has a template of its own and is scored with no other.")
    _refuse_other_cuts(body)
    read = Inputs()
    if "messages" in body:
        given = body["messages"]
        if isinstance(given, list) and given and isinstance(given[0], list):
            for number, messages in enumerate(given):
                read.conversation(messages, f"/messages/{number}")
        else:
            read.conversation(given, "/messages")
        return read
    value = body.get("input")
    if isinstance(value, str) or (isinstance(value, list) and value and type(value[0]) is int):
        read.add(_text_or_ids(value, "/input"), "/input")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            read.add(_text_or_ids(item, f"/input/{number}"), f"/input/{number}")
    else:
        raise DialectError("/input", "Expected a text, a list of texts, or token ids; or messages.")
    return read


def _refuse_other_cuts(body: Mapping[str, Any]) -> None:
    """Raise DialectError for another length than the model's own; -1 is vLLM's name for that."""
    if body.get("truncate_prompt_tokens") not in (None, -1):
        raise DialectError(
            "/truncate_prompt_tokens", "Texts are cut to what the model was trained on: leave it out, or send -1."
        )


def _text_or_ids(value: Any, place: str) -> Input:
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, list):
        return Ids(tuple(value))
    raise DialectError(place, "Expected a text or a list of token ids.")


def _vllm_list(prefix: str, row: Callable[[int, float], dict[str, Any]]) -> Callable[[Rewarded], Any]:
    def reply(said: Rewarded) -> Any:
        total = sum(said.tokens)
        return {
            "id": _id(prefix),
            "object": "list",
            "created": int(time.time()),
            "model": said.model,
            "data": [row(index, reward) for index, reward in enumerate(said.rewards)],
            "usage": {"prompt_tokens": total, "total_tokens": total, "completion_tokens": 0},
        }

    return reply


def _id(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex}"
