from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("workspace", "0004_field_words"),
    ]

    operations = [
        migrations.AlterField(
            model_name="computetarget",
            name="kind",
            field=models.CharField(default="local", max_length=20),
        ),
        migrations.AlterField(
            model_name="environment",
            name="kind",
            field=models.CharField(max_length=20),
        ),
    ]
