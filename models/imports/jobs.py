"""What the queue's workers call."""

from models.imports.execution import CONVERSION, IMPORT
from models.imports.keras_files import import_keras_file as convert_keras_file
from models.imports.onnx_conversion import convert
from workspace.platform.background_jobs import run_job


def convert_to_onnx(conversion_id: int) -> None:
    """Convert a version, unless another worker does or did."""
    run_job(CONVERSION, conversion_id, convert)


def import_keras_file(import_id: int) -> None:
    """Register a Keras file as a version, unless another worker does or did."""
    run_job(IMPORT, import_id, convert_keras_file)
