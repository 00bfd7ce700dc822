"""The same text may be another model's in another comparison: who wrote it is said where it is compared."""

from django.db import migrations, models

TO_COMPARISONS = """
UPDATE prompts_comparison AS comparison SET model_1 = first.model, model_2 = second.model
FROM prompts_response AS first, prompts_response AS second
WHERE first.id = comparison.response_1_id AND second.id = comparison.response_2_id
    AND (first.model <> '' OR second.model <> '')
"""
TO_RESPONSES = """
UPDATE prompts_response AS response SET model = said.model
FROM (SELECT response_1_id AS id, model_1 AS model FROM prompts_comparison
    UNION SELECT response_2_id, model_2 FROM prompts_comparison) AS said
WHERE said.id = response.id AND said.model <> ''
"""


class Migration(migrations.Migration):
    dependencies = [("prompts", "0004_indexes_that_others_cover")]

    operations = [
        migrations.AddField(
            "comparison",
            "model_1",
            models.CharField(
                blank=True, default="", help_text="Who wrote response 1; annotators never see this.", max_length=200
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            "comparison",
            "model_2",
            models.CharField(
                blank=True,
                default="",
                help_text="Who wrote response 2; the same text may be another model's elsewhere.",
                max_length=200,
            ),
            preserve_default=False,
        ),
        migrations.RunSQL(TO_COMPARISONS, TO_RESPONSES),
        migrations.RemoveField("response", "model"),
    ]
