"""Exports of versions to ONNX: requested, converted and checked by a worker, downloaded."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from models.frameworks import tensorflow_release_for
from models.imports.execution import enqueue
from models.imports.sandbox import job_directory, run_converter
from models.models import JobState, ModelVersion, OnnxConversion
from models.selectors import manifest_of
from runs.source.blobs import store_for
from runs.source.snapshots import Manifest, ManifestEntry
from workspace.audit import audit
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.platform.background_jobs import JobFailed, LogWriter
from workspace.platform.errors import Conflict, NotFound

FILE = "model.onnx"
DEFAULT_SIGNATURE = "serving_default"
MAX_ONNX_BYTES = 2 * 2**30 - 1  # of protocol buffers, which ONNX files are
# Newer ones of onnx need newer ml_dtypes than TensorFlow 2.15 takes.
CONVERTERS = {
    "2.21": ("tf2onnx==1.17.0", "onnx>=1.17,<1.24", "onnxruntime>=1.17,<1.32"),
    "2.15": ("tf2onnx==1.17.0", "onnx>=1.16,<1.18", "onnxruntime>=1.17,<1.32"),
}


def conversion_of(version: ModelVersion) -> OnnxConversion:
    found = OnnxConversion.objects.filter(version=version).select_related("created_by").first()
    if found is None:
        raise NotFound(f"{version} was not converted to ONNX.")
    return found


@transaction.atomic
def request_onnx_conversion(*, version: ModelVersion, by: User | None) -> OnnxConversion:
    """Request the conversion of a version, or another one where it failed."""
    if version.total_bytes > MAX_ONNX_BYTES:
        raise Conflict(f"{version} is larger than 2 GiB, more than an ONNX file can hold.")
    conversion, is_new = OnnxConversion.objects.select_for_update().get_or_create(
        version=version, defaults={"created_by": by}
    )
    if not is_new and not conversion.is_over:
        return conversion
    OnnxConversion.objects.filter(pk=conversion.pk).update(
        state=JobState.WAITING, error="", created_by=by, created_at=timezone.now(), ended_at=None
    )
    conversion.refresh_from_db()
    audit(team=version.model.team, actor=by, action="model.convert", subject=str(version))
    enqueue(conversion)
    return conversion


def convert(conversion: OnnxConversion, write_log: LogWriter) -> dict[str, Any]:
    """Convert a version and check the result; return the columns to store."""
    version = conversion.version
    team = version.model.team
    release = tensorflow_release_for(version.framework_version)
    spec = EnvironmentSpec.of(release, packages=CONVERTERS[release])
    with job_directory(conversion) as directory:
        directory.put(team, manifest_of(version), "model")
        job = {"signature": _signature_of(version)}
        program = "savedmodel_to_onnx.py"
        result = run_converter(conversion, team, spec, program, directory, job, write_log)
        file = directory.target / FILE
        if file.is_symlink() or not file.is_file():
            raise JobFailed(f"The converter left no {FILE}. Its log says why.")
        store = store_for(team)
        with file.open("rb") as content:
            digest, size = store.put_stream(content, max_bytes=MAX_ONNX_BYTES)
    manifest = Manifest.of([ManifestEntry(FILE, digest, size)])
    store.put_lasting(manifest.content)
    return {
        "opset": result["opset"],
        "parity": result["parity"],
        "manifest_digest": manifest.digest,
        "size_bytes": size,
    }


def _signature_of(version: ModelVersion) -> str:
    names = sorted(version.signatures)
    return DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in names else names[0]
