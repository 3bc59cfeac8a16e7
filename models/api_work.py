"""The REST API of what workers do for the registry: bringing Keras files, converting to ONNX."""

from django.http.response import HttpResponseBase
from ninja import Router, Status

from models.downloads import download_onnx
from models.imports import import_of, imports_of
from models.models import Conversion, Import
from models.onnx import ask_for_onnx, conversion_of
from models.schemas import ConversionOut, ImportOut
from models.selectors import version_of
from workspace.models import Role
from workspace.requests import ApiRequest
from workspace.selectors import team_for

router = Router(tags=["models"])
ONNX = "teams/{slug}/models/{name}/versions/{version}/onnx"


@router.get(
    "teams/{slug}/model-imports", response=list[ImportOut], summary="The newest imports of a team"
)
def list_imports(request: ApiRequest, slug: str) -> list[Import]:
    return list(imports_of(team_for(request.auth, slug)))


@router.get("teams/{slug}/model-imports/{int:number}", response=ImportOut, summary="An import")
def show_import(request: ApiRequest, slug: str, number: int) -> Import:
    return import_of(team_for(request.auth, slug), number)


@router.post(ONNX, response={202: ConversionOut}, summary="Convert a version to ONNX")
def convert(request: ApiRequest, slug: str, name: str, version: str) -> Status[Conversion]:
    """Answers at once; a worker converts it, and holds the answers of both against each other."""
    found = version_of(team_for(request.auth, slug, Role.MEMBER), name, version)
    return Status(202, ask_for_onnx(version=found, by=request.auth))


@router.get(ONNX, response=ConversionOut, summary="A version's conversion to ONNX")
def show(request: ApiRequest, slug: str, name: str, version: str) -> Conversion:
    return conversion_of(version_of(team_for(request.auth, slug), name, version))


@router.get(f"{ONNX}/download", summary="A version as an ONNX file")
def download(request: ApiRequest, slug: str, name: str, version: str) -> HttpResponseBase:
    found = version_of(team_for(request.auth, slug), name, version)
    return download_onnx(request, conversion_of(found))
