"""The API's composition root."""

from fastapi import FastAPI

from service.api import (
    audits,
    canaries,
    catalogue,
    datasets,
    deletion_requests,
    description,
    entries,
    events,
    evidence,
    health,
    jobs,
    ledger,
    metrics,
    models,
    problem_list,
    problems,
    receipts,
    recipe_audits,
    schemas,
)
from service.api.deps import Context
from service.api.request_id import RequestId
from service.api.uploads import LimitBody
from service.db.session import connect
from service.ledger import keys
from service.settings import Settings
from service.storage import open_store

ROUTERS = (
    datasets, canaries, models, deletion_requests, events, evidence, entries, receipts, audits, recipe_audits, jobs,
    catalogue, ledger, metrics, schemas, health, problem_list,
)


def create_app(settings: Settings) -> FastAPI:
    """The whole HTTP interface; needs a migrated database and a folder of keys."""
    if settings.database_url is None:
        raise ValueError("EXPUNGE_DATABASE_URL is not set")
    keys.public_keys(settings.keys_dir)     # are read anew for each answer; a folder without them fails here
    app = FastAPI(
        title="Expunge",
        summary="Unlearning as a service: forget, attack the result, certify it.",
        version="1",
        responses=description.REFUSALS,
    )
    app.state.context = Context(
        settings=settings,
        engine=connect(settings.database_url.get_secret_value(), role="expunge_app"),
        store=open_store(settings.store, endpoint=settings.s3_endpoint),
        index_key=keys.index_key(settings.keys_dir),
    )
    problems.install(app)
    app.add_middleware(LimitBody, limit=settings.max_upload_mb << 20)
    app.add_middleware(RequestId)
    for part in ROUTERS:
        app.include_router(part.router)
    description.install(app)
    return app
