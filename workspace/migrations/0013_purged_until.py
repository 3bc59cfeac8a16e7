from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workspace", "0012_installation")]
    operations = [
        migrations.AddField(
            model_name="installation",
            name="purged_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
