"""What retrained models add: the relative test, distances, and where a forgotten class goes."""

from service.domain.report import AuditReport, ClassRemoval, Distances, RelativeTest
from worker.story.blocks import Section, Table
from worker.story.numbers import NONE, chance, percent, signed, three, within_signed

MEASURES = {
    "tug_of_war": ("Tug of war", "1: accuracies are the same"),
    "tug_of_war_mia": ("Tug of war, by attack", "1: attack and accuracies are the same"),
    "average_gap": ("Average gap, points", "0: accuracies and attack are the same"),
    "r_ua": ("Unlearning gap (rUA), points", "0; above: forgot too little, below: too much"),
    "fidelity": ("Same predicted class, %", "as high as between retrained models"),
    "ks_forget": ("KS distance of confidence", "as low as between retrained models"),
}
ROUTING = (
    "A retrained model sends records of a class that it never saw to their nearest neighbours. A model that only "
    "suppresses the class sends them elsewhere (MIA-NN; our reconstruction of arXiv:2506.20893)."
)
ROUTES = 8      # classes that a table shows


def beside(report: AuditReport) -> Section:
    """The relative test and the distances."""
    parts: list[Table] = []
    if report.relative_test:
        parts.append(_relative(report.relative_test))
    if report.distances:
        parts.append(_distances(report.distances))
    return Section("Beside retrained models", (), tuple(parts))


def routing(report: AuditReport) -> Section:
    """One pair of tables for each forgotten class."""
    parts = [table for each in report.class_removal for table in (_removal(each), _routes(each))]
    return Section("Where a forgotten class goes", (ROUTING,) if parts else (), tuple(parts))


def _relative(test: RelativeTest) -> Table:
    others = ", ".join(map(signed, test.statistic_references)) or NONE
    rows = (
        ("Distance to the retrained models", three(test.d_to_retrained), "of the new model; mean of |Δφ|"),
        ("Distance of a retrained model to the others", three(test.d_between_retrained), "what to aim at"),
        ("Distance to the old model", three(test.d_to_original), "of the new model"),
        ("Difference (95 %)", within_signed(test.statistic, test.ci95), "above 0: nearer to the retrained models"),
        ("p", chance(test.p_value), "if it were not nearer to them than to the old model"),
        ("The same for each retrained model", others, f"the yardstick; all hold for these {test.n_models} models"),
    )
    return Table("Nearer to retrained models than to the old one? (φ: logit-scaled confidence)",
                 ("Measure", "Value", "What it means"), rows, (52, 46, 76))


def _distances(found: Distances) -> Table:
    between = found.between_references
    rows = tuple(
        (name, three(getattr(found, key)), three(between and getattr(between, key)), ideal)
        for key, (name, ideal) in MEASURES.items()
    )
    return Table("Distance to retrained models, in the units of the papers",
                 ("Measure", "New model", "Between retrained", "Ideal"), rows, (50, 26, 32, 66))


def _removal(found: ClassRemoval) -> Table:
    others = ", ".join(map(three, found.accuracy_references)) or NONE
    rows = (
        ("Accuracy of the test", three(found.accuracy), others),
        ("Distance from the retrained models' mean", three(found.gap), three(found.gap_references)),
        ("Total variation of the routes", three(found.total_variation), three(found.total_variation_references)),
    )
    caption = (
        f"Class {found.label}, beside its neighbour {found.neighbour} (reading: {found.reading}; "
        f"feature: {found.feature})"
    )
    return Table(caption, ("Measure", "New model", "Retrained models"), rows, (70, 34, 70))


def _routes(found: ClassRemoval) -> Table:
    share = {name: max(found.routing.get(name, 0.0), found.routing_reference.get(name, 0.0))
             for name in {*found.routing, *found.routing_reference}}
    most = sorted(share, key=lambda name: (-share[name], name))
    rows = tuple(
        (f"Class {name}", percent(found.routing.get(name, 0.0)), percent(found.routing_reference.get(name, 0.0)))
        for name in most[:ROUTES]
    )
    more = ", largest shares" if len(most) > ROUTES else ""
    return Table(f"Where records of class {found.label} are sent{more}",
                 ("Predicted class", "New model", "Retrained models"), rows, (70, 34, 70))
