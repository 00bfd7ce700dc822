"""Decoders read a conversation's turns through their chat template, as TRL and vLLM do with the exported folder."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from worker.core.backbone import Backbone, open_backbone
from worker.core.conversation import ChatPrompt, encodable, folded, prompt_of, prompt_text
from worker.core.dialects import classify
from worker.core.features import feature_key
from worker.core.scoring import Scorer
from worker.core.serving import ServedFeatures, measure
from worker.core.training.head import Head
from worker.core.training.recipe import Recipe
from worker.core.training.save import save_model

TURNS = [("system", "is kind"), ("user", "why sea"), ("assistant", "moon tide"), ("user", "how")]
MESSAGES = [{"role": role, "content": content} for role, content in TURNS]
SAID = [*MESSAGES, {"role": "assistant", "content": "good clear"}]
STRICT = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}"
    "<|start|>{{ message['role'] }} {{ message['content'] }}<|end|>{% endfor %}"
)


def ids_of(backbone: Backbone, prompt: str, response: str = "good clear") -> list[int]:
    return backbone.tokens([(prompt, response)])[0]["input_ids"].tolist()


@pytest.mark.parametrize("name", ["chat_decoder_folder", "plain_decoder_folder"])
def test_ids_are_those_of_the_template_over_the_real_turns(name: str, request: pytest.FixtureRequest) -> None:
    backbone = Backbone(request.getfixturevalue(name), "last", 64)
    expected = backbone.tokenizer.apply_chat_template(SAID, tokenize=True, return_dict=True)["input_ids"]
    assert ids_of(backbone, prompt_of(MESSAGES)) == expected
    if name == "plain_decoder_folder":  # without a template of its own it reads labelled turns, and one <s>
        text = f"<s>{prompt_text(MESSAGES)}\n\ngood clear</s>"
        assert expected == backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        assert ids_of(backbone, prompt_text(MESSAGES)) != expected


def test_a_template_that_refuses_turns_gets_them_folded(chat_decoder_folder: Path) -> None:
    backbone = Backbone(chat_decoder_folder, "last", 64)
    backbone.tokenizer.chat_template = STRICT
    turns = [TURNS[0], *TURNS[1:3], ("user", "a"), ("user", "b")]
    prompt = prompt_of([{"role": role, "content": content} for role, content in turns])
    text = (
        "<|start|>user is kind\n\nwhy sea<|end|><|start|>assistant moon tide<|end|><|start|>user a\n\nb<|end|>"
        "<|start|>assistant good clear<|end|>"
    )
    assert ids_of(backbone, prompt) == backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    accepted = prompt_of([{"role": role, "content": content} for role, content in TURNS[1:]])
    together = backbone.tokens([(accepted, "good"), (prompt, "good"), ("why", "good")])
    assert together[0]["input_ids"].tolist() == ids_of(backbone, accepted, "good")
    assert folded([("assistant", "Hi."), ("user", "Why?")]) == [("user", "Assistant: Hi.\n\nWhy?")]


def test_messages_and_templated_input_get_the_exported_folders_reward(
    chat_decoder_folder: Path, tmp_path: Path
) -> None:
    recipe = Recipe(backbone=str(chat_decoder_folder), pooling="last", max_tokens=64)
    weight = np.random.default_rng(7).normal(size=(1, 8)).astype(np.float32)
    head = Head(("reward",), weight, np.zeros(1, dtype=np.float32))
    save_model(tmp_path / "model", recipe, open_backbone(recipe), head, "abc", {})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    templated = tokenizer.apply_chat_template(SAID, tokenize=False)
    inputs = [*classify({"messages": SAID}).inputs, *classify({"input": templated}).inputs]
    with ServedFeatures(tmp_path / "cache.sqlite") as cache:
        said, text = measure(Scorer.load(tmp_path / "model"), inputs, cache, count=True)
    assert said.tokens == text.tokens
    ids = tokenizer.apply_chat_template(SAID, return_tensors="pt", return_dict=True)
    published = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")(**ids).logits.item()
    assert (said.reward, text.reward) == pytest.approx((published, published), abs=1e-5)


def test_a_prompt_of_turns_is_its_turns_and_its_text() -> None:
    prompt = prompt_of(MESSAGES)
    assert str(prompt) == prompt_text(MESSAGES)
    assert prompt != prompt_text(MESSAGES)  # a lone turn that spells the others out is another prompt
    assert type(prompt_of(MESSAGES[1:2])) is str
    for copied in (pickle.loads(pickle.dumps(prompt)), copy.deepcopy(prompt), encodable(prompt)):
        assert isinstance(copied, ChatPrompt)
        assert (copied, copied.turns, hash(copied)) == (prompt, tuple(TURNS), hash(prompt))
    keys = {feature_key("r", text, "x", turns=turns) for text in (prompt, str(prompt)) for turns in (True, False)}
    assert len(keys) == 2  # for encoders both are one text
