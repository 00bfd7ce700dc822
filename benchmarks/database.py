"""A database of its own for a benchmark, and projects of any size in it, seeded by SQL in seconds."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LEVELS = 21
"""So many levels of priority a seeded project has, as after a reward model has scored it (`apps.signals`)."""

# Three kinds of responses of about 1,500 characters: prose, a list with code, a table with formulas.
_PROSE = " ".join(
    f"Point {number}: the tide follows the moon, the sun adds to it or takes from it, and the shape of the coast "
    "decides how high the water stands in the end."
    for number in range(1, 11)
)
_LIST = "\n".join(
    [
        "## In short\n",
        *(
            f"{number}. **Step {number}** uses `moon.phase({number})` and *then* checks [the table](https://example.org/)."
            for number in range(1, 11)
        ),
        "\n```python\ndef height(hours: float) -> float:\n    # twelve hours and 25 minutes",
        "    return 2.1 * cos(hours / 12.42)\n```\n",
        "> A spring tide comes twice a month.\n" * 6,
    ]
)
_TABLE = "\n".join(
    [
        "The heights follow $h(t) = \\sum_i A_i \\cos(\\omega_i t + \\phi_i)$:\n",
        "| harbour | spring tide | neap tide | remark |\n|---|---:|---:|---|",
        *(
            f"| Harbour {number} | {number}.{number} m | 0.{number} m | measured in year {number} |"
            for number in range(1, 13)
        ),
        "\n- The moon pulls the water.\n- The sun pulls as well.\n" * 8,
    ]
)
_PROJECT = """
CREATE TEMPORARY TABLE kinds ON COMMIT DROP AS
    SELECT kind - 1 AS kind, text FROM unnest(%(texts)s::text[]) WITH ORDINALITY AS given(text, kind);
INSERT INTO prompts_prompt (created_at, project_id, messages, content_hash)
    SELECT now(), %(project)s, jsonb_build_array(jsonb_build_object('role', 'user', 'content',
        'Question ' || n || ': ' || repeat('why does the sea rise and fall? ', 6))), 'prompt-' || n
    FROM generate_series(1, %(pairs)s) AS n;
INSERT INTO prompts_response (created_at, prompt_id, text, content_hash)
    SELECT now(), prompt.id, 'Answer ' || side || ' to ' || prompt.id || E'.\n\n' || kinds.text,
        'response-' || side
    FROM prompts_prompt AS prompt CROSS JOIN generate_series(1, 2) AS side JOIN kinds 
        ON kind = (prompt.id + side) %% cardinality(%(texts)s::text[])
    WHERE project_id = %(project)s ORDER BY prompt.id, side;
INSERT INTO prompts_comparison
        (created_at, project_id, prompt_id, response_1_id, response_2_id, model_1, model_2, external_id, reference,
        metadata)
    SELECT now(), %(project)s, prompt_id, min(response.id), max(response.id), 'model-1', 'model-2',
        'pair-' || prompt_id, '', '{}'
    FROM prompts_response AS response JOIN prompts_prompt AS prompt ON prompt.id = prompt_id
    WHERE project_id = %(project)s GROUP BY prompt_id ORDER BY prompt_id;
INSERT INTO labeling_queueitem
        (comparison_id, project_id, state, wanted, taken, had, priority, shuffle_key, closed_reason)
    SELECT id, project_id, 'open', 3, 0, '{}', -(id %% %(levels)s), random(), ''
    FROM prompts_comparison WHERE project_id = %(project)s;
"""
# Pairs in the order of the queue: the first `complete` have three annotations, the next `begun` have one. Of those,
# the first person has a sixth and a half; the others take turns in ever different threes.
_WORK = """
CREATE TEMPORARY TABLE done ON COMMIT DROP AS
WITH pairs AS (
    SELECT comparison_id, (row_number() OVER (ORDER BY priority DESC, comparison_id) - 1)::int AS place
    FROM labeling_queueitem WHERE project_id = %(project)s
    ORDER BY priority DESC, comparison_id LIMIT %(complete)s + %(begun)s
), turns AS (
    SELECT pairs.*, turn, CASE
        WHEN turn = 0 AND place %% (CASE WHEN place < %(complete)s THEN 6 ELSE 2 END) = 0 THEN 1
        ELSE 2 + (place + CASE turn
            WHEN 0 THEN 0
            WHEN 1 THEN 1 + place / %(others)s %% (%(others)s / 2 - 1)
            ELSE %(others)s / 2 + 1 + place / 1740 %% (%(others)s / 2 - 1)
        END) %% %(others)s
    END AS person
    FROM pairs CROSS JOIN generate_series(0, CASE WHEN place < %(complete)s THEN 2 ELSE 0 END) AS turn
)
SELECT comparison_id, place, (%(people)s::bigint[])[person] AS annotator_id,
    now() - (%(complete)s + %(begun)s - place) * interval '1 second' AS at
FROM turns;
INSERT INTO labeling_assignment (created_at, project_id, comparison_id, annotator_id, state, swapped, drawn, ahead,
        guideline_version_id, lease_expires_at, skip_reason, skip_note)
    SELECT at, %(project)s, comparison_id, annotator_id, 'submitted', place %% 2 = 0, 'priority', false, %(guideline)s,
        at, '', ''
    FROM done ORDER BY place;
