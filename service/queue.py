"""Celery over Redis, as both sides see it: a message is a job id, and nothing is stored in Redis but messages."""

from celery import Celery

from service.db.tables import Outbox
from service.settings import Settings

TASK = "expunge.run"
QUEUES = ("index", "train", "unlearn", "audit", "reference", "recipe", "shadows", "canaries", "erase")


def make_app(settings: Settings) -> Celery:
    """The app that the scheduler sends with and the worker runs."""
    if settings.broker_url is None:
        raise ValueError("EXPUNGE_BROKER_URL is not set, and no embedded Redis was started")
    app = Celery("expunge", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_create_missing_queues=True,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout_s,    # longer than any job: else it is handed out again
            "socket_connect_timeout": 2,
            "socket_timeout": 30,
        },
        worker_pool_start_method="spawn",       # a forked child has no CUDA device
        worker_disable_prefetch=True,           # a reserved message would wait behind a busy GPU
        worker_max_tasks_per_child=16,          # gives device memory back now and then
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
    )
    return app


def publish(app: Celery, message: Outbox) -> None:
    """Send one message of the outbox; its id is the task's id, its only argument the job's."""
    app.send_task(TASK, args=[str(message.job_id)], queue=message.queue, task_id=str(message.id), retry=False)
