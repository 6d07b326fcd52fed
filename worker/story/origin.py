"""Where the models come from, what was fixed before scoring, and what the audit took."""

from service.domain.report import AuditReport
from worker.story.blocks import Section, Table
from worker.story.numbers import NONE, count, three

WIDTHS = (58, 116)
KNOWN = {True: "yes", False: "no", None: "not known here"}


def lineage(report: AuditReport) -> Section:
    """Rung 0."""
    of = report.subject
    rows = (
        ("Model before, SHA-256", of.model_before_sha256),
        ("Model after, SHA-256", of.model_after_sha256),
        ("Unlearning method", of.algorithm or "not known here"),
        ("… its settings, SHA-256", of.algorithm_config_sha256 or NONE),
        ("Training recipe, SHA-256", of.recipe_sha256 or NONE),
        ("Data set, SHA-256", of.dataset_sha256 or NONE),
        ("Records to forget, salted Merkle root", of.index_commitment or NONE),
        ("Training records before, after", f"{of.n_train_before:,}, {of.n_train_after:,}"),
        ("No forgotten record is left in training", KNOWN[of.absent_from_training]),
        ("Distance of the weights", _distance(report)),
        ("Barrier on the straight line, in nats", three(of.path_barrier)),
        *((f"Retrained model {n}, SHA-256", told) for n, told in enumerate(report.references.model_sha256, start=1)),
    )
    return Section("Where the models come from", (), (Table("Lineage", ("What", "Value"), rows, WIDTHS),))


def plan(report: AuditReport) -> Section:
    """What was fixed before scoring."""
    p = report.plan
    rows = (
        ("Rungs", ", ".join(rung.name for rung in p.rungs)),
        ("Margin for the AUC", f"±{p.margin:g}"),
        ("Margin for accuracy on held-out rows", f"{p.utility_margin:g}"),
        ("Margin for accuracy on retained rows", f"{p.retain_margin:g}"),
        ("Level of the alarm", f"{p.alpha:g}"),
        ("Planned power", f"{p.power:g}"),
        ("Bootstrap draws, permutations", f"{p.bootstrap:,}, {p.permutations:,}"),
        ("Seed", str(p.seed)),
        ("SHA-256 of the plan", report.plan_sha256),
    )
    return Section("The plan", (), (
        Table("The plan, hashed before anything was scored", ("Setting", "Value"), rows, WIDTHS),
        _cost(report),
    ))


def _cost(report: AuditReport) -> Table:
    cost = report.cost
    rows = (
        ("Models retrained for it", f"{cost.n_models_trained:,}"),
        ("Records answered, all models", f"{cost.n_forward_samples:,}"),
        ("Further training steps", f"{cost.n_training_steps:,}"),
        ("Computed with", ", ".join(f"{name} {told}" for name, told in sorted(report.environment.items()))),
        ("Code, SHA-256", report.subject.code_sha256),
    )
    if report.population_z is not None:
        seen = f"{count(report.population_z.n, 'record')}, none of them held out or trained on"
        rows = (("Records for likelihood ratios", seen), *rows)
    return Table("What the audit took", ("What", "Value"), rows, WIDTHS)


def _distance(report: AuditReport) -> str:
    of = report.subject
    if of.weight_distance is None or of.weight_distance_relative is None:
        return "none: the two models differ in shape"
    return f"{of.weight_distance:.4g}, which is {100 * of.weight_distance_relative:.3g} % of the old weights' length"
