"""The benchmark of the audit, as the command line gives it."""

import json

import pytest

from worker.bench.audit import PARTS, bench
from worker.cli import app
from worker.commands_bench_audit import flat, table

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

FAST = ("population", "rmia")


def test_parts_are_measured_alone_and_under_the_names_of_the_design():
    found = bench(quick=True, only=("rmia",))

    assert set(found) == {"rmia_s", "rmia_largest_mb"}
    assert all(value > 0 for value in found.values())
    assert set(PARTS) == {"population", "rmia", "shadow_speedup", "ulira"}


def test_the_command_prints_one_json_object(capsys):
    words = [word for name in FAST for word in ("--only", name)]
    with pytest.raises(SystemExit) as ended:
        app(["bench", "audit", "--quick", "--json", *words])

    found = json.loads(capsys.readouterr().out)
    assert not ended.value.code
    assert {"population_s", "population_rss_mb", "rmia_s"} <= set(found)


@pytest.mark.slow
def test_the_shadows_speak_of_every_family_and_method():
    found = bench(quick=True, only=("shadow_speedup", "ulira"))

    assert {"mlp", "cnn"} <= set(found["shadow_speedup"])
    assert {"do_nothing", "nabla_tau_mean", "nabla_tau_quantile", "retrain"} <= set(found["ulira"])


def test_every_number_has_a_line():
    found = {"a_s": 1.25, "ulira": {"retrain": 0.5, "models": 64}}

    assert flat(found) == [("a_s", 1.25), ("ulira.retrain", 0.5), ("ulira.models", 64)]
    assert table(found).row_count == 3
