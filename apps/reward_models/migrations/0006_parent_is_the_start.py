"""`parent` was the version that was current when one was made; that moves to a field of its own.

The true parent is the version that the recipe names as its start; none where it names none.
"""

from django.db import migrations


def separate(apps, schema_editor):
    versions = apps.get_model("reward_models", "RewardModel").objects
    for version in versions.only("project_id", "version", "recipe", "parent_id"):
        start = str(version.recipe.get("initialisation", "scratch"))
        of_project = versions.filter(project_id=version.project_id, version__lt=version.version)
        parent = of_project.filter(pk=start).first() if start.isdecimal() else None
        version.parent_id, version.current_when_made_id = parent and parent.pk, version.parent_id
        version.save(update_fields=["parent", "current_when_made"])


def join(apps, schema_editor):
    for version in apps.get_model("reward_models", "RewardModel").objects.only("current_when_made_id"):
        version.parent_id = version.current_when_made_id
        version.save(update_fields=["parent"])


class Migration(migrations.Migration):

    dependencies = [("reward_models", "0005_current_when_made")]

    operations = [migrations.RunPython(separate, join)]
