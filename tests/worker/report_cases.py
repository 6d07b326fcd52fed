"""Reports to be printed: those of real small audits, and one in which every field is filled by hand."""

from functools import cache

import numpy as np

from service.domain.policy import AuditPlan
from service.domain.recipes import ClassRouting, OneRun, OracleDistance, Population, Reference, Relearning
from service.domain.report import AuditReport
from tests.worker.audit_cases import QUICK, Cases
from worker.auditing import audit

KINDS = ("equivalent", "reference", "leak", "empty", "full")


@cache
def example(kind="equivalent"):
    if kind == "full":
        return full()
    cases = Cases(m=0 if kind == "empty" else 2_000)
    references = [cases.model()] if kind == "reference" else []
    after = cases.model(1.0 if kind == "leak" else 0.0)
    return audit(cases.model(2.0), after, cases.sets, QUICK, references=references)


def full() -> AuditReport:
    """Everything that an audit can find, at once."""
    cases = Cases()
    plain = audit(
        cases.model(2.0), cases.model(), cases.sets, QUICK, references=[cases.model() for _ in range(4)]
    ).model_dump()
    results = [result | RATES for result in plain["results"]]
    relative = [results[0] | {"rung": "reference", "signal": signal} for signal in ("calibrated", "rmia")]
    plan = AuditPlan(rungs=RUNGS, references=4).model_dump()
    power = plain["power"] | {"curve": CURVE}
    verdict = plain["verdict"] | {"next_rung": NEXT}
    subject = plain["subject"] | SUBJECT
    return AuditReport.model_validate(
        plain | FOUND | {"results": (*results, *relative), "power": power, "verdict": verdict, "subject": subject}
        | {"plan": plan}
    )


