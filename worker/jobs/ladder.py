"""Climb the policy's ladder: unlearn, audit, and go on while an attempt leaks or breaks the utility guard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import nn

from service.domain.recipes import Method
from service.domain.report import AuditReport, RecipeEvidence
from service.domain.requests import State
from service.errors import Diverged, JobError
from worker.auditing import audit
from worker.jobs.attempts import Attempt, Audited, Log
from worker.jobs.material import Material, Plan
from worker.jobs.pulse import Pulse
from worker.jobs.references import Reference
from worker.preflighting import preflight
from worker.unlearning import unlearn

Tell = Callable[[State, dict[str, object]], None]


@dataclass(frozen=True)
class Ladder:
    """The surroundings of all attempts of one job."""

    plan: Plan
    rows: Material
    before: nn.Module
    pulse: Pulse
    tell: Tell
    log: Log                # of attempts that are not published
    evidence: Callable[[Method], RecipeEvidence | None]     # what is known of a method's recipe

    def climb(self, references: Sequence[Reference]) -> tuple[list[Attempt], Audited]:
        """All attempts in order, and what is to be published: the last one's.

        Raises:
            JobError: the policy's ladder ends, and no attempt may be published.
        """
        attempts: list[Attempt] = []
        for number, method in enumerate(self.plan.policy.rungs(self.plan.kinds), start=1):
            self.tell(State.UNLEARNING, {"rung": number, "method": method.model_dump(mode="json")})
            attempt = self._checked(method, references)
            attempts.append(attempt)
            if attempt.audited is not None and attempt.outcome == "published":
                return attempts, attempt.audited
            self.log(number, attempt)
        raise JobError(f"None of the {len(attempts)} rungs of the policy's ladder may be published")

    def _checked(self, method: Method, references: Sequence[Reference]) -> Attempt:
        """Ascent that cannot lead to forgetting is not begun; the numbers that say so stay with the attempt."""
        if method.ascent == "none":
            return self._attempt(method, references)
        rng = torch.Generator().manual_seed(self.plan.spec.training.seed)
        found = preflight(self.before, self.rows.split, method, rng=rng, spec=self.plan.spec)
        if found.verdict == "refuse":
            return Attempt(method, "refused", 0.0, preflight=found)
        return replace(self._attempt(method, references), preflight=found)

    def _attempt(self, method: Method, references: Sequence[Reference]) -> Attempt:
        rng, start = torch.Generator().manual_seed(self.plan.spec.training.seed), perf_counter()
        try:
            done = unlearn(
                self.before, self.rows.split, method, rng=rng, spec=self.plan.spec, on_step=self.pulse.phase("unlearn")
            )
        except Diverged:
            return Attempt(method, "diverged", perf_counter() - start)
        self.tell(State.AUDITING, {"seconds": round(done.seconds, 3)})
        report = audit(
            self.before, done.model, self.rows.audit_sets(self.plan.policy.audit), self.plan.policy.audit,
            references=[each.model for each in references],
            spec=self.plan.spec,
            lineage=self.plan.lineage(method),
            recipe_evidence=self.evidence(method),
            claim="exact" if method.name == "retrain" else "approximate",
            on_step=self.pulse.phase("audit"),
        )
        return Attempt(method, _outcome(method, report), done.seconds, Audited(done.model, report))


def _outcome(method: Method, report: AuditReport) -> str:
    """Retraining is exact by its procedure: no attack and no guard can call for more."""
    if method.name == "retrain":
        return "published"
    if report.verdict.value == "LEAK_DETECTED":
        return "leak"
    return "published" if report.utility.guard == "pass" else "utility"
