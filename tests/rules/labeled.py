"""A project in which people prefer the response with parentheses, made in a few statements."""

import random

from apps.accounts.models import User
from apps.endpoints.models import ModelEndpoint
from apps.labeling.models import Consensus, QueueItem
from apps.projects.models import Project
from apps.prompts.models import Comparison, Prompt, Response, json_hash
from apps.rules.models import RuleSet
from apps.rules.verification import bind_verifier


def label_pairs(project: Project, count: int = 240, seed: int = 0, follows: float = 0.9) -> list[Comparison]:
    """Store pairs of which one has parentheses; people prefer it with the probability `follows`."""
    draw = random.Random(seed)
    messages = [[{"role": "user", "content": f"Question {seed}-{number}: what is a tide?"}] for number in range(count)]
    prompts = Prompt.objects.bulk_create(
        Prompt(project=project, messages=each, content_hash=json_hash(each)) for each in messages
    )
    texts, marked = [], []
    for number in range(count):
        words = ["Tides " + "sea " * draw.randint(5, 60) + f"number {number} {side}." for side in "ab"]
        marked.append(draw.random() < 0.5)
        words[marked[-1]] = words[marked[-1]].replace("Tides", "(Tides)")
        texts.append(words)
    responses = Response.objects.bulk_create(
        Response(prompt=prompt, text=text, content_hash=json_hash(text))
        for prompt, pair in zip(prompts, texts, strict=True)
        for text in pair
    )
    comparisons = Comparison.objects.bulk_create(
        Comparison(
            project=project,
            prompt=prompt,
            response_1=responses[2 * number],
            response_2=responses[2 * number + 1],
            external_id=f"tide-{seed}-{number}",
            metadata={"domain": "sea" if number % 3 else "moon"},
        )
        for number, prompt in enumerate(prompts)
    )
    QueueItem.objects.bulk_create(
        QueueItem(comparison=each, project=project, state="complete", wanted=3, taken=3, shuffle_key=0.5)
        for each in comparisons
    )
    sides = [1 if second == (draw.random() < follows) else -1 for second in marked]
    Consensus.objects.bulk_create(
        Consensus(
            comparison=each, project=project, status="agreed", preference=2 * side, annotation_count=3, rule="test"
        )
        for each, side in zip(comparisons, sides, strict=True)
    )
    return comparisons


def bound(rule_set: RuleSet, person: User, model: str = "m-1") -> RuleSet:
    """Let a model of this person judge by the read rules of a set; nobody is asked."""
    endpoint = ModelEndpoint.objects.create(owner=person, name=model, model=model, base_url="http://127.0.0.1:9/v1")
    return bind_verifier(rule_set=rule_set, endpoint=str(endpoint.pk), actor=person)
