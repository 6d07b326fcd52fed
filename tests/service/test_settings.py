"""What a stack's children are set to is what its owner was set to, whatever stands in the shell."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from service.settings import Settings, inherited


def test_settings_travel_whole_and_nothing_of_the_shell_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_STORE_URL", "s3://production/store")
    monkeypatch.setenv("EXPUNGE_KEYS", "/production/keys")
    url = SecretStr("postgresql+psycopg://x")
    given = Settings(home=Path("here"), store_url=None, keys=None, database_url=url, port=0)

    told = inherited() | given.environment()

    assert "EXPUNGE_STORE_URL" not in told
    assert "EXPUNGE_KEYS" not in told
    assert told["EXPUNGE_DATABASE_URL"] == "postgresql+psycopg://x"
    for name in ("EXPUNGE_STORE_URL", "EXPUNGE_KEYS"):
        monkeypatch.delenv(name)
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == given
