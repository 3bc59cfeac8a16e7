"""One Predict call of a model server, for its status code: which cause a refusal has."""

from dataclasses import dataclass

PREDICT = "/tensorflow.serving.PredictionService/Predict"
NO_CONNECTION = "failed to connect"
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True)
class CallOutcome:
    """How a call ended: a status code of gRPC by its name, and what the server says to it."""

    code: str
    details: str = ""

    @property
    def was_not_taken(self) -> bool:
        """Return whether nobody listened."""
        return self.code == "UNAVAILABLE" and NO_CONNECTION in self.details


def predict(address: str, request: bytes, timeout_seconds: float) -> CallOutcome:
    """Send the bytes of a PredictRequest and wait for the answer."""
    import grpc  # importing it takes its time, and few replicas are asked this way

    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        try:
            channel.unary_unary(PREDICT)(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            return CallOutcome(error.code().name, error.details() or "")
    return CallOutcome("OK")
