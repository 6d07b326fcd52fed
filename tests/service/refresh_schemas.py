"""Write the committed copies of the schemas of all that is signed: python -m tests.service.refresh_schemas."""

import json
from pathlib import Path

from service.domain.schemas import SCHEMAS, schema

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def documents() -> dict[str, str]:
    """File name → content."""
    return {
        f"{name}.json": json.dumps(schema(kind), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        for name, kind in SCHEMAS.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    for file, content in documents().items():
        (FOLDER / file).write_text(content, encoding="utf-8")
