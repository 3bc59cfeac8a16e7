"""Versions as ONNX: asked for, converted by a worker, checked, and given out."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from models.models import Conversion, ModelVersion, WorkState
from models.selectors import manifest_of
from models.work import Failed, Say, ask_for
from models.workshop import bench_for, release_for, run_program
from runs.blobs import store_for
from runs.snapshots import Entry, Manifest
from workspace.environments import EnvironmentSpec
from workspace.errors import Conflict, NotFound
from workspace.services import audit

FILE = "model.onnx"
DEFAULT_SIGNATURE = "serving_default"
LARGEST_BYTES = 2 * 2**30 - 1  # of protocol buffers, which ONNX files are
# Newer ones of onnx need newer ml_dtypes than TensorFlow 2.15 takes.
CONVERTERS = {
    "2.21": ("tf2onnx==1.17.0", "onnx>=1.17,<1.24", "onnxruntime>=1.17,<1.32"),
    "2.15": ("tf2onnx==1.17.0", "onnx>=1.16,<1.18", "onnxruntime>=1.17,<1.32"),
}


def conversion_of(version: ModelVersion) -> Conversion:
    found = Conversion.objects.filter(version=version).select_related("created_by").first()
    if found is None:
        raise NotFound(f"{version} was not converted to ONNX.")
    return found


@transaction.atomic
def ask_for_onnx(*, version: ModelVersion, by: User | None) -> Conversion:
    """Have a version converted, or converted again where that failed."""
    if version.total_bytes > LARGEST_BYTES:
        raise Conflict(f"{version} is larger than 2 GiB, more than an ONNX file can hold.")
    conversion, is_new = Conversion.objects.select_for_update().get_or_create(
        version=version, defaults={"created_by": by}
    )
    if not is_new and not conversion.is_over:
        return conversion
    Conversion.objects.filter(pk=conversion.pk).update(
        state=WorkState.WAITING, error="", created_by=by, created_at=timezone.now(), ended_at=None
    )
    conversion.refresh_from_db()
    audit(team=version.model.team, actor=by, action="model.convert", subject=str(version))
    ask_for(conversion)
    return conversion


def convert(conversion: Conversion, say: Say) -> dict[str, Any]:
    """Convert a version and check the result; give what to note of it."""
    version = conversion.version
    team = version.model.team
    release = release_for(version.framework_version)
    spec = EnvironmentSpec.of(release, packages=CONVERTERS[release])
    with bench_for(conversion) as bench:
        bench.put(team, manifest_of(version), "model")
        job = {"signature": _signature_of(version)}
        program = "savedmodel_to_onnx.py"
        result = run_program(conversion, team, spec, program, bench, job, say)
        file = bench.target / FILE
        if file.is_symlink() or not file.is_file():
            raise Failed(f"The converter left no {FILE}. Its log says why.")
        store = store_for(team)
        with file.open("rb") as content:
            digest, size = store.put_stream(content, max_bytes=LARGEST_BYTES)
    manifest = Manifest.of([Entry(FILE, digest, size)])
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
