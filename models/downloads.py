"""A version's files as an answer, made while it is sent."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from models.files import FORMATS
from models.models import ModelVersion
from workspace.errors import FieldError, Invalid
from workspace.streaming import streamed


def download(request: HttpRequest, version: ModelVersion, format: str) -> HttpResponseBase:
    """Give a version's files as one archive; raises Invalid for a format that is not known."""
    if format not in FORMATS:
        raise Invalid.of(FieldError("format", f"Use one of {', '.join(FORMATS)}."))
    content_type, make = FORMATS[format]
    answer = streamed(request, make(version), content_type)
    name = f"{version.model.name}-{version.version}.{format}"
    disposition = content_disposition_header(as_attachment=True, filename=name)
    answer["Content-Disposition"] = disposition or "attachment"
    return answer
