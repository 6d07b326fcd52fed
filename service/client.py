"""A typed client of the HTTP interface."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

Json = dict[str, Any]


class ProblemError(Exception):
    """An answer that was not a success: its status, its problem document, and one sentence."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {problem.get('detail', '')} {problem.get('hint', '')}".strip())
        self.status = status
        self.problem = dict(problem)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a deletion request; `progress` events have no id."""

    kind: str
    data: Json
    id: str | None = None


class Client:
    """Talks to one service; use it as a context manager."""

    def __init__(self, base_url: str, *, timeout_s: float = 60.0) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.close()

    def add_dataset(
        self, name: str, file: Path, *, split: Mapping[str, float] | None = None, text: Mapping[str, int] | None = None
    ) -> Json:
        """Upload a Parquet file; the answer's `job` indexes it."""
        options = {"split": split, "text": text}
        form = {"name": name} | {key: json.dumps(value) for key, value in options.items() if value is not None}
        with file.open("rb") as stream:
            return self._json("POST", "/datasets", data=form, files={"file": (file.name, stream)})

    def dataset(self, name: str) -> Json:
        return self._json("GET", f"/datasets/{name}")

    def add_model(self, model: Mapping[str, Any], *, weights: Path | None = None) -> Json:
        """Register a model; without weights the answer's `job` trains version 1."""
        if weights is None:
            return self._json("POST", "/models", json=dict(model))
        with weights.open("rb") as stream:
            parts = {"weights": (weights.name, stream)}
            return self._json("POST", "/models", data={"model": json.dumps(dict(model))}, files=parts)

    def model(self, name: str) -> Json:
        return self._json("GET", f"/models/{name}")

    def set_policy(self, name: str, policy: Mapping[str, Any]) -> Json:
        """Replace a model's policy; a job that has started keeps the one it started with."""
        return self._json("PUT", f"/models/{name}/policy", json=dict(policy))

    def versions(self, name: str) -> list[Json]:
        return _checked(self._http.get(f"/models/{name}/versions")).json()

    def job(self, job_id: str) -> Json:
        return self._json("GET", f"/jobs/{job_id}")

    def forget(
        self, model: str, target: Mapping[str, Any], *, external_id: str | None = None, key: str | None = None
    ) -> Json:
        """Post a deletion request; `key` is the Idempotency-Key, a fresh one unless given."""
        body: Json = {"model": model, "target": dict(target), "external_id": external_id}
        return self._json("POST", "/deletion-requests", json=body, headers={"Idempotency-Key": key or str(uuid4())})

    def request(self, request_id: str) -> Json:
        return self._json("GET", f"/deletion-requests/{request_id}")

    def events(self, request_id: str, *, after: str = "0") -> Iterator[Event]:
        """Follow a request to its end; a connection that breaks is resumed where it broke."""
        while True:
            try:
                for event in self._stream(request_id, after):
                    after = event.id or after
                    yield event
            except (httpx.ReadError, httpx.RemoteProtocolError):
                continue
            return

    def _stream(self, request_id: str, after: str) -> Iterator[Event]:
        path, headers = f"/deletion-requests/{request_id}/events", {"Last-Event-ID": after}
        with self._http.stream("GET", path, headers=headers, timeout=httpx.Timeout(60.0)) as answer:
            if answer.is_error:
                answer.read()
            _checked(answer)
            yield from _events(answer.iter_lines())

    def report(self, request_id: str, *, accept: str = "application/json") -> bytes:
        return self._bytes(f"/deletion-requests/{request_id}/audit-report", accept)

    def add_version(self, model: str, weights: Path) -> Json:
        """Add weights that were unlearned elsewhere, to be audited; the active version stays in use."""
        with weights.open("rb") as stream:
            return self._json("POST", f"/models/{model}/versions", files={"weights": (weights.name, stream)})

    def audit(
        self, model: str, *, version: int | None = None, before: int | None = None,
        target: Mapping[str, Any] | None = None, plan: Mapping[str, Any] | None = None, key: str | None = None,
    ) -> Json:
        """Ask for an audit of a version; what is not named is the active version, what it forgot, and the policy's."""
        told = {"version": version, "before": before, "target": target, "plan": plan}
        body = {"model": model} | {name: value for name, value in told.items() if value is not None}
        return self._json("POST", "/audits", json=body, headers={"Idempotency-Key": key or str(uuid4())})

    def audit_state(self, audit_id: str) -> Json:
        return self._json("GET", f"/audits/{audit_id}")

    def audits(self, model: str | None = None) -> list[Json]:
        """The newest hundred."""
        return self._json("GET", "/audits", params={} if model is None else {"model": model})["items"]

    def cancel_audit(self, audit_id: str) -> Json:
        return self._json("POST", f"/audits/{audit_id}/cancel")

    def audit_report(self, audit_id: str, *, accept: str = "application/json") -> bytes:
        return self._bytes(f"/audits/{audit_id}/report", accept)

    def bundle(self, request_id: str) -> bytes:
        return self._bytes(f"/deletion-requests/{request_id}/bundle", "application/zip")

    def entries(self, request_id: str) -> list[Json]:
        """All that the ledger says of a request, in its order."""
        return _checked(self._http.get(f"/deletion-requests/{request_id}/entries")).json()["items"]

    def receipt(self, request_id: str, sample: str) -> bytes:
        """For the person whose sample it is alone; `expunge verify-receipt` checks it beside the bundle."""
        answer = self._http.get(f"/deletion-requests/{request_id}/receipt", params={"sample": sample})
        return _checked(answer).content

    def _bytes(self, path: str, accept: str) -> bytes:
        return _checked(self._http.get(path, headers={"Accept": accept})).content

    def _json(self, method: str, path: str, **parts: Any) -> Json:
        return _checked(self._http.request(method, path, **parts)).json()


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        known = "json" in answer.headers.get("content-type", "")
        raise ProblemError(answer.status_code, answer.json() if known else {"detail": answer.reason_phrase})
    return answer


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events out of lines; comments and unknown fields are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name in ("event", "data", "id"):
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield Event(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))
            fields = {}
