"""Static files under names that hold their digest, so that browsers may keep them for ever."""

from django.contrib.staticfiles.apps import StaticFilesConfig
from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True


class StaticFiles(StaticFilesConfig):
    # What no page uses: extensions of htmx, whose imports would need an import map, and a second
    # reader of the API's description.
    ignore_patterns = [*StaticFilesConfig.ignore_patterns, "django_htmx/ext/*", "ninja/redoc*"]
