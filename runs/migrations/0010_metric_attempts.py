import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0009_snapshot_ignored_files")]

    operations = [
        migrations.AddField(
            model_name="metricseries",
            name="attempt",
            field=models.PositiveIntegerField(default=1),
        ),
        migrations.AddField(
            model_name="metricseries",
            name="first_step",
            field=models.BigIntegerField(null=True),
        ),
        migrations.CreateModel(
            name="LeftOutMetric",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("process", models.CharField(blank=True, max_length=32)),
                ("name", models.CharField(max_length=200)),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("run", "process", "name"), name="one_left_out_metric_per_name"
                    )
                ],
            },
        ),
    ]
