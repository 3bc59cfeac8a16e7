"""Talk gRPC to a model server as its users do: with their stubs, in a process that has them."""

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..environment import ROOT

PROGRAM = Path(__file__).with_name("stubs.py")


@dataclass(frozen=True)
class Tensor:
    """A tensor by TensorFlow's name of its type; data is its bytes, or the strings in it."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | list[bytes]
    fields: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, values: object, dtype: str = "float32") -> "Tensor":
        array = np.array(values, dtype)
        return cls(dtype, array.shape, array.tobytes())

    @property
    def array(self) -> Any:
        assert isinstance(self.data, bytes)
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)

    @property
    def values(self) -> Any:
        return self.array.tolist()

    def to_json(self) -> dict[str, Any]:
        if isinstance(self.data, bytes):
            data: Any = base64.b64encode(self.data).decode()
        else:
            data = [base64.b64encode(item).decode() for item in self.data]
        return {"dtype": self.dtype, "shape": self.shape, "data": data}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Tensor":
        if isinstance(said["data"], str):
            data: Any = base64.b64decode(said["data"])
        else:
            data = [base64.b64decode(item) for item in said["data"]]
        return cls(said["dtype"], tuple(said["shape"]), data, tuple(said["fields"]))


@dataclass(frozen=True)
class Reply:
    """What a call came to; the messages are in protobuf's JSON form."""

    code: str
    details: str
    response: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def error(self) -> tuple[str, str]:
        return self.code, self.details

    def ok(self) -> "Reply":
        assert self.code == "OK", self.error
        return self


class GrpcClient:
    """A process that calls with tensorflow-serving-api's stubs."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), str(PROGRAM)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Have the process do something, and return what it says."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self._process.stdin.flush()
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said


@dataclass(frozen=True)
class Caller:
    """The client at one server's address."""

    client: GrpcClient
    target: str
    tls: dict[str, str] | None = None

    def call(self, service: str, method: str, request: dict[str, Any], **more: Any) -> Reply:
        said = self.client.ask(
            "call",
            target=self.target,
            tls=self.tls,
            service=service,
            method=method,
            request=request,
            **more,
        )
        tensors = {name: Tensor.from_json(one) for name, one in said.get("tensors", {}).items()}
        return Reply(said["code"], said.get("details", ""), said.get("response", {}), tensors)

    def predict(
        self,
        model: str,
        tensors: dict[str, Tensor] | None = None,
        *,
        signature: str = "",
        outputs: tuple[str, ...] = (),
        version: int | None = None,
        label: str | None = None,
        inputs: dict[str, Any] | None = None,
        timeout: float = 60,
    ) -> Reply:
        """Call Predict with tensors as make_tensor_proto makes them, or `inputs` as they are."""
        spec: dict[str, Any] = {"name": model, "signatureName": signature}
        if version is not None:
            spec["version"] = str(version)
        if label is not None:
            spec["versionLabel"] = label
        return self.call(
            "PredictionService",
            "Predict",
            {"modelSpec": spec, "outputFilter": outputs, "inputs": inputs or {}},
            tensors={name: tensor.to_json() for name, tensor in (tensors or {}).items()},
            timeout=timeout,
        )

    def model(self, method: str, request: dict[str, Any]) -> Reply:
        return self.call("ModelService", method, request)

    def prediction(self, method: str, request: dict[str, Any]) -> Reply:
        return self.call("PredictionService", method, request)

    def flood(self) -> None:
        """Begin to predict with the model `line` from four threads."""
        self.client.ask("flood", target=self.target)

    def look(self) -> dict[str, Any]:
        """Return what the flood has met so far: codes, versions and wrong values."""
        return self.client.ask("look")

    def stop_flood(self) -> dict[str, Any]:
        return self.client.ask("stop")
