"""What every job needs, made once by the process that runs jobs."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from sqlalchemy import Engine
from torch import nn

from service.db.session import connect
from service.domain.recipes import Spec
from service.domain.report import AuditReport
from service.ledger.keyring import Keyring
from service.ledger.keys import Keys
from service.settings import Settings
from service.storage import Store, open_store
from worker import checkpoint, report


@dataclass(frozen=True)
class Workshop:
    """Database, store, keys and device of one worker process."""

    settings: Settings
    engine: Engine
    store: Store
    keyring: Keyring

    @classmethod
    def of(cls, settings: Settings) -> "Workshop":
        if settings.database_url is None:
            raise ValueError("EXPUNGE_DATABASE_URL is not set")
        return cls(
            settings=settings,
            engine=connect(settings.database_url.get_secret_value(), role="expunge_app", pool_size=3),
            store=open_store(settings.store, endpoint=settings.s3_endpoint),
            keyring=Keyring.of(settings),
        )

    @property
    def keys(self) -> Keys:
        """As they are now; ask for them where something is signed."""
        return self.keyring.keys

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.settings.lease_s)

    @property
    def torch_device(self) -> torch.device:
        name = self.settings.device
        return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)

    @contextmanager
    def fetched(self, key: str) -> Generator[Path]:
        """An object of the store as a local file, gone when the block ends."""
        with self.scratch() as folder:
            path = folder / "object"
            self.store.fetch(key, path)
            yield path

    def load_weights(self, spec: Spec, key: str) -> nn.Module:
        """The model of this recipe with these weights, on the device."""
        with self.fetched(key) as path:
            return checkpoint.load(spec, path).to(self.torch_device)

    def store_weights(self, model: nn.Module) -> str:
        """The key of its weights."""
        with self.scratch() as folder:
            checkpoint.save(model, folder / "weights.safetensors")
            return self.store.put(folder / "weights.safetensors")

    def store_report(self, seen: AuditReport) -> dict[str, str]:
        """Form → key: json, html, pdf."""
        forms = {"json": report.to_json, "html": report.to_html, "pdf": report.to_pdf}
        return {name: self.store.put_bytes(render(seen)) for name, render in forms.items()}

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """A private folder, gone when the block ends."""
        with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
            yield Path(folder)
