"""The only reader of the environment: every setting, its default and what it is for."""

import os
from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read once in a composition root, and passed down. With no URL set the servers come from wheels."""

    model_config = SettingsConfigDict(env_prefix="EXPUNGE_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".expunge"), description="Folder of the embedded servers, the store and the keys.")
    database_url: SecretStr | None = Field(
        default=None, description="postgresql+psycopg://…; embedded PostgreSQL if unset."
    )
    broker_url: SecretStr | None = Field(default=None, description="redis://…; embedded Redis if unset.")
    store_url: str | None = Field(
        default=None, description="file:///… or s3://bucket/prefix; a folder under home if unset."
    )
    s3_endpoint: str | None = Field(default=None, description="Endpoint of an S3 server that is not Amazon's.")
    keys: Path | None = Field(default=None, description="Folder made by `expunge keys new`; home/keys if unset.")
    origin: str = Field(
        default="expunge.example/log", description="Name of the ledger in its checkpoints (C2SP origin)."
    )
    certificate_signer: str | None = Field(
        default=None,
        description="Where `expunge keys new` finds the certificate key: awskms:…, gcpkms:…, azurekms:…, hsm:…, hv:…; "
        "a fresh file if unset.",
    )
    log_signer: str | None = Field(default=None, description="The same for the key that signs checkpoints.")
    anchors: SecretStr | None = Field(      # a webhook's URL may hold a secret
        default=None,
        description="Where checkpoints are written down outside: file:///…, s3://bucket/prefix?retain_days=3650, "
        "https://…; separated by commas.",
    )
    anchor_every_s: float = Field(default=60.0, description="At most one checkpoint per anchor in so long.", ge=0)
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8000, description="Port of the API; 0 takes a free one.", ge=0, le=65535)
    max_upload_mb: int = Field(default=4096, description="Largest upload, in MiB.", gt=0)
    lease_s: float = Field(default=30.0, description="Lease of a running job, in seconds.", gt=0)
    max_attempts: int = Field(default=3, description="How often a job may be started before it has failed.", gt=0)
    visibility_timeout_s: int = Field(default=86_400, description="After this Redis hands a message out again.", gt=0)
    device: str = Field(default="auto", description="torch device of the worker: auto, cpu, cuda, cuda:1 …")
    resident_mb: int = Field(       # what is resident is there twice while it is cut: 8 of a small worker's 16 GiB
        default=4096, description="Largest inputs to hold in memory, in MiB; larger ones stay in their file.", ge=0
    )
    architectures: str | None = Field(
        default=None, description="Packages whose model factories may be imported, separated by commas."
    )
    image_sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="Digest of the container's image, for the certificates."
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @cached_property
    def keys_dir(self) -> Path:
        return self.keys or self.home / "keys"

    def environment(self) -> dict[str, str]:
        """These settings as variables, for a child process that shall have the same and no others."""
        held = {name: getattr(self, name) for name in type(self).model_fields}
        plain = {name: each.get_secret_value() if isinstance(each, SecretStr) else each for name, each in held.items()}
        return {f"EXPUNGE_{name.upper()}": str(each) for name, each in plain.items() if each is not None}

    @cached_property
    def packages(self) -> frozenset[str]:
        return frozenset(each.strip() for each in (self.architectures or "").split(",") if each.strip())

    @cached_property
    def store(self) -> str:
        return self.store_url or (self.home / "store").absolute().as_uri()


_NEEDED = (
    "AWS_", "CUDA_", "LD_", "OMP_", "HOME", "LANG", "PATH", "TMPDIR", "VIRTUAL_ENV", "XDG_RUNTIME_DIR",
    "AZURE_", "GOOGLE_", "PYKCS11LIB", "VAULT_",        # what signers outside need, as AWS_ is
)  # fmt: skip


def inherited() -> dict[str, str]:
    """What a Python process needs of our environment; a child's settings are those that its owner gives."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_NEEDED)}
    return kept | {"PYTHONUNBUFFERED": "1"}
