"""The use case: run(job_id) claims a job, does its work, and writes the result under its fence. No Celery here."""

from worker.jobs.run import Workshop, run

__all__ = ["Workshop", "run"]
