"""Send a version's files to a browser while they are read, a piece at a time."""

from django.http import StreamingHttpResponse

from models.files import FORMATS
from models.models import ModelVersion
from workspace.errors import FieldError, Invalid
from workspace.streaming import in_threads


def download(version: ModelVersion, format: str) -> StreamingHttpResponse:
    """Give a version's files as one archive; raises Invalid for a format that is not known."""
    if format not in FORMATS:
        raise Invalid.of(FieldError("format", f"Use one of {', '.join(FORMATS)}."))
    content_type, make = FORMATS[format]
    return StreamingHttpResponse(
        in_threads(make(version)),
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{version.model.name}-{version.version}'
            f'.{format}"'
        },
    )
