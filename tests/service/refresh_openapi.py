"""Write the committed copy of the OpenAPI document: python -m tests.service.refresh_openapi."""

import json
import tempfile
from pathlib import Path

from pydantic import SecretStr

from service.api.app import create_app
from service.ledger import keys
from service.settings import Settings

COPY = Path(__file__).with_name("openapi.json")


def document() -> str:
    """The interface as JSON; no server is needed to describe it."""
    with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
        keys.new(Path(folder) / "keys", "test.example/log")
        nowhere = SecretStr("postgresql+psycopg://nobody@127.0.0.1:1/none")
        app = create_app(Settings(home=Path(folder), keys=Path(folder) / "keys", database_url=nowhere))
        return json.dumps(app.openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COPY.write_text(document(), encoding="utf-8")
