"""Inputs that stay in their file: the same rows, batches and weights as in memory, bit by bit, in little memory."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from service.domain.policy import AuditPlan
from service.domain.recipes import Cnn, Image, Method, NablaTau, RandomLabel, SaliencyMask, Spec, Ssd, Training
from service.errors import BadInput, InvalidDataset
from tests.worker.conftest import rng
from worker import resume
from worker.auditing import AuditSets, audit
from worker.data import Batches, Rows, Split, load_tensors
from worker.dependence import features
from worker.distributed import share
from worker.inference import logits, losses
from worker.mapped import DTYPES, Mapped, Opened, mapped
from worker.overlap import fingerprint, prints, refuse_overlap
from worker.training import train
from worker.unlearning import unlearn

ROOT = Path(__file__).parents[2]
N = 240
SPEC = Spec(
    family=Cnn(width=2), input=Image(channels=1, height=8, width=8), classes=2, training=Training(epochs=2, batch=32)
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.safetensors"
    x = torch.randint(256, (N, 1, 8, 8), dtype=torch.uint8, generator=rng())
    y = (x.flatten(1).float().mean(dim=1) > 127.5).long()
    save_file({"groups": torch.arange(N) // 2, "x": x, "y": y}, path)
    return path


@pytest.fixture(scope="module")
def resident(path: Path) -> Rows:
    return load_tensors(path)


@pytest.fixture(scope="module")
def streamed(path: Path) -> Rows:
    return load_tensors(path, resident_mb=0)


def cut(rows: Rows) -> Split:
    order = torch.randperm(N, generator=rng(3))
    return Split(rows.take(order[:150]), rows.take(order[150:180]), rows.take(order[180:]))


def in_file(rows: Rows) -> Mapped:
    assert isinstance(rows.x, Mapped)
    return rows.x


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


# ---- the tensor in its file ----------------------------------------------------------------------------------------


@given(which=st.lists(st.integers(-N, N - 1), max_size=30))
def test_any_rows_in_any_order_are_those_of_the_tensor(which, resident, streamed):
    index = torch.tensor(which, dtype=torch.long)

    assert torch.equal(streamed.x[index], resident.x[index])
    assert torch.equal(streamed.take(index).x[:], resident.take(index).x)


@given(chosen=st.lists(st.booleans(), min_size=N, max_size=N), size=st.integers(1, N + 1))
def test_chosen_rows_are_split_as_a_tensor_is(chosen, size, resident, streamed):
    mask = torch.tensor(chosen)

    parts = list(streamed.take(mask).x.split(size))

    assert [part.tolist() for part in parts if len(part)] == [
        part.tolist() for part in resident.x[mask].split(size) if len(part)
    ]
    assert torch.equal(streamed.x[mask], resident.x[mask])


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("row", [(), (3,), (2, 1, 3)])
def test_rows_of_every_type_and_shape_have_their_bits(name, row, tmp_path):
    x = torch.randint(0, 2, (7, *row), generator=rng()).to(DTYPES[name])
    save_file({"odd": torch.zeros(3, dtype=torch.uint8), "x": x}, tmp_path / "rows")

    found = mapped(tmp_path / "rows", ("x",))["x"]

    assert torch.equal(found[:], x)
    assert (found.shape, found.dtype, found.dim(), found.nbytes) == (x.shape, x.dtype, x.dim(), x.nbytes)
    assert found.is_floating_point() == x.is_floating_point()


def test_labels_and_persons_are_in_memory(resident, streamed):
    assert torch.equal(streamed.y, resident.y)
    assert torch.equal(streamed.groups, resident.groups)


def test_to_take_rows_reads_none(streamed, monkeypatch):
    def read(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Opened, "gather", read)
    taken = streamed.take(torch.arange(0, N, 2)).take(torch.arange(N // 2) % 3 == 0).to("cpu")

    assert in_file(taken).index.tolist() == list(range(0, N, 6))
    with pytest.raises(AssertionError):
        taken.x[:1]


def test_rows_are_read_though_the_file_has_lost_its_name(path, tmp_path, resident):
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    rows = load_tensors(copy, resident_mb=0)
    copy.unlink()

    assert torch.equal(rows.x[:], resident.x)


def test_a_file_is_closed_once_nobody_refers_to_its_rows(path):
    rows = load_tensors(path, resident_mb=0)
    link = Path(f"/proc/self/fd/{in_file(rows).file.descriptor}")
    opened = link.resolve()

    del rows

    assert opened == path
    assert not link.exists() or link.resolve() != path


def test_what_fits_is_loaded(path):
    assert isinstance(load_tensors(path, resident_mb=1).x, Tensor)


@pytest.mark.parametrize("which", [[1], [1, 2], [0, 2]])
def test_a_file_that_is_cut_off_later_raises(which, tmp_path, path):
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    rows = load_tensors(copy, resident_mb=0)
    copy.write_bytes(copy.read_bytes()[: in_file(rows).first + 70])

    with pytest.raises(InvalidDataset, match="ends too early"):
        rows.x[torch.tensor(which)]


def test_rows_that_the_kernel_has_not_kept_are_announced(streamed, monkeypatch):
    announced: list[tuple[int, int]] = []
    monkeypatch.setattr(Opened, "kept", lambda _, at: at != first + 9 * 64)
    monkeypatch.setattr(Opened, "expect", lambda _, at, size: announced.append((at, size)))
    first = in_file(streamed).first

    in_file(streamed).expect(torch.tensor([5, 6]))
    in_file(streamed).expect(torch.tensor([7, 8, 9, 3, 5, 4]))

    assert announced == [(first + at * 64, rows * 64) for at, rows in ((7, 3), (3, 1), (5, 1), (4, 1))]


def test_what_was_just_written_is_kept_and_can_be_announced(path):
    opened = Opened(path)

    assert opened.kept(0)
    opened.expect(0, path.stat().st_size)


def test_a_tensor_without_rows_is_refused(tmp_path):
    save_file({"x": torch.tensor(1.0), "y": torch.zeros(1)}, tmp_path / "rows")

    with pytest.raises(InvalidDataset, match="has no rows"):
        load_tensors(tmp_path / "rows", resident_mb=0)


# ---- what works on rows --------------------------------------------------------------------------------------------


def test_batches_are_the_same_pass_after_pass(resident, streamed):
    a, b = (Batches(rows, rng(5), 32) for rows in (resident, streamed))

    for ours, theirs in islice(zip(a, b, strict=True), 3 * a.count):
        assert torch.equal(ours.x, theirs.x)
        assert torch.equal(ours.y, theirs.y)


def test_a_pass_is_taken_up_where_it_ended(streamed):
    g = rng(5)
    whole = [batch.y for batch in islice(Batches(streamed, rng(5), 32), 8)]
    first = Batches(streamed, g, 32)
    begun = [batch.y for batch in islice(first, 3)]
    second = Batches(streamed, g, 32)

    second.load_state_dict(first.state_dict())

    assert all(map(torch.equal, [*begun, *(batch.y for batch in islice(second, 5))], whole))


def test_the_batch_that_comes_next_is_announced(streamed, monkeypatch):
    announced: list[list[int]] = []
    monkeypatch.setattr(Mapped, "expect", lambda _, which: announced.append(share(which).tolist()))
    drawn = Batches(streamed, rng(5), 100)

    order = torch.randperm(N, generator=rng(5))
    list(islice(drawn, 3))

    assert announced == [order[80:160].tolist(), order[160:].tolist()]     # the next pass has an order of its own


@pytest.mark.parametrize(
    "method", [NablaTau(batch=16), RandomLabel(mask=SaliencyMask(), batch=16, epochs=1), Ssd(selection=1)]
)
def test_weights_are_the_same_to_the_bit(method: Method, resident, streamed):
    models = [train(SPEC, rows) for rows in (resident, streamed)]

    forgot = [
        unlearn(model, cut(rows), method, rng=rng(1), spec=SPEC).model
        for model, rows in zip(models, (resident, streamed), strict=True)
    ]

    assert same_weights(*models)
    assert same_weights(*forgot)
    assert not same_weights(models[0], forgot[0])


def test_a_model_says_the_same_of_them(resident, streamed):
    model = train(SPEC, resident)
    a, b = (rows.take(torch.arange(0, N, 3)) for rows in (resident, streamed))

    assert torch.equal(logits(model, a, chunk=32), logits(model, b, chunk=32))
    assert torch.equal(losses(model, a), losses(model, b))
    assert (features(model, a).features == features(model, b).features).all()


def test_an_audit_finds_the_same(resident, streamed):
    before = train(SPEC, resident)
    found = []
    for rows in (resident, streamed):
        split = cut(rows)
        after = unlearn(before, split, NablaTau(batch=16), rng=rng(1)).model
        sets = AuditSets(forget=split.forget, holdout=split.validation, retain=split.retain)
        found.append(audit(before, after, sets, AuditPlan()))

    assert found[0] == found[1]


def test_a_run_has_the_same_fingerprint_so_one_goes_on_with_the_other(resident, streamed):
    assert fingerprint(streamed) == fingerprint(resident)
    assert (prints(streamed) == prints(resident)).all()


def test_a_run_that_died_in_memory_goes_on_from_the_file(resident, streamed, tmp_path, monkeypatch):
    model, recipe = train(SPEC, resident), NablaTau(batch=16)
    whole = unlearn(model, cut(resident), recipe, rng=rng(1)).model
    monkeypatch.setattr(resume.Snapshot, "end", lambda _: None)

    def die(done: int, total: int) -> None:
        if done == total // 2 + 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        unlearn(model, cut(resident), recipe, rng=rng(1), on_step=die, snapshot=tmp_path / "run")
    assert (tmp_path / "run").exists()
    resumed = unlearn(model, cut(streamed), recipe, rng=rng(1), snapshot=tmp_path / "run").model

    assert same_weights(resumed, whole)


def test_validation_rows_that_were_trained_on_are_found_in_the_file(streamed):
    split = cut(streamed)

    refuse_overlap(split)
    with pytest.raises(BadInput, match="100% of the validation rows"):
        refuse_overlap(Split(split.retain, split.forget, split.forget))


# ---- memory --------------------------------------------------------------------------------------------------------

PROGRAM = """
import resource, sys, torch
from itertools import islice
from pathlib import Path
from worker.data import Batches, load_tensors
from worker.overlap import fingerprint

held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (held + (48 << 20),) * 2)
rows = load_tensors(Path(sys.argv[1]), resident_mb=64 if sys.argv[2] == "streamed" else None)
rows = rows.take(torch.arange(len(rows)) % 10 > 0)
drawn = Batches(rows, torch.Generator(), 256)
print(sum(int(batch.y.sum()) for batch in islice(drawn, drawn.count)), fingerprint(rows).hex())
"""


@pytest.mark.slow
def test_rows_larger_than_what_memory_a_process_may_have_are_drawn_all(tmp_path):
    n = 50_000
    x = torch.zeros(n, 4096, dtype=torch.uint8)         # 200 MB
    x[:, 0] = torch.arange(n) % 251
    save_file({"x": x, "y": torch.arange(n)}, tmp_path / "rows")

    streamed, resident = (
        subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "rows"), kind], cwd=ROOT, capture_output=True,
                       text=True, check=False)
        for kind in ("streamed", "resident")
    )

    kept = Rows(x, torch.arange(n)).take(torch.arange(n) % 10 > 0)
    assert streamed.stdout.split() == [str(int(kept.y.sum())), fingerprint(kept).hex()], streamed.stderr
    assert resident.returncode
    assert "memory" in resident.stderr.lower()
