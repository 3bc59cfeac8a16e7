"""The gRPC side as a server: TLS, sockets, flags, deadlines, health, and clients gone wrong."""

import datetime
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from deploy.modelserver.errors import ServingError
from deploy.modelserver.grpc.tls import server_credentials
from tests.waiting import wait_for
from workspace.compute.local.ports import free_port

from ..fixtures import StartServer
from ..serving import ModelServer
from .client import Caller, GrpcClient, Tensor

pytestmark = pytest.mark.tensorflow

StartZoo = Callable[..., ModelServer]
X = {"x": Tensor.of([[1, 2]])}


@pytest.fixture
def start_zoo(start_server: StartServer, saved_models: Path) -> StartZoo:
    """Start servers of the zoo with gRPC."""

    def start(*flags: str) -> ModelServer:
        return start_server(
            "--model_name=zoo",
            f"--model_base_path={saved_models / 'zoo'}",
            *flags,
            grpc_port=free_port(()),
        )

    return start


@dataclass(frozen=True)
class Papers:
    """A certificate and its key, in PEM."""

    cert: str
    key: str


def papers_for(name: str) -> Papers:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Papers(
        certificate.public_bytes(Encoding.PEM).decode(),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def ssl_config(file: Path, **fields: str | bool) -> Path:
    """Write an SSLConfig as text."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, bool):
            text = str(value).lower()
        else:
            text = '"' + value.replace("\n", "\\n") + '"'
        lines.append(f"{name}: {text}")
    file.write_text("\n".join(lines))
    return file


def test_tls_is_spoken_with_the_certificate_of_the_file(
    start_zoo: StartZoo, grpc_client: GrpcClient, tmp_path: Path
) -> None:
    papers = papers_for("server")
    config = ssl_config(tmp_path / "ssl", server_key=papers.key, server_cert=papers.cert)
    server = start_zoo(f"--ssl_config_file={config}").wait_until_ready()
    target = server.grpc_target.replace("127.0.0.1", "localhost")

    trusting = Caller(grpc_client, target, {"ca": papers.cert})
    assert trusting.predict("zoo", X).ok().tensors["y"].values == [[2, 4]]
    stranger = Caller(grpc_client, target, {"ca": papers_for("other").cert})
    assert stranger.predict("zoo", X).code == "UNAVAILABLE"
    assert Caller(grpc_client, target).predict("zoo", X).code == "UNAVAILABLE"


def test_clients_show_a_certificate_where_they_are_verified(
    start_zoo: StartZoo, grpc_client: GrpcClient, tmp_path: Path
) -> None:
    papers, client = papers_for("server"), papers_for("client")
    config = ssl_config(
        tmp_path / "ssl",
        server_key=papers.key,
        server_cert=papers.cert,
        custom_ca=client.cert,
        client_verify=True,
    )
    server = start_zoo(f"--ssl_config_file={config}").wait_until_ready()
    target = server.grpc_target.replace("127.0.0.1", "localhost")

    known = {"ca": papers.cert, "key": client.key, "cert": client.cert}
    Caller(grpc_client, target, known).predict("zoo", X).ok()
    assert Caller(grpc_client, target, {"ca": papers.cert}).predict("zoo", X).code == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"server_key": "key.pem"}, "server_key in '{}' must hold the PEM text itself"),
        ({"server_cert": ""}, "server_cert in '{}' must hold the PEM text itself"),
        ({"client_verify": True}, "client_verify in '{}' needs custom_ca"),
        ({"server_key": papers_for("other").key}, "server_key and server_cert in '{}'"),
        ({"key": "a"}, "Invalid protobuf file: '{}'"),
    ],
)
def test_certificates_that_are_none_are_refused_by_name(
    tmp_path: Path, fields: dict[str, str | bool], words: str
) -> None:
    papers = papers_for("server")
    given = {"server_key": papers.key, "server_cert": papers.cert, **fields}
    file = ssl_config(tmp_path / "ssl", **given)
    with pytest.raises(ServingError) as refused:
        server_credentials(file)
    assert refused.value.message.startswith(words.format(file))


def test_a_start_without_the_file_of_certificates_fails(start_zoo: StartZoo) -> None:
    server = start_zoo("--ssl_config_file=/nowhere/ssl.config")
    assert server.wait_for_exit() == 255
    assert "Failed to start server. Error: NOT_FOUND: /nowhere/ssl.config" in server.log_text()


@pytest.fixture(scope="module")
def odd(
    tensorflow_python: Path, saved_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelServer]:
    """A server of the zoo with every flag that changes how gRPC is answered."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    server = ModelServer(
        tensorflow_python,
        folder / "server.log",
        "--model_name=zoo",
        f"--model_base_path={saved_models / 'zoo'}",
        f"--grpc_socket_path={folder / 'grpc.sock'}",
        f"--monitoring_config_file={folder / 'monitoring.config'}",
        "--grpc_channel_arguments=grpc.max_receive_message_length=2000,grpc.some_text=a",
        "--grpc_max_threads=1",
        "--rest_api_timeout_in_ms=1",
        "--enable_serialization_as_tensor_content=true",
        grpc_port=free_port(()),
    )
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


