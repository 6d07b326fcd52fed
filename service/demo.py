"""`expunge demo`: real patients are forgotten by a real model, and the proof is checked by a stranger."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.client import Client, ProblemError
from service.ledger import keys
from service.ledger.bundle import verifier
from service.ledger.untrusted import pack
from service.settings import Settings
from service.stack import Stack, stack

EXAMPLE = Path(__file__).parents[1] / "examples" / "hospital"
SHARE, SEED, REFERENCES = 0.05, 0, 3
WHEN = ("before", "after", "reference")
AUC = {"before": "auc_original", "after": "auc", "reference": "auc_reference"}
Json = dict[str, Any]


@dataclass
class Story:
    """What happened, as far as it has."""

    console: Console
    folder: Path
    started: float = field(default_factory=time.perf_counter)
    requests: list[Json] = field(default_factory=list[Json])
    reports: list[Json] = field(default_factory=list[Json])
    jobs: list[Json] = field(default_factory=list[Json])
    bundles: list[Path] = field(default_factory=list[Path])
    verified: bool = False
    tamper_detected: bool = False

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)


def run(*, as_json: bool, keep: bool) -> int:
    """The whole demo; returns the exit code."""
    if not (EXAMPLE / "hospital.parquet").exists():
        Console(stderr=True).print("The demo runs from a checkout: examples/hospital/hospital.parquet is not here.")
        return 2
    home = Path(tempfile.mkdtemp(prefix="expunge-demo-"))
    story = Story(Console(stderr=as_json), home / "evidence")
    story.folder.mkdir()
    settings = Settings(home=home, port=0, lease_s=30, database_url=None, broker_url=None, store_url=None, keys=None)
    try:
        with stack(settings) as running, Client(running.url) as client:
            story.say(f"[bold]1[/] The service runs at {running.url}: PostgreSQL, Redis, API, scheduler, one worker.")
            _tell(story, running, client)
            if keep:
                _stay(story, running)
    finally:
        _clean(home)
    if as_json:
        print(json.dumps(_numbers(story)))
    return 0 if story.verified and story.tamper_detected else 1


def _tell(story: Story, running: Stack, client: Client) -> None:
    _register(story, client)
    _forget(story, client)
    _show(story)
    _collect(story, running, client)
    _verify(story)


def _register(story: Story, client: Client) -> None:
    indexing = client.add_dataset("hospital", EXAMPLE / "hospital.parquet")
    facts = indexing["facts"]
    recipe = json.loads((EXAMPLE / "model.json").read_text())
    recipe["policy"] = {"audit": {"references": REFERENCES}}
    training = client.add_model(recipe)
    job = _follow_job(story, client, training["job"]["id"], "training version 1")
    story.say(
        f"[bold]2[/] Data set `hospital` ({facts['rows']:,} hospital stays of {facts['subjects']:,} patients); "
        f"model `readmission`, version 1, trained in {job['result']['seconds']:.1f} s."
    )


def _bar(story: Story) -> Progress:
    columns = (TextColumn("  {task.description:<34}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    return Progress(*columns, TimeElapsedColumn(), console=story.console, transient=True)


def _follow_job(story: Story, client: Client, job_id: str, title: str) -> Json:
    with _bar(story) as bar:
        task = bar.add_task(title, total=None)
        while (job := client.job(job_id))["finished_at"] is None:
            known = job["progress"]
            bar.update(task, total=known.get("total"), completed=known.get("done", 0))
            time.sleep(0.1)
    if job["status"] != "succeeded":
        raise SystemExit(f"The job ended as {job['status']}: {job['error']}")
    return job


def _forget(story: Story, client: Client) -> None:
    """5 % of the patients, and while that runs one more."""
    many, one = _patients()
    first = client.forget("readmission", {"kind": "subjects", "ids": many}, external_id="demo-five-percent")
    story.say(
        f"[bold]3[/] Deletion requests: {len(many)} patients ({first['n_samples']} stays), and one single patient. "
        f"Legal date: {first['due_at'][:10]}."
    )
    second: list[Json] = []

    def on_event(kind: str) -> None:
        if kind == "unlearning" and not second:
            client.set_policy("readmission", {})        # the default: one patient's audit needs no retrained models
            second.append(client.forget("readmission", {"kind": "subjects", "ids": [one]}, external_id="demo-one"))

    _follow(story, client, first["id"], f"forgetting {len(many)} patients", on_event)
    _follow(story, client, second[0]["id"], "forgetting one patient", lambda _: None)
    for request_id in (first["id"], second[0]["id"]):
        request = client.request(request_id)
        if request["state"] != "certified":
            raise SystemExit(f"Request {request_id} ended as {request['state']}")
        story.requests.append(request)
        story.reports.append(json.loads(client.report(request_id)))
        story.jobs.append(client.job(request["job_id"]))


def _patients() -> tuple[list[str], str]:
    """A random 5 % of the patients in training, and another one of several stays."""
    table = pq.read_table(EXAMPLE / "hospital.parquet", columns=["subject_id", "split"]).to_pylist()
    stays: dict[str, int] = {}
    for row in table:
        if row["split"] == "train":
            stays[row["subject_id"]] = stays.get(row["subject_id"], 0) + 1
    order = sorted(stays)
    random.Random(SEED).shuffle(order)
    n = round(len(order) * SHARE)
    return order[:n], max(order[n:], key=lambda person: stays[person])


def _follow(story: Story, client: Client, request_id: str, title: str, on_event: Any) -> None:
    with _bar(story) as bar:
        task = bar.add_task(title, total=None)
        for event in client.events(request_id):
            if event.kind == "progress":
                known = event.data
                text = f"{title}: {known['phase']}"
                bar.update(task, total=known["total"], completed=known["done"], description=text)
            else:
                on_event(event.kind)


def _stay(story: Story, running: Stack) -> None:
    story.say(f"\nKept running: {running.url}/docs · {running.url}/ledger/checkpoint · Ctrl-C ends it.")
    try:
        while True:
            running.revive()
            time.sleep(1)
    except KeyboardInterrupt:
        story.say("Stopped.")


def _clean(home: Path) -> None:
    """Only the evidence and the logs stay, and nothing of a demo that was broken off."""
    evidence = any((home / "evidence").iterdir())
    for folder in ("postgres", "redis", "store", "keys") if evidence else (".",):
        shutil.rmtree(home / folder, ignore_errors=True)


def _show(story: Story) -> None:
    report, seconds = story.reports[0], story.jobs[0]["result"]
    title = f"{story.requests[0]['n_samples']} stays forgotten; an attack AUC of 0.5 knows nothing (95 % intervals)"
    table = Table(title=title, title_justify="left")
    for column in ("", "before", "after", "retrained"):
        table.add_column(column, justify="right" if column else "left")
    for name in ("retain", "forget", "holdout"):
        seen = report["utility"][name]
        table.add_row(f"accuracy on {name}", *(f"{seen[when]:.3f}" for when in WHEN))
    attack = _attack(report)
    table.add_row("attack AUC", *(_with_interval(attack, AUC[when]) for when in WHEN))
    table.add_row("seconds", "", f"{seconds['seconds']:.2f}", f"{_mean(seconds['reference_seconds']):.2f}")
    story.console.print(table)
    for request, seen in zip(story.requests, story.reports, strict=True):
        verdict = seen["verdict"]
        story.say(f"  {request['external_id']}: [bold]{verdict['value']}[/] – {verdict['statement']}")


def _attack(report: Json) -> Json:
    return next(each for each in report["results"] if each["signal"] == "loss")


def _with_interval(attack: Json, name: str) -> str:
    low, high = attack[f"{name}_ci95"]
    return f"{attack[name]:.3f} [{low:.3f}, {high:.3f}]"


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def _collect(story: Story, running: Stack, client: Client) -> None:
    shutil.copy(running.home / "keys" / keys.PUBLIC_FILE, story.folder)
    for request in story.requests:
        name = request["external_id"]
        path = story.folder / f"{name}.zip"
        path.write_bytes(_bundle(client, request["id"]))
        (story.folder / f"{name}.html").write_bytes(client.report(request["id"], accept="text/html"))
        (story.folder / f"{name}.pdf").write_bytes(client.report(request["id"], accept="application/pdf"))
        story.bundles.append(path)
    story.say(f"[bold]4[/] Reports, certificates and the public key: {story.folder}")


def _bundle(client: Client, request_id: str) -> bytes:
    """The sequencer logs a certificate within a second of its issue."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return client.bundle(request_id)
        except ProblemError as problem:
            if problem.status != 409 or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _verify(story: Story) -> None:
    """By another process that cannot see this project, in a folder of bundle, public key and verifier."""
    story.verified = all(_stranger(story, bundle.read_bytes()).returncode == 0 for bundle in story.bundles)
    broken = _stranger(story, _tampered(story.bundles[0]))
    story.tamper_detected = broken.returncode != 0
    story.say(f"[bold]5[/] Verified offline by another process: {'yes' if story.verified else 'NO'}.")
    story.say(f"  One byte flipped: {'detected' if story.tamper_detected else 'NOT DETECTED'} – {_failure(broken)}")


