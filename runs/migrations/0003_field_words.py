from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0002_containers"),
    ]

    operations = [
        migrations.RenameField(
            model_name="processgroup",
            old_name="go_at",
            new_name="barrier_opened_at",
        ),
        migrations.RenameField(
            model_name="run",
            old_name="sealed_image_login",
            new_name="encrypted_image_login",
        ),
        migrations.RenameField(
            model_name="run",
            old_name="not_responding_since",
            new_name="target_unreachable_since",
        ),
        migrations.RenameField(
            model_name="run",
            old_name="requeue_because",
            new_name="requeue_reason",
        ),
        migrations.RenameField(
            model_name="run",
            old_name="still_since",
            new_name="hung_since",
        ),
        migrations.RenameField(
            model_name="run",
            old_name="waiting_because",
            new_name="wait_reason",
        ),
    ]
