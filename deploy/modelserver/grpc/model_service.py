"""tensorflow.serving.ModelService: what is served, and how to change it."""

import logging
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from ..errors import ServingError, invalid
from ..loading.server_core import ServerCore
from .calls import check_model_spec, parsed, unary

log = logging.getLogger("modelserver")


class ModelService:
    """Answers for the core; used on the event loop."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the methods to register."""
        return grpc.method_handlers_generic_handler(
            "tensorflow.serving.ModelService",
            {
                "GetModelStatus": unary(self.get_model_status),
                "HandleReloadConfigRequest": unary(self.handle_reload_config_request),
            },
        )

    async def get_model_status(self, data: bytes, context: Any) -> bytes:
        """List the versions of a model, or the one asked for; a label is not looked at."""
        request = parsed(get_model_status_pb2.GetModelStatusRequest, data)
        spec = check_model_spec(request)
        number = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in self._core.statuses(spec.name, number):
            status = response.model_version_status.add(
                version=version.number,
                state=get_model_status_pb2.ModelVersionStatus.State.Value(version.state.value),
            )
            status.status.SetInParent()
            if version.error is not None:
                status.status.error_code = version.error.code
                status.status.error_message = version.error.message
        return bytes(response.SerializeToString())

    async def handle_reload_config_request(self, data: bytes, context: Any) -> bytes:
        """Serve what the request's configuration lists; return once it is loaded."""
        request = parsed(model_management_pb2.ReloadConfigRequest, data)
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest."
                " Only ModelConfigList is currently supported"
            )
        try:
            await self._core.reload(request.config)
        except ServingError as error:
            log.error("ReloadConfig failed: %s", error.message)
            raise
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return bytes(response.SerializeToString())
