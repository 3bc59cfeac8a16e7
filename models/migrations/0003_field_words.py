import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("models", "0002_registry"),
    ]

    operations = [
        migrations.RenameModel(old_name="Conversion", new_name="OnnxConversion"),
        migrations.RenameModel(old_name="Import", new_name="ModelImport"),
        migrations.AlterField(
            model_name="modelimport",
            name="version",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="imported_by",
                to="models.modelversion",
            ),
        ),
    ]
