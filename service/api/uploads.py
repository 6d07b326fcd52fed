"""Uploads: copied from the request to a private file, in constant memory, and gone when the block ends."""

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import reply
from service.errors import TooLarge
from service.storage import Store


@contextmanager
def local_file(store: Store, upload: UploadFile | None, key: str | None) -> Generator[Path]:
    """The uploaded file, or the store's object of this key, as a file that a child process can open."""
    with tempfile.TemporaryDirectory(prefix="expunge-") as private:
        path = Path(private) / "upload"
        if upload is not None:
            with path.open("wb") as out:
                shutil.copyfileobj(upload.file, out, 1 << 20)
        elif key is not None:
            store.fetch(key, path)
        yield path


class LimitBody:
    """Refuses a request body over `limit` bytes, declared or not, before it fills the disk."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if int(headers.get(b"content-length", b"0")) > self.limit:
            await self._refusal()(scope, receive, send)
            return
        await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, started = 0, False

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise _OverLimitError
            return message

        async def noting(message: Message) -> None:
            nonlocal started
            if started or seen <= self.limit:       # else the app answers that it could not read the body; we know why
                started = True
                await send(message)

        with suppress(_OverLimitError):
            await self.app(scope, counting, noting)
        if not started:
            await self._refusal()(scope, receive, send)

    def _refusal(self) -> JSONResponse:
        return reply(TooLarge(f"The body is over the limit of {self.limit >> 20} MiB"))


class _OverLimitError(Exception):
    pass
