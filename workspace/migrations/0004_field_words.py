from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("workspace", "0003_limits"),
    ]

    operations = [
        migrations.RenameField(
            model_name="computetarget",
            old_name="sealed_registry_password",
            new_name="encrypted_registry_password",
        ),
        migrations.RenameField(
            model_name="computetarget",
            old_name="sealed_tls_key",
            new_name="encrypted_tls_key",
        ),
        migrations.RenameField(
            model_name="computetarget",
            old_name="ends_still_runs",
            new_name="fail_hung_runs",
        ),
        migrations.RenameField(
            model_name="computetarget",
            old_name="still_after_seconds",
            new_name="hang_timeout_seconds",
        ),
        migrations.RenameField(
            model_name="computetarget",
            old_name="unreachable_because",
            new_name="unreachable_reason",
        ),
        migrations.RenameField(
            model_name="computetarget",
            old_name="lost_after_seconds",
            new_name="unreachable_timeout_seconds",
        ),
    ]
