"""The REST API of what workers do for the registry: bringing Keras files, converting to ONNX."""

from django.http.response import HttpResponseBase
from ninja import Router, Status

from models.api.downloads import download_onnx
from models.api.schemas import ModelImportOut, OnnxConversionOut
from models.imports.keras_files import import_of, imports_of
from models.imports.onnx_conversion import conversion_of, request_onnx_conversion
from models.models import ModelImport, OnnxConversion
from models.selectors import version_of
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.requests import ApiRequest

router = Router(tags=["models"])
ONNX = "teams/{slug}/models/{name}/versions/{version}/onnx"


@router.get(
    "teams/{slug}/model-imports",
    response=list[ModelImportOut],
    summary="The newest imports of a team",
)
def list_imports(request: ApiRequest, slug: str) -> list[ModelImport]:
    return list(imports_of(team_for(request.auth, slug)))


@router.get("teams/{slug}/model-imports/{int:number}", response=ModelImportOut, summary="An import")
def show_import(request: ApiRequest, slug: str, number: int) -> ModelImport:
    return import_of(team_for(request.auth, slug), number)


@router.post(ONNX, response={202: OnnxConversionOut}, summary="Convert a version to ONNX")
def convert(request: ApiRequest, slug: str, name: str, version: str) -> Status[OnnxConversion]:
    """Answers at once; a worker converts it, and holds the answers of both against each other."""
    found = version_of(team_for(request.auth, slug, Role.MEMBER), name, version)
    return Status(202, request_onnx_conversion(version=found, by=request.auth))


@router.get(ONNX, response=OnnxConversionOut, summary="A version's conversion to ONNX")
def show(request: ApiRequest, slug: str, name: str, version: str) -> OnnxConversion:
    return conversion_of(version_of(team_for(request.auth, slug), name, version))


@router.get(f"{ONNX}/download", summary="A version as an ONNX file")
def download(request: ApiRequest, slug: str, name: str, version: str) -> HttpResponseBase:
    found = version_of(team_for(request.auth, slug), name, version)
    return download_onnx(request, conversion_of(found))
