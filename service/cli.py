"""`expunge`: the service's command line."""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from service.errors import Conflict, ExpungeError
from service.processes import end_with_owner
from service.settings import Settings

app = App(name="expunge", help="Unlearning as a service: forget, attack the result, certify it.")
keys_app = App(name="keys", help="Signing keys.")
ledger_app = App(name="ledger", help="What was issued: check it, correct it, unlink it.")
benches = App(name="bench", help="Measure; --json prints one JSON object.")
for group in (keys_app, ledger_app, benches):
    app.command(group)
keys_app.command("service.commands.keys:rotate")
keys_app.command("service.commands.keys:retire")
ledger_app.command("service.commands.monitor:monitor")
ledger_app.command("service.commands.corrections:revoke")
ledger_app.command("service.commands.corrections:supersede")
ledger_app.command("service.commands.salts:forget_salt")
app.command("service.commands.receipts:verify_receipt")
benches.command("service.commands.bench:ledger")
console = Console(stderr=True)


@app.command
def up(*, port: int | None = None, home: Path | None = None) -> None:
    """Run the whole service in the foreground; Ctrl-C stops all of it.

    Args:
        port: of the API; 0 takes a free one.
        home: folder of data, store and keys.
    """
    from service.stack import stack  # alembic and the servers are needed here only

    stop = _on_signal()
    with stack(_settings(port=port, home=home)) as running:
        print(f"Expunge serves {running.url} (documentation: {running.url}/docs)", flush=True)
        while not stop.wait(1.0):
            for name in running.revive():
                console.print(f"{name} had died and was started again; see {running.home / 'log' / name}.log")
    print("Stopped.", flush=True)


@app.command
def demo(*, json: bool = False, keep: bool = False) -> None:
    """Forget patients of a real hospital data set, and prove it.

    Args:
        json: print one JSON object instead of tables.
        keep: leave the service running and print its URLs.
    """
    from service.demo import run

    for number in (signal.SIGINT, signal.SIGTERM):      # everything that was started is ended
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(run(as_json=json, keep=keep))
    except KeyboardInterrupt:
        sys.exit(130)


Owned = Annotated[bool, Parameter(show=False, negative=())]


@app.command
def api(*, fd: Annotated[int | None, Parameter(show=False)] = None, owned: Owned = False) -> None:
    """Serve the HTTP interface."""
    import uvicorn  # only this process needs it

    from service import log
    from service.api.app import create_app

    settings = Settings()
    log.set_up(settings.log_level)
    if owned:
        end_with_owner()
    uvicorn.run(
        create_app(settings), fd=fd, host=settings.host, port=settings.port,
        log_level=settings.log_level.lower(), access_log=False, timeout_graceful_shutdown=5,
    )


@app.command
def scheduler(*, owned: Owned = False) -> None:
    """Relay the outbox, reap lost jobs, sequence the ledger."""
    from service import log, scheduler

    settings = Settings()
    log.set_up(settings.log_level)
    if owned:
        end_with_owner()
    scheduler.run(settings, stop=_on_signal())


@app.command
def migrate() -> None:
    """Bring the database to the newest migration."""
    from service.db.migrate import upgrade
    from service.db.session import connect

    url = Settings().database_url
    if url is None:
        raise Conflict("EXPUNGE_DATABASE_URL is not set; the embedded service migrates by itself")
    upgrade(connect(url.get_secret_value()))


@keys_app.command
def new(folder: Path | None = None) -> None:
    """Make signing keys and the index key (mode 0600), and the public file that verifiers are given.

    Args:
        folder: where; the settings' key folder unless given. Nothing is overwritten.
    """
    from service.ledger import keys

    settings = Settings()
    where = folder or settings.keys_dir
    keys.new(
        where, settings.origin, certificate_signer=settings.certificate_signer, log_signer=settings.log_signer
    )
    print(f"Keys made. Give verifiers {where / keys.PUBLIC_FILE}; keep the rest secret.")


@app.command
def verify(
    bundle: Path,
    *,
    key: Path,
    checkpoint: Path | None = None,
    consistency: Path | None = None,
    weights: Path | None = None,
) -> None:
    """Check a certificate's bundle offline, step by step; the exit code names the step that failed.

    Args:
        bundle: the zip of GET /deletion-requests/{id}/bundle.
        key: the public key file, obtained from the operator by another way.
        checkpoint: one that you saw earlier; the ledger must have grown out of it.
        consistency: the proof between the two, as GET /ledger/proofs/consistency answers.
        weights: the model's weights, to be compared with the certificate.
    """
    from service.ledger import verify as verifier

    arguments = [str(bundle), "--key", str(key)]
    for name, value in (("checkpoint", checkpoint), ("consistency", consistency), ("weights", weights)):
        arguments += [] if value is None else [f"--{name}", str(value)]
    sys.exit(verifier.main(arguments))


def _settings(*, port: int | None, home: Path | None) -> Settings:
    read = Settings()
    return read.model_copy(update={"port": read.port if port is None else port, "home": home or read.home})


def _on_signal() -> threading.Event:
    """Set by Ctrl-C and by SIGTERM."""
    stop = threading.Event()

    def obey(_number: int, _frame: object) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, obey)
    return stop


def main() -> None:
    """The console script: an error is one sentence and a hint, not a stack trace."""
    try:
        app()
    except ExpungeError as error:
        console.print(f"{error.detail}\n{error.hint}")
        sys.exit(1)


if __name__ == "__main__":
    main()
