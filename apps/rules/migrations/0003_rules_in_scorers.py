"""Scorers of rule sets know the rules: those made before learn them."""

from django.db import migrations

from apps.prompts.models import json_hash

FROZEN = ("rules", "not_applicable_is_yes", "sha256")


def describe(apps, schema_editor):
    for rule_set in apps.get_model("rules", "RuleSet").objects.exclude(scorer=None).select_related("scorer"):
        kept = rule_set.rules.filter(state="kept").order_by("number")
        frozen = {
            "rules": list(kept.values("number", "kind", "text", "weight")),
            "not_applicable_is_yes": bool(rule_set.options.get("not_applicable_is_yes", False)),
        }
        rule_set.scorer.config |= {**frozen, "sha256": json_hash(frozen)}
        rule_set.scorer.save(update_fields=["config"])


def forget(apps, schema_editor):
    for scorer in apps.get_model("signals", "Scorer").objects.filter(kind="rule_set"):
        scorer.config = {name: value for name, value in scorer.config.items() if name not in FROZEN}
        scorer.save(update_fields=["config"])


class Migration(migrations.Migration):

    dependencies = [
        ("rules", "0002_steps_of_extractions"),
        ("signals", "0004_raw_parts_and_kinds"),
    ]

    operations = [migrations.RunPython(describe, forget)]
