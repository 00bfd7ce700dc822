"""Rows for tests, made the way the product makes them where that matters."""

from typing import Any

import factory
from django.contrib.auth.hashers import make_password

from apps.accounts.models import User
from apps.labeling.models import QueueItem
from apps.projects.models import GuidelineVersion, Membership, Project
from apps.projects.protocol import HELPSTEER2_ATTRIBUTES
from apps.prompts.models import Comparison, Prompt, Response, json_hash

PASSWORD = "correct horse battery"
_PASSWORD_HASH = make_password(PASSWORD)
JUSTIFICATION = "@Response 1 answers the question in full while @Response 2 leaves the second half out entirely."


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = User

    username = factory.Sequence(lambda n: f"person{n}")
    password = _PASSWORD_HASH


class ProjectFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Project
        skip_postgeneration_save = True

    slug = factory.Sequence(lambda n: f"project-{n}")
    name = factory.Sequence(lambda n: f"Project {n}")
    random_share = 0.0

    @factory.post_generation
    def guideline(self: Project, create: bool, extracted: str | None, **kwargs: Any) -> None:
        GuidelineVersion.objects.create(project=self, number=1, text=extracted or "Read both responses.")


class MembershipFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Membership

    project = factory.SubFactory(ProjectFactory)
    user = factory.SubFactory(UserFactory)
    role = Membership.Role.ANNOTATOR


class PromptFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Prompt

    project = factory.SubFactory(ProjectFactory)
    messages = factory.Sequence(lambda n: [{"role": "user", "content": f"Question {n}?"}])
    content_hash = factory.LazyAttribute(lambda prompt: json_hash(prompt.messages))


class ResponseFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Response

    prompt = factory.SubFactory(PromptFactory)
    text = factory.Sequence(lambda n: f"Answer number {n}.")
    content_hash = factory.LazyAttribute(lambda response: json_hash(response.text))


class ComparisonFactory(factory.django.DjangoModelFactory):
    """A comparison with its queue item."""

    class Meta:
        model = Comparison
        skip_postgeneration_save = True

    project = factory.SubFactory(ProjectFactory)
    prompt = factory.SubFactory(PromptFactory, project=factory.SelfAttribute("..project"))
    response_1 = factory.SubFactory(ResponseFactory, prompt=factory.SelfAttribute("..prompt"))
    response_2 = factory.SubFactory(ResponseFactory, prompt=factory.SelfAttribute("..prompt"))
    model_1 = model_2 = "secret-model"
    external_id = factory.Sequence(lambda n: f"pair-{n}")

    @factory.post_generation
    def queue(self: Comparison, create: bool, extracted: Any, **changes: Any) -> None:
        fields = {"wanted": self.project.protocol.annotators, "shuffle_key": self.pk % 97 / 97, **changes}
        QueueItem.objects.create(comparison=self, project=self.project, **fields)


def ratings(value: int = 3) -> dict[str, int]:
    """Return one response's ratings, all the same."""
    return {attribute.name: value for attribute in HELPSTEER2_ATTRIBUTES}


def answer(**changes: Any) -> dict[str, Any]:
    """Return a valid body for submit, with changes."""
    body = {
        "preference": -2,
        "ratings": {"1": ratings(3), "2": ratings(2)},
        "justification": JUSTIFICATION,
        "active_seconds": 61,
    }
    return {**body, **changes}
