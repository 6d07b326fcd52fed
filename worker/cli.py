"""`expunge-worker`: serve the queues, or work on local files. A command's module is imported when it is called."""

import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from service.errors import ExpungeError
from service.processes import end_with_owner
from service.queue import QUEUES
from service.settings import Settings
from worker import trust

app = App(name="expunge-worker", help="Train, unlearn, audit and measure on local files; or serve the queues.")
benches = App(name="bench", help="Measure; --json prints one JSON object.")
app.command(benches)
for name in ("train", "unlearn"):
    app.command(f"worker.commands:{name}_", name=name)
app.command("worker.commands_audit:audit_", name="audit")
benches.command("worker.commands:bench_unlearn", name="unlearn")
benches.command("worker.commands:bench_step", name="step")
benches.command("worker.commands_stream:bench_stream", name="stream")
benches.command("worker.commands_bench_audit:bench_audit", name="audit")
app.command("worker.commands_convert:convert_", name="convert")
app.command("worker.commands_preflight:preflight_", name="preflight")
app.command("worker.commands_ulira:ulira_", name="ulira")


@app.command
def run(
    *, queues: str = ",".join(QUEUES), owned: Annotated[bool, Parameter(show=False, negative=())] = False
) -> None:
    """Serve the queues of the service until told to stop: one process, one device.

    Args:
        queues: comma-separated.
    """
    from worker.celery import serve  # makes the app of the queues, which no other command needs

    if owned:
        end_with_owner()
    serve(queues)


def main(words: Sequence[str] | None = None) -> None:
    """The entry point; the words are those of the shell unless given."""
    trust.allow(Settings().packages)
    try:
        app(words)
    except ExpungeError as error:
        Console(stderr=True).print(f"[red]{error.title}[/]: {error.detail}\n{error.hint}")
        sys.exit(1)


if __name__ == "__main__":
    main()
