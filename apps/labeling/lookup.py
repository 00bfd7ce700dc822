"""One's own assignment, and the texts of its pair: what every request of somebody who labels looks up."""

from typing import Any

from apps.accounts.models import User
from apps.core.rows import Columns, fetch_row
from apps.labeling.leasing import gone
from apps.labeling.models import Assignment
from apps.projects.access import LABELS, is_id, is_open_to
from apps.projects.models import GuidelineVersion, Project
from apps.prompts.models import Comparison, Prompt, Response

_ASSIGNMENT, _PROJECT = Columns(Assignment, "assignment"), Columns(Project, "project")
_GUIDELINE = Columns(GuidelineVersion, "guideline", "id", "project_id", "number")
_MINE = f"""
SELECT {_ASSIGNMENT}, {_PROJECT}, {_GUIDELINE}
FROM labeling_assignment AS assignment
JOIN projects_project AS project ON project.id = assignment.project_id
JOIN projects_guidelineversion AS guideline ON guideline.id = assignment.guideline_version_id
WHERE assignment.id = %(assignment)s AND assignment.annotator_id = %(user)s
  AND (%(anywhere)s OR EXISTS (
      SELECT 1 FROM projects_membership AS membership
      WHERE membership.project_id = project.id AND membership.user_id = %(user)s AND membership.role = ANY(%(roles)s)
  ))
"""  # noqa: S608  (columns of our own models)
_COMPARISON = Columns(Comparison, "comparison", "id", "project_id", "prompt_id", "response_1_id", "response_2_id")
_PROMPT = Columns(Prompt, "prompt", "id", "messages")
_FIRST, _SECOND = (Columns(Response, alias, "id", "text") for alias in ("first", "second"))
_TEXTS = f"""
SELECT {_COMPARISON}, {_PROMPT}, {_FIRST}, {_SECOND}
FROM prompts_comparison AS comparison
JOIN prompts_prompt AS prompt ON prompt.id = comparison.prompt_id
JOIN prompts_response AS first ON first.id = comparison.response_1_id
JOIN prompts_response AS second ON second.id = comparison.response_2_id
WHERE comparison.id = %(comparison)s
"""  # noqa: S608  (columns of our own models)


def get_assignment(*, user: User, assignment_id: Any) -> Assignment:
    """Return the person's own assignment in a project in which they still label; anything else is not found.

    One query; the texts, which can be long, come with `load_texts`.
    """
    if not is_id(str(assignment_id)):
        raise gone()
    who = {"user": user.pk, "anywhere": user.is_superuser, "roles": [role.value for role in LABELS]}
    found = fetch_row(_MINE, {"assignment": int(assignment_id), **who}, _ASSIGNMENT, _PROJECT, _GUIDELINE)
    if found is None or not is_open_to(user, found[0].project_id):
        raise gone()
    assignment: Assignment
    assignment, assignment.project, assignment.guideline_version = found
    assignment.annotator = user
    return assignment


def load_texts(assignment: Assignment) -> Assignment:
    """Bring the prompt and the two responses along, which can be long (one query); return the same assignment."""
    found = fetch_row(_TEXTS, {"comparison": assignment.comparison_id}, _COMPARISON, _PROMPT, _FIRST, _SECOND)
    if found is None:
        raise gone()
    comparison: Comparison
    comparison, comparison.prompt, comparison.response_1, comparison.response_2 = found
    assignment.comparison = comparison
    return assignment
