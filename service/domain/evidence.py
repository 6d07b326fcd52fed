"""What a certificate says of an audit: the report's numbers in short, each with its interval and its reference."""

from service.domain import certificates as c
from service.domain.recipes import Method, ours
from service.domain.report import AuditReport, Result

AGAINST: dict[str, str] = {
    "calibrated": "confidence, less the mean of retrained models",
    "rmia": "RMIA (arXiv:2312.03262) beside retrained models",
}
SHARED = "The audit looked at {together} rows that were forgotten together; {own} of them belong to this request."
INTERVALS = "95 %: AUCs by BCa bootstrap over persons, matched by class; accuracies by Wilson's formula over persons"


def evidence(report: AuditReport, report_sha256: str) -> c.Evidence:
    """The short form; the report itself is bound by its digest."""
    return c.Evidence(
        attacks=_attacks(report),
        metrics=(
            *map(_auc, report.results), *_accuracies(report), *_rates(report), *_likeness(report), *_relearning(report),
            *_epsilon(report),
        ),
        intervals=INTERVALS,
        report_sha256=report_sha256,
        references_k=report.references.k,
        recipe_audit=_recipe_audit(report),
    )


def limits(report: AuditReport, method: Method, *, n_samples: int, planted: bool) -> tuple[str, ...]:
    """What neither method nor audit shows, for a request of `n_samples` rows.

    Args:
        planted: whether canaries are among the training rows.
    """
    recipe, together = report.recipe_evidence, report.forget_set.n
    said = {
        SHARED.format(together=together, own=n_samples): n_samples != together,
        c.PLANTED: planted,
        c.OTHER_MODELS: recipe is not None,
        c.OTHER_CODE: recipe is not None and not recipe.same_code,
    }
    known = c.limits(exact=method.name == "retrain", ours=ours(method))
    return (*known, *(sentence for sentence, holds in said.items() if holds))


def _attacks(report: AuditReport) -> tuple[c.Attack, ...]:
    """Every rung of the plan that was climbed; a rung that was skipped attacked nothing."""
    skipped = {each.rung for each in report.skipped}
    seen = None if report.power is None else abs(report.power.min_detectable_auc - 0.5)
    return tuple(
        c.Attack(
            rung=rung.name,
            signals=tuple(sorted({each.signal for each in report.results if each.rung == rung.name})),
            n_member=report.forget_set.n,
            n_nonmember=report.heldout.n_matched,
            n_models=report.references.k if rung.needs else 0,
            smallest_detectable=seen if rung.name == "population" else None,
        )
        for rung in report.plan.rungs if rung.name not in skipped
    )


def _recipe_audit(report: AuditReport) -> c.RecipeAudit | None:
    seen = report.recipe_evidence
    if seen is None:
        return None
    return c.RecipeAudit(
        report_sha256=seen.report_sha256, n_models=seen.n_in_unlearned + seen.n_out,
        auc_original=seen.auc_original, auc=seen.auc, same_code=seen.same_code,
    )


def _rates(report: AuditReport) -> list[c.Metric]:
    """True positives at few false ones, where enough persons were held out to say so."""
    return [
        c.Metric(
            name=f"tpr_at_{at.fpr:g}_{result.signal}",
            definition=f"Share of forgotten rows that are found at a false positive rate of {at.fpr:g}; 95 % interval",
            after=at.value, after_ci=at.ci95,
        )
        for result in report.results for at in result.tpr_at if at.value is not None
    ]


def _likeness(report: AuditReport) -> list[c.Metric]:
    """Does the model treat the forgotten rows as retrained models do?"""
    return [
        c.Metric(
            name=f"ks_{result.signal}",
            definition="Kolmogorov-Smirnov distance of the forgotten rows' scores to those under retrained models",
            after=result.ks_to_reference,
        )
        for result in report.results if result.ks_to_reference is not None
    ]


def _relearning(report: AuditReport) -> list[c.Metric]:
    definition = "Accuracy on forgotten rows that training on retained rows alone brings back"
    return [
        c.Metric(
            name=f"relearned_{seen.lr:g}", definition=definition, after=seen.regained, reference=seen.regained_reference
        )
        for seen in report.relearning
    ]


def _epsilon(report: AuditReport) -> list[c.Metric]:
    """Only where canaries gave one; a rung that was skipped claims nothing."""
    seen = report.epsilon
    if seen is None:
        return []
    level = f"at level {seen.alpha:g} and delta {seen.delta:g}; these canaries could show at most {seen.ceiling:.2f}"
    definition = f"Lower bound on epsilon of training and unlearning together, from {seen.n} canaries, {level}"
    return [c.Metric(name="epsilon_lower_bound", definition=definition, after=seen.value)]


def _auc(result: Result) -> c.Metric:
    reference, signal = result.auc_reference_ci95, AGAINST.get(result.signal, result.signal.replace("_", " "))
    return c.Metric(
        name=f"auc_{result.signal}",
        definition=f"Attack AUC of {signal}, forgotten against held-out rows; 95 % interval",
        before=result.auc_original,
        before_ci=result.auc_original_ci95,
        after=result.auc,
        after_ci=result.auc_ci95,
        reference=None if reference is None else result.auc_reference,
        reference_ci=reference,
    )


def _accuracies(report: AuditReport) -> list[c.Metric]:
    sets = {"retain": report.utility.retain, "forget": report.utility.forget, "holdout": report.utility.holdout}
    return [
        c.Metric(
            name=f"accuracy_{name}",
            definition=f"Share of {name} rows predicted right; 95 % interval",
            before=seen.before,
            before_ci=seen.before_ci95,
            after=seen.after,
            after_ci=seen.after_ci95,
            reference=seen.reference,
            reference_ci=seen.reference_ci95,
        )
        for name, seen in sets.items()
        if seen is not None
    ]
