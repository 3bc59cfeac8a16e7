"""Static files under names that hold their digest, so that browsers may keep them for ever."""

from django.contrib.staticfiles.apps import StaticFilesConfig
from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile
from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True


class StaticFiles(StaticFilesConfig):
    # What no page uses: extensions of htmx, whose imports would need an import map, and a second
    # reader of the API's description.
    ignore_patterns = [*StaticFilesConfig.ignore_patterns, "django_htmx/ext/*", "ninja/redoc*"]


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        """Answer with the whole file: under ASGI a file that is streamed is read whole first."""
        found = static_file.get_response(request.method, request.META)
        answer = HttpResponse(found.file.read() if found.file else b"", status=int(found.status))
        if found.file:
            found.file.close()
        del answer["Content-Type"]
        for name, value in found.headers:
            answer[name] = value
        return answer
