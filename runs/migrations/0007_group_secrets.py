from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0006_finalizing"),
    ]

    operations = [
        migrations.AddField(
            model_name="processgroup",
            name="encrypted_secrets",
            field=models.TextField(blank=True),
        ),
    ]