@pytest.fixture
def odd_caller(grpc_client: GrpcClient, odd: ModelServer) -> Caller:
    return Caller(grpc_client, odd.grpc_target)


def test_a_socket_answers_as_the_port_does(odd: ModelServer, odd_caller: Caller) -> None:
    by_socket = Caller(odd_caller.client, f"unix:{odd.log.parent / 'grpc.sock'}")
    for caller in (by_socket, odd_caller):
        assert caller.predict("zoo", X).ok().tensors["y"].values == [[2, 4]]


def test_a_port_that_is_taken_fails_the_start(start_zoo: StartZoo, many: ModelServer) -> None:
    taken = many.grpc_target.rpartition(":")[2]
    server = start_zoo(f"--port={taken}")
    assert server.wait_for_exit() == 255
    assert f"can't listen on 127.0.0.1:{taken} for gRPC" in server.log_text()


def test_a_port_that_nobody_named_and_another_has_leaves_rest_alone(
    start_server: StartServer, saved_models: Path
) -> None:
    with socket.socket() as holder, suppress(OSError):  # another may hold it already
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 8500))
        holder.listen()
        zoo = f"--model_base_path={saved_models / 'zoo'}"
        server = start_server("--model_name=zoo", zoo, grpc_port=None).wait_until_ready()
        assert "gRPC is off: can't listen on 127.0.0.1:8500" in server.log_text()


def test_answers_come_as_tensor_content_when_the_flag_says_so(odd_caller: Caller) -> None:
    reply = odd_caller.predict("zoo", X).ok()
    assert reply.tensors["y"].values == [[2, 4]]
    assert reply.tensors["y"].fields[-1] == "tensor_content"


def test_channel_arguments_reach_the_server(odd_caller: Caller, start_zoo: StartZoo) -> None:
    odd_caller.predict("zoo", X).ok()
    large = odd_caller.predict("zoo", {"x": Tensor.of([[1, 2]] * 1000)})
    assert large.code == "RESOURCE_EXHAUSTED"

    refused = start_zoo("--grpc_channel_arguments=grpc.max_receive_message_length")
    assert refused.wait_for_exit() == 255
    assert "--grpc_channel_arguments must be key=value,key=value" in refused.log_text()


def test_a_run_ends_with_its_clients_deadline(odd_caller: Caller) -> None:
    forever = {"turns": Tensor.of(2**31 - 1, "int32")}
    late = odd_caller.predict("zoo", forever, signature="spin", timeout=1)
    assert late.code == "DEADLINE_EXCEEDED"
    # The only thread is free again, so the run has ended too.
    turns = {"turns": Tensor.of(10, "int32")}
    assert odd_caller.predict("zoo", turns, signature="spin").ok().tensors["turns"].values == 10


def test_a_clients_deadline_counts_and_not_the_timeout_of_rest(
    odd: ModelServer, odd_caller: Caller
) -> None:
    body = {"signature_name": "spin", "inputs": 100_000}
    assert odd.post("/v1/models/zoo:predict", body).status == 504
    turns = {"turns": Tensor.of(100_000, "int32")}
    reply = odd_caller.predict("zoo", turns, signature="spin").ok()
    assert reply.tensors["turns"].values == 100_000


