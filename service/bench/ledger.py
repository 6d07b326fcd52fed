"""`expunge bench ledger`: how fast it takes, orders, proves and replays entries, and what kill -9 does to it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import log2
from statistics import median

from service.bench import offline, reading
from service.bench.deployment import Deployment, deployment
from service.bench.faults import Faults, faults
from service.bench.loading import load
from service.bench.rates import Rates, rates

SMALL = 512     # bytes of an envelope in the large log, which would not fit on small disks with more


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; the numbers of one that is quick say little."""

    entries: int = 1_000_000        # of the large log
    bytes: int = 4096               # of an envelope, but in the large log
    replayed: int = 100_000         # entries of a log whose envelopes have that size
    drained: int = 16_384           # entries in each round of the rates
    rounds: int = 3
    proofs: int = 2000              # of each kind
    verifications: int = 20
    fault_seconds: float = 30.0


QUICK = Plan(
    entries=20_000, replayed=5000, drained=1024, rounds=1, proofs=200, verifications=3, fault_seconds=1.0
)
Say = Callable[[str], None]


def measure(plan: Plan, say: Say) -> dict[str, object]:
    """Everything, as one JSON object; `say` is told what is being measured.

    Raises:
        LedgerBroken: something was wrong, so that its speed does not matter.
    """
    with deployment() as of:
        say("inbox, sequencer, and the bare INSERT")
        found: dict[str, object] = {**_rates(of, plan), "bytes": plan.bytes}
        say(f"a log of {plan.entries} entries: proofs, replay, verification")
        found |= _large(of, plan)
        say(f"a log of {plan.replayed} entries of {plan.bytes} bytes: replay")
        found[f"replay_{plan.bytes}_bytes_per_s"] = _replayed(of, plan)
        say("a sequencer that is killed again and again")
        found["faults"] = _told(faults(of, seconds=plan.fault_seconds, size=plan.bytes))
    return found | {"cpus": os.cpu_count(), "load_1min": os.getloadavg()[0]}


def _rates(of: Deployment, plan: Plan) -> Mapping[str, object]:
    rounds = [rates(of, entries=plan.drained, size=plan.bytes) for _ in range(plan.rounds)]
    of_each: Mapping[str, Callable[[Rates], float]] = {
        "append_per_s": lambda each: each.append, "inbox_per_s": lambda each: each.inbox,
        "floor_per_s": lambda each: each.floor, "inbox_floor_per_s": lambda each: each.inbox_floor,
    }  # fmt: skip
    return {name: median(map(read, rounds)) for name, read in of_each.items()}


def _large(of: Deployment, plan: Plan) -> Mapping[str, object]:
    url = of.database("large")
    load(of, url, entries=plan.entries, size=SMALL)
    inclusion = reading.inclusions(url, size=plan.entries, n=plan.proofs)
    consistency = reading.consistencies(url, size=plan.entries, n=plan.proofs)
    files = offline.certified(of, url)      # the sequencer goes on where the restored log ends
    refusals = offline.refusals(files)
    return {
        "entries": plan.entries, "entry_bytes": SMALL,
        "proof_p50_ms": inclusion.p50_ms, "proof_p99_ms": inclusion.p99_ms, "proof_rows": inclusion.rows,
        "consistency_p50_ms": consistency.p50_ms, "consistency_p99_ms": consistency.p99_ms,
        "consistency_rows": consistency.rows, "rows_bound": 2 * log2(plan.entries),
        "replay_per_s": median(reading.replay(of, url) for _ in range(plan.rounds)),
        "verify_s": offline.verifications(files, n=plan.verifications),
        "refusal_s": max(refusals.values()), "refusals_s": refusals,
    }  # fmt: skip


def _replayed(of: Deployment, plan: Plan) -> float:
    url = of.database("heavy")
    load(of, url, entries=plan.replayed, size=plan.bytes)
    return median(reading.replay(of, url) for _ in range(plan.rounds))


def _told(found: Faults) -> Mapping[str, object]:
    return {**asdict(found), "sound": found.sound}
