"""Work for the queue's workers."""

from models.imports import bring
from models.models import Conversion, Import
from models.onnx import convert
from models.work import carry_out


def convert_to_onnx(conversion_id: int) -> None:
    """Convert a version, unless another worker does or did."""
    carry_out(Conversion, conversion_id, convert)


def bring_in(import_id: int) -> None:
    """Make a Keras file a version, unless another worker does or did."""
    carry_out(Import, import_id, bring)