def test_batched_requests_are_answered_one_by_one(
    start_zoo: StartZoo, grpc_client: GrpcClient
) -> None:
    server = start_zoo("--enable_batching").wait_until_ready()
    caller = Caller(grpc_client, server.grpc_target)
    assert caller.predict("zoo", X).ok().tensors["y"].values == [[2, 4]]
    scalar = caller.predict("zoo", {"x": Tensor.of(1)}, signature="total")
    assert scalar.code == "INVALID_ARGUMENT"


def test_calls_are_counted_for_prometheus(odd: ModelServer, odd_caller: Caller) -> None:
    samples = [
        ':request_count{model_name="zoo",status="OK"}',
        ':request_count{model_name="zoo",status="FAILED_PRECONDITION"}',
        ':request_latency_count{model_name="zoo",API="Predict",entrypoint="GRPC"}',
    ]

    def counts() -> list[int]:
        page = odd.get("/monitoring/prometheus/metrics").body.decode()
        found = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[0] == ":")
        return [int(found.get(f":tensorflow:serving{name}", 0)) for name in samples]

    before = counts()
    odd_caller.predict("zoo", X).ok()
    odd_caller.predict("zoo", X, signature="x")
    odd_caller.predict("owl", X)
    assert b"owl" not in odd.get("/monitoring/prometheus/metrics").body
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 1, 1]


def check_health(channel: grpc.Channel, service: str) -> int:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check", StringValue.SerializeToString, Int32Value.FromString
    )
    answer: int = check(StringValue(value=service), timeout=30).value
    return answer


def test_health_is_told_for_the_services_there_are(many: ModelServer) -> None:
    with grpc.insecure_channel(many.grpc_target) as channel:
        for service in ("", "ModelService", "PredictionService"):
            assert check_health(channel, service) == 1
        with pytest.raises(grpc.RpcError) as unknown:
            check_health(channel, "owl")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", StringValue.SerializeToString, Int32Value.FromString
        )
        for service, state in (("", 1), ("owl", 3)):
            stream = watch(StringValue(value=service), timeout=30)
            assert next(stream).value == state
            stream.cancel()


def test_health_is_not_told_unless_the_flag_is_set(odd: ModelServer) -> None:
    with grpc.insecure_channel(odd.grpc_target) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            check_health(channel, "")
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_are_refused_and_the_server_stays_up(
    many: ModelServer, caller: Caller
) -> None:
    with grpc.insecure_channel(many.grpc_target) as channel:
        for method in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"):
            call = channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"\xff\xff\xff", timeout=30)
            assert refused.value.code() is grpc.StatusCode.INTERNAL
            assert "The request is not a tensorflow.serving." in refused.value.details()
        with pytest.raises(grpc.RpcError) as unknown:
            channel.unary_unary("/tensorflow.serving.PredictionService/Guess")(b"", timeout=30)
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
    host, port = many.grpc_target.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while connection.recv(4096):
            pass
    caller.predict("zoo", X).ok()


def test_calls_that_are_given_up_leave_the_version_free_to_go(
    start_zoo: StartZoo, grpc_client: GrpcClient
) -> None:
    server = start_zoo("--grpc_max_threads=2").wait_until_ready()
    caller = Caller(grpc_client, server.grpc_target)
    forever = {"turns": Tensor.of(2**31 - 1, "int32")}
    for _ in range(6):
        late = caller.predict("zoo", forever, signature="spin", timeout=0.2)
        assert late.code == "DEADLINE_EXCEEDED"
    caller.model("HandleReloadConfigRequest", {"config": {"modelConfigList": {}}}).ok()
    status = {"modelSpec": {"name": "zoo"}}

    def state() -> str:
        reply = caller.model("GetModelStatus", status).ok()
        return str(reply.response["model_version_status"][0]["state"])

    wait_for(lambda: state() == "END", "the version is unloaded", 30)