INSERT INTO labeling_annotation (assignment_id, project_id, comparison_id, annotator_id, guideline_version_id, revision,
        is_current, neither, preference, ratings_1, ratings_2, justification, swapped, imported, is_repeat, problems_1,
        problems_2, unsafe, active_seconds, answer_hash, submitted_at)
    SELECT assignment.id, %(project)s, comparison_id, annotator_id, %(guideline)s, 1, true, false, 1 + place %% 3,
        %(ratings)s, %(ratings)s, 'Pair ' || place || ': ' || repeat('the first one answers in full. ', 6), swapped,
        false, false, '[]', '[]', false, 60, 'answer-' || place, at
    FROM labeling_assignment AS assignment JOIN done USING (comparison_id, annotator_id)
    WHERE project_id = %(project)s ORDER BY assignment.id;
INSERT INTO labeling_consensus (comparison_id, project_id, status, preference, excluded_reason, spread, kept,
        annotation_count, rule, settled_at)
    SELECT comparison_id, %(project)s, CASE WHEN count(*) = 3 THEN 'agreed' ELSE 'pending' END,
        CASE WHEN count(*) = 3 THEN min(preference) END, '', CASE WHEN count(*) = 3 THEN 0 END,
        CASE WHEN count(*) = 3 THEN jsonb_agg(id ORDER BY submitted_at, id) ELSE '[]' END, count(*),
        'three-most-similar/1', CASE WHEN count(*) = 3 THEN max(submitted_at) END
    FROM labeling_annotation WHERE project_id = %(project)s GROUP BY comparison_id;
UPDATE labeling_queueitem AS queue SET taken = had_by.count, had = had_by.people,
        state = CASE WHEN had_by.count = 3 THEN 'complete' ELSE 'open' END
    FROM (SELECT comparison_id, count(*), array_agg(annotator_id ORDER BY annotator_id) AS people FROM done
        GROUP BY comparison_id) AS had_by
    WHERE had_by.comparison_id = queue.comparison_id;
INSERT INTO labeling_workload
        (project_id, annotator_id, submitted, skipped, last_day, submitted_on_last_day, guideline_seen_id)
    SELECT %(project)s, annotator_id, count(*), 0, last_day, count(*) FILTER (WHERE at::date = last_day), %(guideline)s
    FROM (SELECT annotator_id, at, max(at) OVER (PARTITION BY annotator_id)::date AS last_day FROM done) AS dated
    GROUP BY annotator_id, last_day;
"""


@contextmanager
def own_database() -> Iterator[Path]:
    """Set up Django on an empty database in a folder of its own, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tiebreak-bench-"))
    folder.chmod(0o755)  # the embedded PostgreSQL may run as a user of its own
    os.environ.update(
        TIEBREAK_VAR=str(folder),
        DJANGO_SETTINGS_MODULE="config.settings",
        CELERY_BROKER_URL="memory://localhost",
        LOG_LEVEL="WARNING",
    )
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from config import embedded_postgres

    django.setup()
    try:
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        yield folder
    finally:
        connection.close()
        embedded_postgres.stop(settings.POSTGRES_DIR)
        shutil.rmtree(folder, ignore_errors=True)


def seed_project(
    *, slug: str, pairs: int, people: int, texts: Sequence[str] = (_PROSE, _LIST, _TABLE)
) -> tuple[Any, list[Any]]:
    """Create a project with so many pairs and annotators; return both. A million with real texts takes minutes."""
    from apps.accounts.models import User
    from apps.projects.models import Membership
    from apps.projects.services import create_project

    project = create_project(name=slug.capitalize(), slug=slug, created_by=None, guideline="Read both responses.")
    users = User.objects.bulk_create([User(username=f"{slug}-{number}") for number in range(people)])
    Membership.objects.bulk_create(
        [Membership(project=project, user=user, role=Membership.Role.ANNOTATOR) for user in users]
    )
    run(_PROJECT, {"project": project.pk, "pairs": pairs, "texts": list(texts), "levels": LEVELS})
    return project, users


def seed_work(*, project: Any, people: Sequence[Any], complete: int, begun: int) -> None:
    """Store three annotations each for `complete` pairs and one each for `begun` ones, as if people had done them.

    The first of the people has done a sixth of the complete and half of the begun ones.
    """
    import json

    ratings = dict.fromkeys(project.protocol.attribute_names, 3)
    values = {
        "project": project.pk,
        "guideline": project.current_guideline().pk,
        "people": [person.pk for person in people],
        "others": len(people) - 1,
        "complete": complete,
        "begun": begun,
        "ratings": json.dumps(ratings),
    }
    run(_WORK, values)


def run(statements: str, values: dict[str, Any]) -> None:
    """Run statements, each ended by a semicolon and a new line, in one transaction; then renew the statistics."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        for statement in statements.split(";\n")[:-1]:
            cursor.execute(statement, values)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def machine() -> str:
    """Return what the figures were measured on: cores, processor and the version of PostgreSQL."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = cursor.fetchone()[0]
    return f"{os.cpu_count()} cores of {_processor()}, PostgreSQL {version}, Python {platform.python_version()}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
