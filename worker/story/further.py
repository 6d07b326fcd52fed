"""Further evidence: relearning, the attacks that others report, bounds on ε, and the audit of the recipe."""

from service.domain.report import AuditReport, EpsilonBound, RecipeEvidence, Relearning
from worker import figures
from worker.story.blocks import Plot, Section, Table
from worker.story.numbers import count, percent, signed, three, within, within_signed

CURVES = (
    "Accuracy on the forgotten records, and the attack's AUC, while a model is trained on retained records alone; no "
    "forgotten record is trained on. A model that only hides them regains them sooner than a retrained one."
)
OTHERS = (
    "Attacks of papers, under their own names and signs, so that numbers can be compared. Each reads as its line says; "
    "what to aim at is the retrained models' number. None of them decides the verdict."
)
BOUND = (
    "ε bounds how much one record can change what a model reveals. An audit can only bound it from below: a low number "
    "is no proof of privacy."
)
RECIPE = (
    "This unlearning recipe was audited once, over many models trained and unlearned for the purpose (U-LiRA). The "
    "result is about the recipe and not about these records."
)
CHANGED = "The code has changed since; the recipe should be audited again."
METHODS = {
    "clopper_pearson_split": "threshold found on one half, Clopper–Pearson on the other",
    "one_run": "planted records, one training (Steinke et al. 2023)",
}


def relearning(report: AuditReport) -> Section:
    """Curves and what they come to."""
    parts = [part for each in report.relearning for part in _relearnt(each)]
    return Section("Do the forgotten records come back?", (), tuple(parts))


def others(report: AuditReport) -> Section:
    """Numbers that can be laid beside those of papers; none of them is in the verdict."""
    if not report.conventions:
        return Section("As others report it")
    rows = tuple(
        (each.name, *map(three, (each.original, each.value, each.reference)), each.reads, each.source)
        for each in report.conventions
    )
    head = ("Attack", "Before", "After", "Retrained", "What it reads", "Source")
    table = Table("Attacks by others' conventions", head, rows, (53, 13, 12, 18, 39, 39))
    return Section("As others report it", (OTHERS,), (table,))


def bounds(report: AuditReport) -> Section:
    """ε from planted records."""
    if report.epsilon is None:
        return Section("A lower bound on ε")
    table = Table("ε from planted records", ("Measure", "Value"), _epsilon(report.epsilon), (90, 84))
    return Section("A lower bound on ε", (BOUND,), (table,))


def recipe(report: AuditReport) -> Section:
    """U-LiRA, once per release of a recipe."""
    found = report.recipe_evidence
    if found is None:
        return Section("The audit of the recipe")
    words = (RECIPE,) if found.same_code else (RECIPE, CHANGED)
    table = Table("U-LiRA", ("Measure", "Value"), _recipe(found), (58, 116))
    return Section("The audit of the recipe", words, (table,))


def _relearnt(found: Relearning) -> tuple[Plot | Table, ...]:
    drawn = Plot("Curves of relearning", CURVES, lambda: figures.relearning(found))
    beside = f" (of {count(found.n_references, 'retrained model')})" if found.n_references else ""
    rows = (
        ("Steps, rate, seeds", f"{found.steps[-1]:,}; {found.lr:.3g}; {len(found.seeds)}"),
        ("Accuracy on forgotten records that the new model regained", signed(found.regained)),
        (f"The same, retrained{beside}", signed(found.regained_reference)),
        ("Difference (95 % over persons; for these models)", within_signed(found.excess, found.excess_ci95)),
    )
    return drawn, Table("What came back", ("Measure", "Value"), rows, (110, 64))


def _epsilon(found: EpsilonBound) -> tuple[tuple[str, ...], ...]:
    return (
        (f"ε is at least, with {percent(1 - found.alpha)} confidence", three(found.value)),
        ("The most that this test could have shown", three(found.ceiling)),
        ("Guesses, of which right", f"{found.n_guesses:,}, {found.n_correct:,}"),
        ("Planted records, or pairs of records and models", f"{found.n:,}"),
        ("δ", f"{found.delta:g}"),
        ("Method", METHODS[found.method]),
    )


def _recipe(found: RecipeEvidence) -> tuple[tuple[str, ...], ...]:
    return (
        ("AUC without unlearning", three(found.auc_original)),
        ("AUC after unlearning (95 % over models)", within(found.auc, found.auc_ci95)),
        *([("ε is at least", f"{three(found.epsilon.value)} (could have shown {three(found.epsilon.ceiling)})")]
          if found.epsilon else []),
        ("Models per record, with and without it", f"{found.n_in_unlearned}, {found.n_out}"),
        ("Code that was audited is this code", "yes" if found.same_code else "no"),
        ("SHA-256 of the recipe's report", found.report_sha256),
    )
