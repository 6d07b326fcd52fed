"""Every error as application/problem+json (RFC 9457). What the client sent is never echoed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from service.api import request_id
from service.errors import BadInput, ExpungeError, Fault, Unavailable

log = structlog.get_logger()
MEDIA_TYPE = "application/problem+json"


class FaultView(BaseModel):
    pointer: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details, with the places that are wrong and what to do about it."""

    type: str
    title: str
    status: int
    detail: str
    hint: str
    instance: str
    errors: list[FaultView]


def reply(error: ExpungeError, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    problem = Problem(
        type=f"/docs/problems#{error.slug}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        hint=error.hint,
        instance=f"urn:uuid:{request_id.current()}",
        errors=[FaultView(pointer=f.pointer, detail=f.detail) for f in error.faults],
    )
    return JSONResponse(problem.model_dump(), error.status, dict(headers or {}), media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer all errors of this app, the framework's too."""

    @app.exception_handler(ExpungeError)
    def _ours(_: Request, error: ExpungeError) -> JSONResponse:
        return reply(error, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = to_faults(error.errors(), error.body)
        wrong = "One place in the request is" if len(faults) == 1 else f"{len(faults)} places in the request are"
        return reply(BadInput(f"{wrong} not right", faults=faults))

    @app.exception_handler(HTTPException)
    def _framework(_: Request, error: HTTPException) -> JSONResponse:
        return reply(_of_status(error.status_code), headers=error.headers)

    @app.exception_handler(OperationalError)
    def _database(_: Request, error: OperationalError) -> JSONResponse:
        log.warning("database.unavailable", error=type(error.orig).__name__)
        return reply(Unavailable("The database does not answer"), headers={"Retry-After": "5"})

    @app.exception_handler(Exception)
    def _unforeseen(_: Request, error: Exception) -> JSONResponse:
        log.error("unforeseen", error=type(error).__name__)
        return reply(ExpungeError("An error that nobody foresaw; nothing was changed"))


def _of_status(status: int) -> ExpungeError:
    sentences = {404: "There is nothing at this address", 405: "This address does not answer to this method"}
    error = ExpungeError(sentences.get(status, "The request could not be served"))
    error.status, error.slug = status, f"http-{status}"
    error.title, error.hint = "The request could not be served", "Compare the address and the method with /docs."
    return error


def to_faults(errors: Iterable[Any], body: object) -> Sequence[Fault]:
    """Pydantic's errors as JSON pointers into `body`; messages that would quote the input are replaced."""
    return [Fault(_place(error, body), _sentence(error)) for error in errors]


def _place(error: Mapping[str, Any], body: object) -> str:
    """The pointer of one error; a field that does not belong there may be called like a person."""
    match str(error["type"]):
        case "json_invalid":
            return ""
        case "extra_forbidden":
            return f"{_pointer(error['loc'][:-1], body)}/?"
        case _:
            return _pointer(error["loc"], body)


_QUOTES = {
    "union_tag_invalid": "is of no known kind",
    "union_tag_not_found": "lacks the field that tells its kind",
    "json_invalid": "is not valid JSON",
    "extra_forbidden": "is not a field of this object",
}


def _sentence(error: Mapping[str, Any]) -> str:
    return _QUOTES.get(str(error["type"]), str(error["msg"]).removeprefix("Value error, "))


def _pointer(loc: Sequence[str | int], body: Any) -> str:
    """The place as a JSON pointer; a part that is neither a position nor like a field name is not repeated."""
    parts: list[str] = []
    for part in loc[1:] if loc and loc[0] in ("body", "query", "path", "header") else loc:
        if _is_tag(body, part):
            continue        # pydantic names the chosen member of a union, which is no place in the document
        body = _step(body, part)
        parts.append(str(part) if isinstance(part, int) or re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", part) else "?")
    return "".join(f"/{part}" for part in parts)


def _is_tag(body: Any, part: str | int) -> bool:
    return isinstance(body, dict) and part not in body and part in (body.get("kind"), body.get("name"))


def _step(body: Any, part: str | int) -> Any:
    match body, part:
        case dict(), _:
            return body.get(part)
        case list(), int():
            return body[part] if part < len(body) else None
        case _:
            return None
