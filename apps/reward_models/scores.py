"""Score texts with a version, and shape the rewards with what is frozen with it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from apps.core.errors import Conflict, FieldError, InvalidInput
from apps.prompts.models import json_hash
from apps.reward_models.models import RewardModel
from apps.reward_models.reward_server import ask
from apps.signals.models import Signal
from apps.signals.services import shaper_named
from worker.core.dialect_bodies import MAX_REFERENCES, Asked, References
from worker.core.reward_inputs import Input, InputError, Pair
from worker.core.shaping import Needs, Shaper, Statistics

NORMAL_95 = 1.959964
"""Standard deviations around the mean within which a normal distribution has 95 %."""


@dataclass(frozen=True)
class Scored:
    """The rewards of a request as they were asked for, as the model gave them, and how sure it is of these (`stds`).

    `statistics` is what the shape was made with: frozen statistics of the version, or how many references each input
    was compared with, and their rewards, which make the same shape again.
    """

    rewards: list[float]
    raw: list[float]
    stds: list[float | None]
    tokens: list[int]
    shaper: Shaper
    statistics: dict[str, Any] | None

    @property
    def intervals(self) -> list[list[float] | None]:
        """Return the 95 % interval of each raw reward, None where its version holds no deviation."""
        return [
            None if std is None else [value - NORMAL_95 * std, value + NORMAL_95 * std]
            for value, std in zip(self.raw, self.stds, strict=True)
        ]


def score(
    *,
    model: RewardModel,
    asked: Asked,
    shaping: str = "none",
    references: Sequence[References] | None = None,
    most: int = MAX_REFERENCES,
) -> Scored:
    """Return the rewards of what was asked; raise InvalidInput that names the input, or Conflict.

    `references` are responses to each input's own prompt, scored with it, or rewards of such; where there are none,
    the `most` oldest responses of the project that this version has scored serve.
    """
    shaper = shaper_named(shaping)
    given = list(references or [])
    if shaper.needs is not Needs.REFERENCES or not given:
        given = [References()] * len(asked.inputs)
    statistics = _statistics(model) if shaper.needs is Needs.STATISTICS else None
    known = _known(model, asked, given, most) if shaper.needs is Needs.REFERENCES else [[] for _ in asked.inputs]
    extra = [Pair(_prompt(item), text) for item, each in zip(asked.inputs, given, strict=True) for text in each.texts]
    try:
        said = ask(model=model, inputs=[*asked.inputs, *extra], count=asked.counts_tokens, whole=asked.whole)
    except InputError as error:
        place = asked.places[error.place] if error.place < len(asked.places) else ""
        raise InvalidInput(error.detail, [FieldError(place, error.detail)]) from error
    raw, of_references = said.rewards[: len(asked.inputs)], iter(said.rewards[len(asked.inputs) :])
    against = [
        [next(of_references) for _ in each.texts] or list(each.rewards) or stored
        for each, stored in zip(given, known, strict=True)
    ]
    try:
        rewards = [shaper.shape(value, statistics, others) for value, others in zip(raw, against, strict=True)]
    except ValueError as error:
        raise Conflict(str(error)) from error
    made_with = model.scorer.statistics if statistics else None
    if shaper.needs is Needs.REFERENCES:
        made_with = {"references": [len(others) for others in against], "reference_rewards": against}
    return Scored(rewards, raw, said.stds[: len(raw)], said.tokens[: len(raw)], shaper, made_with)


def _statistics(model: RewardModel) -> Statistics:
    frozen = model.scorer.statistics
    if frozen is None:
        raise Conflict(
            _(
                "Version %(number)s has no statistics yet: they are frozen when its scorer has scored the responses of "
                "the project for the first time (POST /api/v1/scorers/%(scorer)s/run/)."
            )
            % {"number": model.version, "scorer": model.scorer_id}
        )
    return Statistics.from_dict(frozen)


def _known(model: RewardModel, asked: Asked, given: Sequence[References], most: int) -> list[list[float]]:
    """Return the rewards of the project's oldest other responses to each prompt; raise InvalidInput for none.

    One query. Oldest first, so that what is scored later displaces none of them.
    """
    hashes = [
        json_hash(conversation) if conversation and each == References() else None
        for conversation, each in zip(asked.conversations, given, strict=True)
    ]
    scored: dict[str, dict[str, float]] = defaultdict(dict)
    signals = Signal.objects.filter(
        scorer=model.scorer_id,
        response__prompt__project=model.project_id,
        response__prompt__content_hash__in={each for each in hashes if each},
    )
    for prompt, response, value in signals.order_by("response").values_list(
        "response__prompt__content_hash", "response__content_hash", "value"
    ):
        scored[prompt][response] = value
    rewards, errors = [], []
    for item, key, each, place in zip(asked.inputs, hashes, given, asked.places, strict=True):
        own = json_hash(item.response) if isinstance(item, Pair) else ""
        rewards.append([value for response, value in scored.get(key or "", {}).items() if response != own][:most])
        if not rewards[-1] and each == References():
            errors.append(FieldError(place, _no_reference(item)))
    if errors:
        raise InvalidInput(_("Some responses have no reference to be compared with."), errors)
    return rewards


def _no_reference(item: Input) -> str:
    if isinstance(item, Pair):
        return _(
            "This version has scored no other response to this prompt; send references: responses to the same prompt."
        )
    return _("A reference answers the same prompt, which this text does not show; send messages and a response.")


def _prompt(item: Input) -> str:
    if not isinstance(item, Pair):
        raise InvalidInput(_("References need the prompt by itself."), [FieldError("/items", _no_reference(item))])
    return item.prompt
