from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0014_metric_chunks")]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                fields=["team", "status", "ended_at"], name="runs_of_a_team_by_status"
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["team", "ended_at"], name="runs_of_a_team_by_end"),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                fields=["experiment", "-number"],
                condition=models.Q(deleted_at=None, archived_at=None),
                name="listed_runs_of_experiment",
            ),
        ),
    ]
