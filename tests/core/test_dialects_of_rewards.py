"""Bodies as other people's clients send them become inputs, and rewards become the replies that those clients read."""

import base64
import json
import struct

import pytest

from worker.core.chat_markup import split_text
from worker.core.conversation import prompt_of
from worker.core.dialect_bodies import DialectError, Rewarded, read_items
from worker.core.dialects import DIALECTS
from worker.core.reward_inputs import MAX_INPUTS, MAX_TEXT_CHARS, Ids, InputError, Pair, Text, from_wire, to_wire

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
HALF = 0.6224593312018546
"""The sigmoid of one half."""


def answered(dialect, body, *rewards):
    """Return the inputs of a body and its reply to these rewards, three tokens each."""
    asked = DIALECTS[dialect](body)
    said = Rewarded(rewards, [3] * len(rewards), "7")
    return asked.inputs, asked.reply(said)


def test_openrlhf():
    inputs, reply = answered("get_reward", {"query": ["a b", "c"], "prompts": ["a", ""], "labels": [None, 1]}, 0.5, 0.0)
    assert inputs == [Text("a b", "a"), Text("c")]
    assert reply == {"rewards": [0.5, 0.0], "scores": [HALF, 0.5], "extra_logs": {"reward": [0.5, 0.0]}}
    assert answered("get_reward", {"query": []}) == ([], {"rewards": [], "scores": [], "extra_logs": {"reward": []}})


@pytest.mark.parametrize("body", [{"input": "a"}, {"input": ["a"]}])
def test_vllm_classify_as_verl_asks_it(body):
    inputs, reply = answered("classify", {"model": "x", "activation": False, **body}, 0.5)
    assert inputs == [Text("a")]
    assert reply["data"] == [{"index": 0, "label": "reward", "probs": [0.5], "num_classes": 1}]
    assert reply["data"][-1]["probs"][-1] == 0.5  # what verl reads
    assert (reply["object"], reply["model"]) == ("list", "7")
    assert reply["usage"] == {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0}


def test_vllm_classify_of_conversations_and_of_token_ids():
    assert answered("classify", {"messages": CHAT}, 1.0)[0] == [Pair("Why?", "Because.")]
    assert answered("classify", {"messages": [CHAT, CHAT]}, 1.0, 2.0)[0] == [Pair("Why?", "Because.")] * 2
    parts = [{"role": "user", "content": [{"type": "text", "text": "W"}, {"type": "text", "text": "hy?"}]}, CHAT[1]]
    assert answered("pooling", {"messages": parts}, 1.0)[0] == [Pair("Why?", "Because.")]
    assert answered("classify", {"input": [1, 2]}, 1.0)[0] == [Ids((1, 2))]
    assert answered("classify", {"input": [[1, 2], [3]]}, 1.0, 2.0)[0] == [Ids((1, 2)), Ids((3,))]
    activated = answered("classify", {"input": "a", "use_activation": True}, 0.5)[1]
    assert activated["data"][0]["probs"] == [HALF]


def test_vllm_pooling_and_embeddings():
    assert answered("pooling", {"input": "a", "task": "classify"}, 0.5)[1]["data"] == [
        {"index": 0, "object": "pooling", "data": [0.5]}
    ]
    (row,) = answered("embeddings", {"input": "a", "encoding_format": "base64"}, 0.5)[1]["data"]
    assert struct.unpack("<f", base64.b64decode(row["embedding"])) == (0.5,)


@pytest.mark.parametrize(
    "names", [("queries", "documents"), ("text_1", "text_2"), ("data_1", "data_2"), ("queries", "items")]
)
def test_vllm_score_pairs_one_prompt_with_all_or_one_by_one(names):
    first, second = names
    inputs, reply = answered("score", {first: "p", second: ["a", {"text": "b"}]}, 0.5, 1.5)
    assert inputs == [Pair("p", "a"), Pair("p", "b")]
    assert reply["data"][1] == {"index": 1, "object": "score", "score": 1.5}
    assert answered("score", {first: ["p", "q"], second: ["a", "b"]}, 0.5, 1.5)[0] == [Pair("p", "a"), Pair("q", "b")]


def test_rerank_puts_the_best_first():
    body = {"query": "p", "documents": ["a", "b", "c"], "top_n": 2}
    inputs, reply = answered("rerank", body, -1.0, 2.0, 0.5)
    assert inputs == [Pair("p", "a"), Pair("p", "b"), Pair("p", "c")]
    assert reply["results"] == [
        {"index": 1, "document": {"text": "b"}, "relevance_score": 2.0},
        {"index": 2, "document": {"text": "c"}, "relevance_score": 0.5},
    ]
    assert len(answered("rerank", {**body, "top_n": 0}, -1.0, 2.0, 0.5)[1]["results"]) == 3
    tei = answered("rerank", {"query": "p", "texts": ["a", "b"], "return_text": True}, -1.0, 2.0)[1]
    assert tei == [{"index": 1, "score": 2.0, "text": "b"}, {"index": 0, "score": -1.0, "text": "a"}]


