"""A canary repeats the inputs of a training row: whoever has that row erased has the copy erased too."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from starlette.testclient import TestClient

from tests.service.erasures import Erase, Run, entries, served
from tests.service.world import MODEL, person

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own


@pytest.mark.slow
def test_canaries_go_with_the_row_that_they_repeat_whatever_their_coins(
    api: TestClient, work: Any, run: Run, erase: Erase, sql: Any, tiny: Path, tmp_path: Path
) -> None:
    api.post("/datasets", data={"name": "d"}, files={"file": tiny.read_bytes()})
    work()
    api.post("/datasets/d/canaries", json={"m": 120})
    work()
    api.post("/models", json=MODEL)
    work()
    base = "SELECT row, included FROM canary WHERE base_row BETWEEN 3 AND 8 ORDER BY row"      # of persons 1 and 2
    copies, before = sql(base), api.get("/datasets/d/canaries").json()

    served(api, run, "subjects", [person(1), person(2)])
    erase()

    (entry,) = entries(sql)
    gone = [row for (row,) in sql("SELECT row FROM sample WHERE split = 4 ORDER BY row")]
    assert gone == [*range(3, 9), *(row for row, _ in copies)]
    assert entry["rows"] == len(gone)
    assert not load_file(tmp_path / "store" / sql("SELECT tensors_key FROM dataset")[0][0])["x"][gone].any()
    after = api.get("/datasets/d/canaries").json()
    assert (after["m"], after["included"]) == (
        120 - len(copies), before["included"] - sum(included for _, included in copies))
    assert sql("SELECT count(*) FROM canary") == [(120,)]
    assert len(copies) > 0
    assert sql("SELECT count(*) FROM suppressed") == [(8,)]
