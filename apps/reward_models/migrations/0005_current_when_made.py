"""What was current when a version was made is a fact of its own, beside the version it started from."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reward_models', '0004_bounds_of_retrain_policies'),
    ]

    operations = [
        migrations.AddField(
            model_name='rewardmodel',
            name='current_when_made',
            field=models.ForeignKey(help_text='The version that was current when this one was made.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='reward_models.rewardmodel'),
        ),
        migrations.AlterField(
            model_name='rewardmodel',
            name='parent',
            field=models.ForeignKey(help_text='The version whose weights training started from; none where it started from scratch.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='children', to='reward_models.rewardmodel'),
        ),
    ]
