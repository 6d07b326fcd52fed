import json
import pickle  # noqa: TID251  to make what has to be refused
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from service.domain.architectures import tensors
from service.domain.recipes import Mlp, Spec, Vector
from service.errors import BadInput, InvalidWeights
from service.inspection.tensors import faults_of
from service.inspection.weights import inspect_weights

SECRET = "8222157"
EXPECTED = {"a/b": ("F32", (2, 3)), "c": ("F64", ()), "n": ("I64", (1,))}


def good() -> dict[str, np.ndarray]:
    return {"a/b": np.ones((2, 3), np.float32), "c": np.array(2.0), "n": np.array([7])}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "weights.safetensors"


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(*offsets: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_weights_of_the_architecture_pass(file):
    save_file(good(), file, metadata={"format": "pt"})

    inspect_weights(file, EXPECTED)


def test_weights_of_a_model_of_the_menu_pass(file):
    expected = tensors(Spec(family=Mlp(hidden=(8, 4)), input=Vector(features=5), classes=3))
    save_file({name: np.zeros(shape, np.float32) for name, (_, shape) in expected.items()}, file)

    inspect_weights(file, expected)


@pytest.mark.parametrize(
    ("held", "pointer", "says"),
    [
        ({"c": None}, "/tensors/c", "missing"),
        ({SECRET: np.ones(1)}, "/tensors", "do not belong to this architecture: 1"),
        ({"a/b": np.ones((3, 2), np.float32)}, "/tensors/a~1b", "F32 [3, 2] where F32 [2, 3] is needed"),
        ({"a/b": np.ones((2, 3))}, "/tensors/a~1b", "F64 [2, 3] where F32 [2, 3] is needed"),
        ({"a/b": np.array([[1, np.nan, 1], [np.inf, -np.inf, 1]], np.float32)}, "/tensors/a~1b", "NaN or infinite: 3"),
        ({"c": np.array(-np.inf)}, "/tensors/c", "NaN or infinite: 1"),
    ],
)
def test_other_weights_are_told_where(file, held, pointer, says):
    save_file({name: tensor for name, tensor in (good() | held).items() if tensor is not None}, file)

    with pytest.raises(InvalidWeights) as caught:
        inspect_weights(file, EXPECTED)

    assert [(fault.pointer, says in fault.detail) for fault in caught.value.faults] == [(pointer, True)]
    assert SECRET not in f"{caught.value} {caught.value.faults}"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["F16", "F32", "F64"]), st.binary(min_size=8, max_size=80))
def test_what_is_finite_is_what_numpy_calls_so(file, dtype, data):
    kind = np.dtype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype])
    numbers = np.frombuffer(data[: len(data) // 8 * 8], kind)
    save_file({"w": numbers}, file)

    found = faults_of(file, {"w": (dtype, numbers.shape)})

    odd = int((~np.isfinite(numbers)).sum())
    assert [fault.detail for fault in found] == ([f"values that are NaN or infinite: {odd}"] if odd else [])


@pytest.mark.parametrize(("bits", "odd"), [(0x7F80, 1), (0xFF80, 1), (0x7FC0, 1), (0x7F7F, 0), (0x3F80, 0)])
def test_a_bfloat_is_judged_by_its_exponent(file, bits, odd):
    file.write_bytes(raw({"w": entry(0, 2, dtype="BF16")}, bits.to_bytes(2, "little")))

    assert len(faults_of(file, {"w": ("BF16", (1,))})) == odd


def test_a_nan_beyond_the_first_chunk_is_seen(file):
    numbers = np.zeros(3_000_000, np.float32)
    numbers[2_999_999] = np.nan
    save_file({"w": numbers}, file)

    found = faults_of(file, {"w": ("F32", numbers.shape)})

    assert [fault.detail for fault in found] == ["values that are NaN or infinite: 1"]


def test_a_pickle_is_refused_with_a_reason(file):
    for protocol in range(2, 6):
        file.write_bytes(pickle.dumps({"w": [1.0]}, protocol))

        with pytest.raises(InvalidWeights) as caught:
            inspect_weights(file, EXPECTED)

        assert "pickle" in caught.value.faults[0].detail


def test_a_file_of_torch_is_refused_with_a_reason(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))

    assert ["pickle" in fault.detail for fault in faults_of(file, EXPECTED)] == [True]


def test_a_header_whose_length_looks_like_a_pickle_is_read_all_the_same(file):
    text = json.dumps({"w": entry(0, 4)}).encode().ljust(0x0480)
    file.write_bytes(raw(text, bytes(4)))

    assert file.read_bytes().startswith(b"\x80\x04")
    assert faults_of(file, {"w": ("F32", (1,))}) == []


BROKEN = {
    "empty": b"",
    "short": b"\x02\0\0",
    "longer header than file": (1 << 40).to_bytes(8, "little") + b"{}",
    "no object": raw([1]),
    "no json": raw(b"{nonsense}"),
    "deep": raw(b'{"a":' * 50_000),
    "a name twice": raw(b"{%s,%s}" % ((b'"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',) * 2)),
    "a gap": raw({"v": entry(0, 4), "w": entry(8, 12)}, bytes(12)),
    "an overlap": raw({"v": entry(0, 4), "w": entry(2, 6)}, bytes(6)),
    "the same bytes twice": raw({"v": entry(0, 4), "w": entry(0, 4)}, bytes(4)),
    "more data than tensors": raw({"w": entry(0, 4)}, bytes(5)),
    "less data than tensors": raw({"w": entry(0, 4)}, bytes(3)),
    "length against shape": raw({"w": entry(0, 4, shape=(2,))}, bytes(4)),
    "negative": raw({"w": entry(0, 4, shape=(-1, -1))}, bytes(4)),
    "backwards": raw({"w": entry(4, 0)}, bytes(4)),
    "true is no number": raw({"w": entry(0, 4, shape=(True,))}, bytes(4)),
    "unknown dtype": raw({"w": entry(0, 4, dtype=SECRET)}, bytes(4)),
    "no dtype": raw({"w": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_as_a_whole(file, content):
    file.write_bytes(content)

    found = faults_of(file, {"w": ("F32", (1,))})

    assert [fault.pointer for fault in found] == ["/file"]
    assert SECRET not in str(found)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans())
def test_what_we_accept_the_reference_reader_accepts_too(file, noise, framed):
    file.write_bytes(raw(b"{" + noise) if framed else noise)

    found = faults_of(file, {})

    if not found:
        load_file(file)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 400), byte=st.integers(0, 255))
def test_one_wrong_byte_never_gets_past_us_and_not_past_the_reference(file, at, byte):
    save_file(good(), file)
    content = bytearray(file.read_bytes())
    content[at % len(content)] = byte
    file.write_bytes(content)

    if not faults_of(file, EXPECTED):
        try:
            held = load_file(file)
        except SafetensorError:
            pytest.fail("we accept what the reference reader refuses")
        assert {name: tensor.shape for name, tensor in held.items()} == {n: s for n, (_, s) in EXPECTED.items()}


def test_garbage_is_refused_through_the_sandbox(file):
    file.write_bytes(bytes(range(256)) * 10)

    with pytest.raises(BadInput):
        inspect_weights(file, EXPECTED)
