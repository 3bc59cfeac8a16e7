from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("deploy", "0002_serving"),
    ]

    operations = [
        migrations.RenameField(
            model_name="loggedrequest",
            old_name="caller",
            new_name="principal",
        ),
        migrations.RenameField(
            model_name="revision",
            old_name="quick_deaths",
            new_name="consecutive_crashes",
        ),
        migrations.RenameField(
            model_name="revision",
            old_name="proven_at",
            new_name="verified_at",
        ),
        migrations.RenameField(
            model_name="service",
            old_name="golden_request",
            new_name="smoke_test_request",
        ),
        migrations.RenameField(
            model_name="service",
            old_name="woken_at",
            new_name="wake_requested_at",
        ),
        migrations.RenameField(
            model_name="traffic",
            old_name="differing",
            new_name="mismatches",
        ),
        migrations.RenameField(
            model_name="service",
            old_name="opening",
            new_name="access_policy",
        ),
        migrations.AlterField(
            model_name="service",
            name="access_policy",
            field=models.CharField(
                choices=[
                    ("keys", "Keys"),
                    ("tokens", "Tokens"),
                    ("team", "Team"),
                    ("open", "Public"),
                ],
                default="keys",
                max_length=6,
            ),
        ),
    ]
