"""A version's files as an answer, made while it is sent, and checked before and meanwhile."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from models.files import FORMATS, onnx_file, verify_files
from models.models import JobState, ModelVersion, OnnxConversion
from workspace.platform.errors import FieldError, Invalid, NotFound
from workspace.platform.streaming import streaming_response

DIGEST_HEADER = "X-Content-Digest"  # SHA-256: of the manifest of an archive's files, or the file


def download(request: HttpRequest, version: ModelVersion, format: str) -> HttpResponseBase:
    """Return a version's files as one archive. Raises Invalid for a format that is not known."""
    if format not in FORMATS:
        raise Invalid.of(FieldError("format", f"Use one of {', '.join(FORMATS)}."))
    content_type, make = FORMATS[format]
    verify_files(version)
    answer = streaming_response(request, make(version), content_type)
    answer[DIGEST_HEADER] = version.manifest_digest
    return _attached(answer, f"{version.model.name}-{version.version}.{format}")


def download_onnx(request: HttpRequest, conversion: OnnxConversion) -> HttpResponseBase:
    """Return a converted version; raises NotFound while there is none."""
    if conversion.state != JobState.DONE:
        raise NotFound(f"{conversion.version} is not converted to ONNX: {conversion.state}.")
    version = conversion.version
    digest, pieces = onnx_file(conversion)
    answer = streaming_response(request, pieces, "application/octet-stream")
    answer[DIGEST_HEADER] = digest
    return _attached(answer, f"{version.model.name}-{version.version}.onnx")


def _attached(answer: HttpResponseBase, name: str) -> HttpResponseBase:
    disposition = content_disposition_header(as_attachment=True, filename=name)
    answer["Content-Disposition"] = disposition or "attachment"
    return answer
