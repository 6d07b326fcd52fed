"""The only reader of the environment: every setting, its default and what it is for."""

from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read once in a composition root, and passed down. With no URL set the servers come from wheels."""

    model_config = SettingsConfigDict(env_prefix="EXPUNGE_", frozen=True, extra="ignore")

    home: Path = Field(Path(".expunge"), description="Folder of the embedded servers, the store and the keys.")
    database_url: SecretStr | None = Field(None, description="postgresql+psycopg://…; embedded PostgreSQL if unset.")
    broker_url: SecretStr | None = Field(None, description="redis://…; embedded Redis if unset.")
    store_url: str | None = Field(None, description="file:///… or s3://bucket/prefix; a folder under home if unset.")
    s3_endpoint: str | None = Field(None, description="Endpoint of an S3 server that is not Amazon's.")
    keys: Path | None = Field(None, description="Folder made by `expunge keys new`; home/keys if unset.")
    index_key: SecretStr | None = Field(None, description="64 hex digits: keys the HMAC of ids; home/keys/index.key if unset.")
    origin: str = Field("expunge.example/log", description="Name of the ledger in its checkpoints (C2SP origin).")
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, description="Port of the API; 0 takes a free one.", ge=0, le=65535)
    max_upload_mb: int = Field(4096, description="Largest upload, in MiB.", gt=0)
    lease_s: float = Field(30.0, description="Lease of a running job, in seconds; its heartbeat comes three times as often.", gt=0)
    max_attempts: int = Field(3, description="How often a job may be started before it has failed.", gt=0)
    visibility_timeout_s: int = Field(86_400, description="Redis hands an unacknowledged message out again after this.", gt=0)
    device: str = Field("auto", description="torch device of the worker: auto, cpu, cuda, cuda:1 …")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @cached_property
    def keys_dir(self) -> Path:
        return self.keys or self.home / "keys"

    @cached_property
    def store(self) -> str:
        return self.store_url or (self.home / "store").absolute().as_uri()