RUNGS = (Population(), Relearning(), Reference(), OracleDistance(), ClassRouting(), OneRun())
GRID = tuple(np.geomspace(1e-3, 1, 61).round(6).tolist())
X = tuple(np.linspace(0.5, 0.62, 25).round(4).tolist())
CURVE = tuple(zip(X, (1 / (1 + np.exp(-90 * (np.array(X) - 0.54)))).tolist(), strict=True))
NEXT = {
    "name": "reference", "decides": "four models retrained without the records would show what is normal for them",
    "trainings": 4, "forget_units": 1_250,
}
RATES = {
    "balanced_accuracy": 0.512,
    "tpr_at": (
        {"fpr": 0.01, "estimable": True, "n_false_positives": 20, "value": 0.014, "ci95": (0.007, 0.025)},
        {"fpr": 0.001, "estimable": False, "n_false_positives": 2},
    ),
}
SUBJECT = {
    "algorithm": "nabla_tau", "algorithm_config_sha256": "a" * 64, "recipe_sha256": "b" * 64,
    "dataset_sha256": "c" * 64, "index_commitment": "d" * 64, "absent_from_training": True,
}
EPSILON = {
    "value": 0.412, "method": "one_run", "delta": 1e-5, "alpha": 0.05, "ceiling": 3.49,
    "threshold_policy": "fixed_guesses", "n": 1_000, "n_guesses": 100, "n_correct": 66,
}
DISTANCES = {
    "tug_of_war": 0.941, "tug_of_war_mia": 0.938, "average_gap": 1.72, "r_ua": -1.1, "fidelity": 83.2,
    "ks_forget": 0.071,
}
FOUND = {
    "strata": (
        *(
            {
                "name": f"class:{label}", "n_member": 180 - 20 * label, "n_nonmember": 900, "auc_original": 0.73,
                "auc": 0.5 + 0.01 * label, "auc_ci95": (0.46 + 0.01 * label, 0.54 + 0.01 * label),
                "auc_reference": 0.497, "forget_accuracy": 0.51, "heldout_accuracy": 0.52,
            }
            for label in range(4)
        ),
        {
            "name": "memorised:top_decile", "n_member": 80, "n_nonmember": 200, "auc_original": 0.91, "auc": 0.55,
            "auc_ci95": (0.49, 0.61), "auc_reference": None, "forget_accuracy": 0.61, "heldout_accuracy": 0.55,
        },
    ),
    "persons": {
        "n_tested": 356, "level": 0.05, "n_significant_holm": 1, "smallest_possible_p": 0.000071,
        "shown": tuple(
            {"rank": k, "n_rows": 1 + k % 3, "compared_with": "all" if k > 18 else "same_labels",
             "p_before": 0.0001 * k, "p_after": 0.00008 * k**2, "p_holm": min(1.0, 0.0285 * k**2)}
            for k in range(1, 21)
        ),
    },
    "roc": {
        "signal": "loss", "fpr": GRID, "tpr_before": tuple(x**0.55 for x in GRID),
        "tpr_after": tuple(x**0.97 for x in GRID), "tpr_reference": tuple(x**1.01 for x in GRID),
        "band_after": tuple((max(0.0, x**0.97 - 0.04 * x**0.4), min(1.0, x**0.97 + 0.04 * x**0.4)) for x in GRID),
    },
    "conventions": (
        {
            "name": "svc_mia (confidence)", "source": "SalUn, arXiv:2310.12508; their entropy ignores labels",
            "reads": "share of forgotten rows called unseen by a support vector machine; higher is better forgotten",
            "original": 0.12, "value": 0.46, "reference": 0.48,
        },
        {
            "name": "mia_l", "source": "∇τ, arXiv:2403.14339, section 4",
            "reads": "accuracy of a logistic regression on losses, forgotten against held-out; 0.5 is guessing",
            "original": 0.68, "value": 0.51, "reference": None,
        },
    ),
    "relearning": (
        {
            "steps": tuple(range(0, 201, 20)), "lr": 2e-4, "seeds": (11, 12, 13), "n_references": 1,
            "forget_acc_curve_unlearned": tuple(0.507 + 0.004 * k for k in range(11)),
            "forget_acc_curve_reference": tuple(0.510 + 0.002 * k for k in range(11)),
            "auc_curve_unlearned": tuple(0.5 + 0.003 * k for k in range(11)),
            "auc_curve_reference": tuple(0.494 + 0.0005 * k for k in range(11)),
            "regained": 0.04, "regained_reference": 0.02, "excess": 0.02, "excess_ci95": (-0.005, 0.045),
        },
    ),
    "relative_test": {
        "d_to_retrained": 0.71, "d_to_original": 1.52, "statistic": 0.81, "ci95": (0.74, 0.88), "p_value": 0.00002,
        "statistic_references": (0.92, 0.95, 0.9, 0.93), "n_models": 6,
        "rmia_a": 0.3, "d_between_retrained": 0.66,
    },
    "distances": DISTANCES | {"between_references": DISTANCES | {"r_ua": 0.0, "fidelity": 84.1}},
    "class_removal": (
        {
            "label": 3, "neighbour": 5, "reading": "separability", "feature": "logits", "accuracy": 0.81,
            "accuracy_references": (0.62, 0.66, 0.64, 0.61), "gap": 0.178, "gap_references": 0.021,
            "total_variation": 0.31, "total_variation_references": 0.08,
            "routing": {"5": 0.31, "2": 0.28, **{str(k): 0.0586 for k in (0, 1, 4, 6, 7, 8, 9)}},
            "routing_reference": {"5": 0.58, "2": 0.11, **{str(k): 0.0443 for k in (0, 1, 4, 6, 7, 8, 9)}},
        },
    ),
    "epsilon": EPSILON,
    "skipped": ({"rung": "one_run", "reason": "there are 40 planted records, and 100 are needed"},),
    "population_z": {"n": 2_000},
    "recipe_evidence": {
        "report_sha256": "e" * 64, "n_in_unlearned": 32, "n_out": 32, "auc": 0.561, "auc_ci95": (0.544, 0.579),
        "auc_original": 0.742, "epsilon": EPSILON | {"method": "clopper_pearson_split"}, "code_sha256": "f" * 64,
        "same_code": False,
    },
}
