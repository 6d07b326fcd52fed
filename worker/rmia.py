"""Low-Cost High-Power Membership Inference Attacks. Zarifzadeh, Liu, Shokri. ICML 2024. arXiv:2312.03262."""


from service.domain.recipes import Reference
from worker.case import Case
from worker.signals import Array, Labels


def relative(case: Case, rung: Reference, pooled: list[Array], y: Labels) -> Array:
    """(models, 2, N): calibrated confidence and RMIA of every model; a reference is compared with the others."""
    raise NotImplementedError
