"""U-LiRA: can a row that was trained on and unlearned be told from one that was never seen?

Inexact Unlearning Needs More Careful Evaluations to Avoid a False Sense of Privacy. Hayes, Shumailov, Triantafillou,
Khalifa, Papernot. SaTML 2025. arXiv:2403.01218.

    q_u = distribution of φ over shadows trained with the row and then made to forget it
    q_o = distribution of φ over shadows that never had it

`work` trains shadows and has them forget by the production code path; `conclude` puts any number of such parts
together. A part depends on the plan and on its shadows' numbers alone.

Differs from the paper: every shadow forgets its whole half of the pool, which is thus both the audited set and what an
unlearned set looks like; shadows come in pairs with complementary halves (see worker.lira).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from service.domain.recipe_audits import RecipePlan
from service.domain.recipes import Method, Retrain, Spec
from service.errors import BadInput
from worker.concluding import conclude
from worker.data import Rows, Split
from worker.dealing import Dealt, deal
from worker.inference import accuracy
from worker.optimise import OnStep, ignore
from worker.shadows import Shadow, shadows, stackable
from worker.sides import answer
from worker.signals import confidence
from worker.unlearning import unlearn

__all__ = ["Part", "conclude", "work", "works"]
Part = dict[str, Tensor]    # tensors of S shadows: see `work`


def work(
    spec: Spec, rows: Rows, validation: Rows, holdout: Rows, plan: RecipePlan, numbers: range, *,
    device: torch.device | str = "cpu", on_step: OnStep = ignore,
) -> Part:
    """Train these shadows, have them forget, and ask them.

    Returns:
        shadow int64 (S,); included bool (S, n), of the pool's rows; units int64 (n,), the person of each;
        phi_before and phi_after float32 (S, n); accuracy_before and accuracy_after float32 (S,), on the holdout.
    Args:
        numbers: of the shadows, from 0; chunks of `plan.chunk` that begin at its multiples give the same bits alone.
        on_step: is told the shadows trained and unlearned, and twice their number; what it raises ends the work.
    Raises:
        BadInput: the rows are too few or no classes, or the method cannot do this.
        Diverged: a loss was not finite.
    """
    return works(spec, rows, validation, holdout, plan, numbers, [plan.method], device=device, on_step=on_step)[0]


def works(
    spec: Spec, rows: Rows, validation: Rows, holdout: Rows, plan: RecipePlan, numbers: range,
    methods: Sequence[Method], *, device: torch.device | str = "cpu", on_step: OnStep = ignore,
) -> list[Part]:
    """The same for several methods on the same shadows; the plan's own is not looked at."""
    _workable(spec, plan, numbers)
    dealt, total = deal(rows, plan), (1 + len(methods)) * len(numbers)
    parts: list[list[Part]] = [[] for _ in methods]
    done = 0
    for chunk in chunks(numbers, plan.chunk):
        lab = Lab(spec, rows, validation, holdout, dealt, device)
        trained = lab.trained(chunk, _further(on_step, done, total))
        done += len(chunk)
        before = lab.look(trained)
        for method, made in zip(methods, parts, strict=True):
            after = lab.look(lab.forgot(trained, chunk, method, _further(on_step, done, total)))
            done += len(chunk)
            made.append(_part(dealt, chunk, before, after))
    return [{name: _joined(name, made) for name in made[0]} for made in parts]


def chunks(numbers: range, size: int) -> list[range]:
    """Parts of the range that end where a chunk of the plan does."""
    ends = sorted({numbers.stop, *range(numbers.start // size * size + size, numbers.stop, size)})
    return [range(a, b) for a, b in zip([numbers.start, *ends], ends, strict=False)]


class Lab:
    """The rows, and what is done to the shadows of a chunk."""

    def __init__(
        self, spec: Spec, rows: Rows, validation: Rows, holdout: Rows, dealt: Dealt, device: torch.device | str
    ) -> None:
        self.spec, self.rows, self.dealt, self.device = spec, rows, dealt, device
        self.pool, self.holdout = rows.take(dealt.pool), holdout.to(device)
        self.retain, self.validation = rows.take(dealt.rest), validation

    def trained(self, numbers: range, on_step: OnStep) -> list[nn.Module]:
        """On the rest and the shadow's half of the pool."""
        each = [Shadow(self._train_rows(i), self.dealt.seed(i)) for i in numbers]
        return shadows(self.spec, self.rows, each, device=self.device, on_step=on_step)

    def forgot(
        self, trained: Sequence[nn.Module], numbers: range, method: Method, on_step: OnStep
    ) -> Iterator[nn.Module]:
        """One after another, by the production code path; retraining is training, so it is done as that is."""
        if isinstance(method, Retrain) and method.augmentation is None and stackable(self.spec, self.rows):
            again = [Shadow(self.dealt.rest, self.dealt.seed(i)) for i in numbers]
            yield from shadows(self.spec, self.rows, again, device=self.device, on_step=on_step)
            return
        for k, (i, model) in enumerate(zip(numbers, trained, strict=True)):
            split = Split(self.retain, self.rows.take(self.dealt.half(i)), self.validation)
            seed = self.dealt.seed(i)
            yield unlearn(
                model, split, method, rng=torch.Generator().manual_seed(seed), spec=self.spec.seeded(seed),
                on_step=lambda _, __, k=k: on_step(k, len(numbers)),
            ).model
            on_step(k + 1, len(numbers))

    def look(self, models: Sequence[nn.Module] | Iterator[nn.Module]) -> tuple[Tensor, Tensor]:
        """φ (S, n) of the pool's rows, and the accuracy (S,) on the holdout."""
        y = self.pool.y.cpu().numpy()
        seen = [(confidence(answer(model, self.pool), y), accuracy(model, self.holdout)) for model in models]
        phi = torch.as_tensor(np.array([phi for phi, _ in seen]), dtype=torch.float32)
        return phi, torch.tensor([share for _, share in seen])

    def _train_rows(self, shadow: int) -> Tensor:
        return torch.cat([self.dealt.rest, self.dealt.half(shadow)]).sort().values


def _part(dealt: Dealt, numbers: range, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Part:
    return {
        "shadow": torch.tensor(list(numbers)),
        "included": torch.as_tensor(np.array([dealt.included(i) for i in numbers])),
        "units": torch.as_tensor(dealt.units),
        "phi_before": before[0],
        "phi_after": after[0],
        "accuracy_before": before[1],
        "accuracy_after": after[1],
    }


def _joined(name: str, parts: Sequence[Part]) -> Tensor:
    return parts[0][name] if name == "units" else torch.cat([part[name] for part in parts])


def _further(on_step: OnStep, already: int, total: int) -> OnStep:
    """Counts on from what is done."""
    return lambda done, _: on_step(already + done, total)


def _workable(spec: Spec, plan: RecipePlan, numbers: range) -> None:
    if spec.task != "classification":
        raise BadInput(f"U-LiRA reads the confidence in the true class, which a {spec.task} has not")
    if not len(numbers) or numbers.step != 1 or numbers.start < 0 or numbers.stop > plan.shadows:
        raise BadInput(f"the plan has the shadows 0 … {plan.shadows - 1}, one after the other")
