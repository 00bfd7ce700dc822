"""A project's protocol, guideline and members change by the rules, and the log remembers who did it."""

import pytest

from apps.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from apps.projects.access import Role, get_project
from apps.projects.models import AuditEvent, GuidelineVersion, Membership
from apps.projects.protocol import Protocol, parse_protocol
from apps.projects.services import add_member, change_role, create_project, remove_member, update_project
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def test_a_stranger_finds_nothing_and_a_member_with_the_wrong_role_is_told_so(project, annotator, stranger):
    with pytest.raises(NotFound):
        get_project(stranger, project.slug, *Role)
    with pytest.raises(Forbidden, match="needs the role manager; you are annotator"):
        get_project(annotator, project.slug, Role.MANAGER)
    assert get_project(annotator, project.slug, Role.ANNOTATOR) == project


def test_a_superuser_is_manager_everywhere_but_finds_no_project_that_is_not_there(project):
    root = UserFactory(is_superuser=True)
    assert get_project(root, project.slug, Role.MANAGER) == project
    with pytest.raises(NotFound):
        get_project(root, "nowhere", Role.MANAGER)


def test_its_creator_manages_a_new_project():
    creator = UserFactory()
    project = create_project(name="New", slug="new", created_by=creator, guideline="Read.")
    assert Membership.objects.get(project=project).role == "manager"
    assert project.current_guideline().text == "Read."


@pytest.mark.parametrize("slug", ["", "Upper", "with space", "a/b", "-x", "new\n", "x" * 61])
def test_a_slug_that_makes_no_address_is_refused(slug):
    with pytest.raises(InvalidInput) as refused:
        create_project(name="New", slug=slug, created_by=None)
    assert refused.value.errors[0].pointer == "/slug"


def test_a_slug_is_taken_once(project):
    with pytest.raises(InvalidInput):
        create_project(name="Again", slug=project.slug, created_by=None)


def test_a_changed_guideline_is_a_new_version_and_the_same_one_is_not(project, manager):
    update_project(project=project, actor=manager, guideline="Read twice.")
    update_project(project=project, actor=manager, guideline="Read twice.")
    assert list(GuidelineVersion.objects.values_list("number", "text")) == [
        (1, "Read both responses."),
        (2, "Read twice."),
    ]
    assert AuditEvent.objects.filter(verb="published a guideline version", actor=manager).count() == 1


def test_a_project_keeps_a_manager(project, manager):
    for change in (
        lambda: remove_member(project=project, actor=manager, username=manager.username),
        lambda: change_role(project=project, actor=manager, username=manager.username, role="annotator"),
    ):
        with pytest.raises(Conflict, match="needs a manager"):
            change()
    other = UserFactory()
    add_member(project=project, actor=manager, username=other.username, role="manager")
    remove_member(project=project, actor=other, username=manager.username)
    assert Membership.objects.get(project=project).user == other


def test_members_are_added_once_with_a_role_that_exists(project, manager):
    person = UserFactory()
    with pytest.raises(InvalidInput):
        add_member(project=project, actor=manager, username="nobody", role="annotator")
    with pytest.raises(InvalidInput):
        add_member(project=project, actor=manager, username=person.username, role="emperor")
    add_member(project=project, actor=manager, username=person.username, role="annotator")
    with pytest.raises(Conflict, match="member already"):
        add_member(project=project, actor=manager, username=person.username, role="annotator")


def test_the_default_protocol_is_helpsteer2s():
    protocol = Protocol()
    assert protocol.attribute_names == ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    assert all(len(attribute.levels) == 5 for attribute in protocol.attributes)
    assert (protocol.annotators, protocol.max_annotators, protocol.spread_limit) == (3, 5, 2)


def test_a_protocol_survives_the_way_through_json():
    protocol = parse_protocol({"annotators": 4, "justification_words": [5, 50]})
    assert parse_protocol(protocol.to_dict()) == protocol


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], "/protocol"),
        ({"annotators": 0}, "/protocol/annotators"),
        ({"annotators": 2.5}, "/protocol/annotators"),
        ({"annotators": True}, "/protocol/annotators"),
        ({"annotators": 5, "max_annotators": 3}, "/protocol/max_annotators"),
        ({"lease_minutes": 10**9}, "/protocol/lease_minutes"),
        ({"control_rate": 2}, "/protocol/control_rate"),
        ({"justification_words": [10, 5]}, "/protocol/justification_words"),
        ({"justification_words": "10-300"}, "/protocol/justification_words"),
        ({"attributes": []}, "/protocol/attributes"),
        ({"attributes": [{"name": "a b", "levels": ["x"] * 5}]}, "/protocol/attributes/0/name"),
        ({"attributes": [{"name": "tone", "levels": ["x"]}]}, "/protocol/attributes/0/levels"),
        ({"attributes": [{"name": "tone", "levels": ["x"] * 5}] * 2}, "/protocol/attributes"),
        ({"colour": "red"}, "/protocol/colour"),
    ],
)
def test_a_wrong_protocol_is_refused_with_the_field(body, pointer):
    with pytest.raises(InvalidInput) as refused:
        parse_protocol(body)
    assert pointer in [error.pointer for error in refused.value.errors]
