"""What the pages of a report say: one content for HTML and PDF, as plain text, tables and figures."""

from service.domain.report import AuditReport
from worker.story import further, origin, population, retrained, trust
from worker.story.blocks import Plot, Section, Table
from worker.story.summary import HOW_TO_READ, IN_A_SENTENCE, QUESTION, TITLES, asked, basis, done, following, glance

__all__ = [
    "HOW_TO_READ", "IN_A_SENTENCE", "QUESTION", "TITLES", "Plot", "Section", "Table", "asked", "basis", "done",
    "following", "glance", "sections",
]


def sections(report: AuditReport) -> tuple[Section, ...]:
    """Everything behind the first page; what was not measured is left out."""
    told = (
        population.attacks(report),
        population.losses(report),
        population.strata(report),
        population.persons(report),
        retrained.beside(report),
        retrained.routing(report),
        further.relearning(report),
        further.bounds(report),
        further.recipe(report),
        trust.accuracies(report),
        trust.checks(report),
        further.others(report),
        origin.lineage(report),
        origin.plan(report),
    )
    return tuple(section for section in told if section)
