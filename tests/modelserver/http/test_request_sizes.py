"""Small requests that ask for much: examples, gzip bodies and tensors, without TensorFlow."""

import gzip
import zlib
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("orjson", reason="the model server's requirements are not installed here")
np = pytest.importorskip("numpy", reason="numpy is not installed here")

from deploy.modelserver import examples  # noqa: E402
from deploy.modelserver.errors import Code, ServingError  # noqa: E402
from deploy.modelserver.http import example_bodies, inference  # noqa: E402
from deploy.modelserver.tensors import protos  # noqa: E402

FLOAT, STRING = 1, 7


class Example:
    """Stands for a tf.Example."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:
        return self._data


class Input:
    """Stands for a tensorflow.serving.Input."""

    def __init__(self, context: bytes, data: list[bytes]) -> None:
        self.example_list_with_context = SimpleNamespace(
            context=Example(context), examples=[Example(one) for one in data]
        )

    def WhichOneof(self, name: str) -> str:
        return "example_list_with_context"


@pytest.fixture
def at_most_100_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "LARGEST_CONTEXTS", 100)


@pytest.mark.usefixtures("at_most_100_bytes")
def test_a_context_is_not_repeated_without_limit_over_grpc() -> None:
    assert examples.read_input(Input(b"c" * 50, [b"1", b"2"])) == [
        b"c" * 50 + b"1",
        b"c" * 50 + b"2",
    ]

    with pytest.raises(ServingError, match="repeated for every example, is too large") as error:
        examples.read_input(Input(b"c" * 50, [b""] * 3))

    assert error.value.code == Code.INVALID_ARGUMENT


@pytest.mark.usefixtures("at_most_100_bytes")
def test_a_context_is_not_repeated_without_limit_over_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(example_bodies, "_serialized", lambda example: example["data"])
    members: dict[str, Any] = {"context": {"data": b"c" * 50}, "examples": [{"data": b""}] * 2}
    assert example_bodies.read_examples(members) == [b"c" * 50] * 2

    members["examples"] *= 2
    with pytest.raises(ServingError, match="repeated for every example, is too large") as error:
        example_bodies.read_examples(members)

    assert error.value.code == Code.INVALID_ARGUMENT


@pytest.fixture
def given_to_zlib(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is inflated at a time."""
    sizes: list[int] = []

    class Stream:
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        def decompress(self, data: bytes, most: int) -> Any:
            sizes.append(len(data))
            return self._stream.decompress(data, most)

    make = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda wbits: Stream(make(wbits=wbits)))
    return sizes


@pytest.mark.parametrize("size", [1, 7, 64, 4096])
def test_a_gzip_body_of_many_members_is_inflated_slice_by_slice(
    monkeypatch: pytest.MonkeyPatch, given_to_zlib: list[int], size: int
) -> None:
    monkeypatch.setattr(inference, "GZIP_SLICE", size)
    parts = [b"one", b"", b"three" * 1000] * 20

    assert inference.inflate(b"".join(map(gzip.compress, parts))) == b"".join(parts)
    assert max(given_to_zlib) <= size


def test_a_gzip_body_may_inflate_to_the_limit_and_not_beyond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inference, "MAX_BODY", 1000)
    half = gzip.compress(b"a" * 500)

    assert len(inference.inflate(half * 2)) == 1000
    with pytest.raises(inference.BodyTooLarge):
        inference.inflate(half * 2 + gzip.compress(b"a"))
    with pytest.raises(inference.BodyTooLarge):
        inference.inflate(gzip.compress(b"a" * 10_000))


@pytest.mark.parametrize("kept", [1, 12, -1, -9])
def test_a_gzip_body_that_ends_too_early_is_refused(kept: int) -> None:
    whole = gzip.compress(b"a" * 500)

    with pytest.raises(ServingError, match="ends too early"):
        inference.inflate(whole + whole[:kept])


def tensor(dtype: int, shape: list[int], *, content: bytes = b"", **values: Any) -> Any:
    """Stand in for a TensorProto."""
    return SimpleNamespace(
        dtype=dtype,
        tensor_shape=SimpleNamespace(
            dim=[SimpleNamespace(size=size) for size in shape], unknown_rank=False
        ),
        tensor_content=content,
        **values,
    )


def test_a_length_of_a_string_has_at_most_ten_bytes() -> None:
    with pytest.raises(ServingError, match="a length in its tensor_content is too long"):
        protos.read_tensor(tensor(STRING, [1], content=b"\xff" * 11))
    with pytest.raises(ServingError, match="not as long as its strings"):
        protos.read_tensor(tensor(STRING, [1], content=b"\xff" * 9 + b"\x01"))

    read = protos.read_tensor(tensor(STRING, [2], content=b"\x81\x80\x00\x00a"))
    assert read.tolist() == [b"a", b""]


@pytest.fixture
def with_4000_bytes_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protos, "LARGE", 400)
    monkeypatch.setattr(protos, "memory_left", lambda: 4000)


@pytest.mark.usefixtures("with_4000_bytes_left")
def test_a_tensor_repeats_its_last_value_while_there_is_memory() -> None:
    read = protos.read_tensor(tensor(FLOAT, [2, 125], float_val=[1.0, 2.0]))

    assert read.shape == (2, 125)
    assert read.reshape(-1).tolist() == [1.0] + [2.0] * 249


@pytest.mark.usefixtures("with_4000_bytes_left")
@pytest.mark.parametrize(
    "proto",
    [tensor(FLOAT, [252], float_val=[1.0]), tensor(STRING, [32], string_val=[])],
    ids=["numbers", "strings"],
)
def test_a_tensor_that_would_grow_too_large_is_refused(proto: Any) -> None:
    with pytest.raises(ServingError, match="not enough memory") as error:
        protos.read_tensor(proto)

    assert error.value.code == Code.RESOURCE_EXHAUSTED


@pytest.mark.usefixtures("with_4000_bytes_left")
def test_a_large_tensor_that_was_sent_whole_is_no_question_of_memory() -> None:
    read = protos.read_tensor(tensor(FLOAT, [2000], content=np.ones(2000, "f4").tobytes()))

    assert read.sum() == 2000


def test_a_small_message_with_a_large_shape_is_known_by_it() -> None:
    assert protos.is_large(tensor(FLOAT, [2**10, 2**19]))
    assert not protos.is_large(tensor(FLOAT, [2**10]))
    assert not protos.is_large(tensor(FLOAT, []))