def test_sglang():
    inputs, reply = answered("classify", {"model": "x", "text": ["a", "b"]}, 0.5, 1.0)
    assert inputs == [Text("a"), Text("b")]
    assert [row["embedding"][0] for row in reply] == [0.5, 1.0]  # what Skywork's client reads
    assert answered("classify", {"text": "a"}, 0.5)[1]["embedding"] == [0.5]


def test_tei():
    one = [{"score": 0.5, "label": "reward"}]
    assert answered("predict", {"inputs": "a"}, 0.5) == ([Text("a")], one)
    assert answered("predict", {"inputs": ["p", "a"]}, 0.5) == ([Pair("p", "a")], one)  # TEI's own reading
    assert answered("predict", {"inputs": [["a"], ["p", "b"]]}, 0.5, 0.5) == ([Text("a"), Pair("p", "b")], [one, one])
    assert answered("predict", {"inputs": "a", "raw_scores": True}, 0.5)[1] == one
    assert answered("predict", {"inputs": "a", "raw_scores": False}, 0.5)[1] == [{"score": HALF, "label": "reward"}]


def test_nemo_gym():
    thought = {"type": "reasoning", "summary": []}
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Because."}]}
    body = {
        "responses_create_params": {"input": [{"role": "developer", "content": "Be brief."}, CHAT[0]]},
        "response": {"id": "r", "output": [thought, message]},
        "task": 3,
    }
    inputs, reply = answered("verify", body, 0.5)
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert inputs == [Pair(prompt_of(turns), "Because.")]
    assert [from_wire(json.loads(json.dumps(to_wire(item))), 0) for item in inputs] == inputs
    assert reply == {**body, "reward": 0.5}
    unfinished = {**body, "response": {"output": [thought]}}
    assert answered("verify", unfinished, 0.5)[0][0].response == ""


def test_nemo_gym_reads_what_an_agent_did():
    given = [
        CHAT[0],
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "name": "look_up", "arguments": '{"q": "tides"}', "call_id": "1"},
        {"type": "web_search_call", "id": "2"},
        {"type": "function_call_output", "call_id": "1", "output": "The moon."},
    ]
    refusal = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    called = {"type": "function_call", "name": "stop", "arguments": "{}"}
    body = {"responses_create_params": {"input": given}, "response": {"output": [called, refusal]}}
    (read,), _ = answered("verify", body, 0.5)
    asked = (
        'User: Why?\n\nAssistant: [tool call] look_up({"q": "tides"})\n\nAssistant: [web_search_call]\n\n'
        "User: [tool result] The moon."
    )
    assert (str(read.prompt), read.response) == (asked, "I cannot.")
    for item, pointer in ((7, ""), ({"type": 7}, "/type"), ({"type": "function_call"}, "/name")):
        with pytest.raises(DialectError) as refused:
            DIALECTS["verify"]({**body, "responses_create_params": {"input": [item]}})
        assert refused.value.pointer == f"/responses_create_params/input/0{pointer}"


def test_a_text_that_is_to_be_read_whole_is_marked():
    for body in ({"inputs": "a"}, {"inputs": "a", "truncate": True}, {"inputs": "a", "truncate": None}):
        assert not DIALECTS["predict"](body).whole
    assert DIALECTS["predict"]({"inputs": "a", "truncate": False}).whole
    assert DIALECTS["rerank"]({"query": "a", "texts": ["b"], "truncate": False}).whole
    assert DIALECTS["classify"]({"input": "a", "truncate_prompt_tokens": -1, "activation": False}).inputs == [Text("a")]


