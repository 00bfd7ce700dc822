"""A policy's period and number of labels have an upper bound: a longer period than a year cannot be counted."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reward_models", "0003_evaluations_and_promotion_rule")]

    operations = [
        migrations.AlterField(
            model_name="retrainpolicy",
            name="every_hours",
            field=models.FloatField(
                null=True,
                blank=True,
                validators=[MinValueValidator(0.01), MaxValueValidator(8760.0)],
                help_text="Hours after which a training starts.",
            ),
        ),
        migrations.AlterField(
            model_name="retrainpolicy",
            name="every_labels",
            field=models.PositiveIntegerField(
                null=True,
                blank=True,
                validators=[MinValueValidator(1), MaxValueValidator(1_000_000)],
                help_text="New consensus labels that start a training.",
            ),
        ),
    ]