def _tampered(bundle: Path) -> bytes:
    """One byte of the certificate's content is another, and the archive is packed anew, as a forger would."""
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = bytearray(members["envelope.json"])
    content[len(content) // 2] = ord("A") if content[len(content) // 2] != ord("A") else ord("B")
    return pack(members | {"envelope.json": bytes(content)})


def _stranger(story: Story, bundle: bytes) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory(prefix="expunge-stranger-") as folder:
        (Path(folder) / "bundle.zip").write_bytes(bundle)
        shutil.copy(story.folder / keys.PUBLIC_FILE, folder)
        (Path(folder) / "verify.pyz").write_bytes(verifier())
        argv = [sys.executable, "-I", "verify.pyz", "bundle.zip", "--key", keys.PUBLIC_FILE]
        return subprocess.run(argv, cwd=folder, env={}, capture_output=True, text=True, timeout=60, check=False)


def _failure(done: "subprocess.CompletedProcess[str]") -> str:
    """What the verifier said of the step that failed."""
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    return failed[0] if failed else f"exit code {done.returncode}"


def _numbers(story: Story) -> Json:
    report, seconds = story.reports[0], story.jobs[0]["result"]
    attack, holdout = _attack(report), report["utility"]["holdout"]
    names = {"before": "before", "after": "after", "reference": "retrained"}
    return {
        **{f"auc_{name}": attack[AUC[when]] for when, name in names.items()},
        **{f"auc_{name}_ci": attack[f"{AUC[when]}_ci95"] for when, name in names.items()},
        **{f"holdout_{name}": holdout[when] for when, name in names.items()},
        **{f"holdout_{name}_ci": holdout[f"{when}_ci95"] for when, name in names.items()},
        "unlearn_s": seconds["seconds"],
        "retrain_s": _mean(seconds["reference_seconds"]),
        "wall_s": round(time.perf_counter() - story.started, 1),
        "verdict": story.reports[0]["verdict"]["value"],
        "verdicts": [report["verdict"]["value"] for report in story.reports],
        "certificates": len(story.bundles),
        "verified": story.verified,
        "tamper_detected": story.tamper_detected,
        "evidence": str(story.folder),
    }
