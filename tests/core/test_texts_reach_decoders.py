"""A templated text gets the reward of its conversation, however its sender handled the token of the beginning."""

import numpy as np
import pytest

from worker.core.backbone import open_backbone
from worker.core.reward_inputs import Pair, Text
from worker.core.scoring import Scorer
from worker.core.serving import measure
from worker.core.training.head import Head
from worker.core.training.recipe import Recipe
from worker.core.training.save import save_model


def scorer_on(folder, tmp_path):
    recipe = Recipe(backbone=str(folder), pooling="last", max_tokens=48)
    weight = np.random.default_rng(7).normal(size=(1, 8)).astype(np.float32)
    head = Head(("reward",), weight, np.zeros(1, dtype=np.float32))
    save_model(tmp_path / "model", recipe, open_backbone(recipe), head, "abc", {})
    return Scorer.load(tmp_path / "model")


def templated(scorer):
    turns = [{"role": "user", "content": "why is the tide"}, {"role": "assistant", "content": "good clear"}]
    return scorer.backbone.tokenizer.apply_chat_template(turns, tokenize=False)


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_a_text_has_one_token_of_the_beginning_however_many_it_came_with(plain_decoder_folder, tmp_path, cache, sent):
    scorer = scorer_on(plain_decoder_folder, tmp_path)
    text = templated(scorer)
    assert text.startswith("<s>")
    (expected,) = measure(scorer, [Pair("why is the tide", "good clear")], cache, count=True)
    (said,) = measure(scorer, [Text("<s>" * sent + text.removeprefix("<s>"))], cache, count=True)
    assert said.tokens == expected.tokens
    assert said.reward == pytest.approx(expected.reward, abs=1e-5)


def test_a_model_whose_conversations_begin_with_no_such_token_gets_none(chat_decoder_folder, tmp_path, cache):
    scorer = scorer_on(chat_decoder_folder, tmp_path)
    (expected,) = measure(scorer, [Pair("why is the tide", "good clear")], cache, count=True)
    (said,) = measure(scorer, [Text(templated(scorer))], cache, count=True)
    assert said.tokens == expected.tokens
    assert said.reward == pytest.approx(expected.reward, abs=1e-5)