@pytest.mark.parametrize(
    ("dialect", "body", "pointer"),
    [
        ("get_reward", {}, "/query"),
        ("get_reward", {"query": [1]}, "/query/0"),
        ("get_reward", {"query": ["a"], "prompts": ["a", "b"]}, "/prompts"),
        ("get_reward", {"query": ["a" * (MAX_TEXT_CHARS + 1)]}, "/query/0"),
        ("get_reward", {"query": ["a"] * (MAX_INPUTS + 1)}, f"/query/{MAX_INPUTS}"),
        ("classify", {}, "/input"),
        ("classify", {"input": [["a"]]}, "/input/0"),
        ("classify", {"input": [[]]}, "/input/0"),
        ("classify", {"input": [-1]}, "/input"),
        ("classify", {"input": [True]}, "/input/0"),
        ("classify", {"messages": []}, "/messages"),
        ("classify", {"messages": [CHAT[0]]}, "/messages"),
        ("classify", {"messages": [CHAT[1]]}, "/messages"),
        ("classify", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "/messages/0/content"),
        ("classify", {"messages": CHAT, "chat_template": "x"}, "/chat_template"),
        ("classify", {"messages": CHAT, "add_generation_prompt": True}, "/add_generation_prompt"),
        ("pooling", {"input": "a", "task": "token_embed"}, "/task"),
        ("pooling", {"input": "a", "encoding_format": "bytes"}, "/encoding_format"),
        ("score", {"queries": "a"}, ""),
        ("score", {"queries": ["a", "b"], "documents": ["c"]}, "/documents"),
        ("rerank", {"query": "a"}, "/documents"),
        ("rerank", {"query": "a", "documents": ["b"], "top_n": "1"}, "/top_n"),
        ("predict", {}, "/inputs"),
        ("predict", {"inputs": ["a", "b", "c"]}, "/inputs"),
        ("predict", {"inputs": [["a", "b", "c"]]}, "/inputs/0"),
        ("predict", {"inputs": "a", "raw_scores": "no"}, "/raw_scores"),
        ("predict", {"inputs": "a", "truncate": 0}, "/truncate"),
        ("predict", {"inputs": "a", "truncation_direction": "Left"}, "/truncation_direction"),
        ("rerank", {"query": "a", "texts": ["b"], "return_text": "yes"}, "/return_text"),
        ("classify", {"input": "a", "use_activation": "true"}, "/use_activation"),
        ("pooling", {"input": "a", "use_activation": 1}, "/use_activation"),
        ("score", {"queries": "a", "documents": "b", "activation": True, "softmax": 1}, "/softmax"),
        ("classify", {"input": "a", "truncate_prompt_tokens": 8}, "/truncate_prompt_tokens"),
        ("score", {"queries": "a", "documents": "b", "truncate_prompt_tokens": 8}, "/truncate_prompt_tokens"),
        ("verify", {}, "/responses_create_params"),
        ("verify", {"responses_create_params": {"input": "a"}, "response": {}}, "/response/output"),
        ("verify", {"responses_create_params": {}, "response": {"output": []}}, "/responses_create_params/input"),
    ],
)
def test_a_wrong_body_is_refused_at_its_place(dialect, body, pointer):
    with pytest.raises(DialectError) as refused:
        DIALECTS[dialect](body)
    assert refused.value.pointer == pointer
    assert refused.value.detail


@pytest.mark.parametrize(
    ("item", "pointer"),
    [
        ([], "/items/0"),
        ({"messages": [CHAT[0]]}, "/items/0/response"),
        ({"messages": CHAT, "response": "x"}, "/items/0/messages"),
        ({"messages": [CHAT[0]], "response": "x", "colour": 1}, "/items/0/colour"),
        ({"messages": [CHAT[0]], "response": "x", "references": []}, "/items/0/references"),
        ({"messages": [CHAT[0]], "response": "x", "references": ["y"] * 17}, "/items/0/references"),
        ({"messages": [CHAT[0]], "response": "x", "reference_rewards": []}, "/items/0/reference_rewards"),
        ({"messages": [CHAT[0]], "response": "x", "reference_rewards": [True]}, "/items/0/reference_rewards"),
        ({"messages": [CHAT[0]], "response": "x", "reference_rewards": [float("nan")]}, "/items/0/reference_rewards"),
        ({"messages": [CHAT[0]], "response": "x", "reference_rewards": [1e31]}, "/items/0/reference_rewards"),
        (
            {"messages": [CHAT[0]], "response": "x", "reference_rewards": [1], "references": ["y"]},
            "/items/0/reference_rewards",
        ),
    ],
)
def test_a_wrong_item_of_ours_is_refused_at_its_place(item, pointer):
    with pytest.raises(DialectError) as refused:
        read_items({"items": [item]})
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>\n", Pair("Why?", "So.")),
        ("<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo", Pair("Why?", "So")),  # cut off
        (
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user"
            "<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nSo.<|eot_id|>",
            Pair("System: Be kind.\n\nUser: Why?", "So."),
        ),
        ("<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\nSo.<end_of_turn>\n", Pair("Why?", "So.")),
        ("<|user|>\nWhy?</s>\n<|assistant|>\nSo.</s>\n", Pair("Why?", "So.")),
        ("Why? So.", Pair("Why?", " So.")),
        ("So.", None),
        ("<|im_start|>user\nWhy?<|im_end|>\n", None),
        ("<|im_start|>tool\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>", None),
    ],
)
def test_a_templated_text_is_read_back(text, pair):
    assert split_text(text, "Why?") == pair


@pytest.mark.parametrize("item", [Pair("p", "r"), Text("t", "p"), Ids((1, 2))])
def test_inputs_travel(item):
    assert from_wire(to_wire(item), 0) == item
    with pytest.raises(InputError):
        from_wire({**to_wire(item), "more": 1}, 0)


def test_what_cannot_be_encoded_is_replaced():
    assert from_wire({"prompt": "\ud800", "response": "\x00"}, 0) == Pair("?", "\x00")
