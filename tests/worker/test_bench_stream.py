"""The benchmark of streaming: its file is the service's, its measures are those of the process."""

import json

import pytest
import torch
from safetensors.torch import load_file

from worker.bench import stream
from worker.bench.memory import parts, status
from worker.bench.stream import Size, bench, let_go, timed, write
from worker.cli import app
from worker.data import load_tensors


def test_the_file_is_one_that_the_reference_reader_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "AT_A_TIME", 7)
    write(tmp_path / "rows", 20, side=4)

    held = load_file(tmp_path / "rows")

    assert held["x"].shape == (20, 3, 4, 4)
    assert held["y"].unique().tolist() == sorted(set(held["y"].tolist()))
    assert len(held["x"].flatten(1).unique(dim=0)) == 20
    assert torch.equal(load_tensors(tmp_path / "rows", resident_mb=0).x[:], held["x"])


def test_each_row_is_in_one_part(tmp_path):
    write(tmp_path / "rows", 200, side=2)

    split = parts(load_tensors(tmp_path / "rows", resident_mb=0))

    places = torch.cat([part.x.index for part in (split.retain, split.forget, split.validation)])
    assert places.sort().values.tolist() == list(range(200))
    assert [len(split.retain), len(split.forget), len(split.validation)] == [176, 4, 20]


def test_a_file_that_was_let_go_has_the_same_rows(tmp_path):
    write(tmp_path / "rows", 20, side=4)
    rows = load_tensors(tmp_path / "rows", resident_mb=0)
    before = rows.x[:]

    let_go(rows)

    assert torch.equal(rows.x[:], before)


def test_the_peak_is_that_of_this_process():
    before = status("VmHWM")
    held = torch.ones(200 << 18)        # 200 MiB

    assert status("VmHWM") >= status("VmRSS") >= 200
    assert status("VmHWM") >= before
    assert float(held[0]) == 1


def test_a_block_is_timed_by_the_clock(monkeypatch):
    times = iter([3.0, 10.0])
    monkeypatch.setattr(stream, "now", lambda _: next(times))

    assert timed(lambda: None) == 7


@pytest.mark.slow
def test_the_command_prints_one_json_object(capsys):
    with pytest.raises(SystemExit) as ended:
        app(["bench", "stream", "--quick", "--json", "--threads", "1"])

    found = json.loads(capsys.readouterr().out)
    assert not ended.value.code
    assert found["rows_n"] == 1000
    assert found["bytes"] == 1000 * (3 * 8 * 8 + 8) + 8 + 152
    assert found["resident_s"] > 0
    assert found["ratio"] > 0
    assert [row["rows_n"] for row in found["rows"]] == [1000, 4000]
    assert all(row["streamed_rss_mb"] > 50 for row in found["rows"])


@pytest.mark.slow
def test_rows_that_no_process_may_hold_are_streamed_all_the_same():
    found = bench(Size(rows=60_000, side=32, width=1, batch=8, steps=1, blocks=1))      # 180 and 720 MiB

    assert found["streamed_fits_cap"] is True
    assert found["resident_fits_cap"] is False
    assert found["streamed_rss_growth_mb"] < 60         # of 540 MiB that the file grew by
