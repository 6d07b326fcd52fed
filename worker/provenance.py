"""What produced a result: digest of our code, versions of what it stands on, the device."""

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from service.domain.certificates import Environment

ROOT = Path(__file__).parent.parent
PACKAGES = ("service", "worker")
LIBRARIES = ("numpy", "safetensors", "scipy", "torch")


@cache
def code_digest() -> str:
    """SHA-256 over the sorted lines `path‖0x00‖sha256` of every Python file of the two packages, in hex."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    lines = (f"{path.relative_to(ROOT).as_posix()}\0{_sha256(path)}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def versions() -> dict[str, str]:
    """Versions of Python, of us, and of the libraries that the numbers depend on."""
    known = {name: version(name) for name in (*LIBRARIES, "expunge")}
    return {"python": platform.python_version(), "cuda": torch.version.cuda or "none", **known}


def environment(device: torch.device, image_sha256: str | None) -> Environment:
    """Where the work was done, as the certificate says it.

    Args:
        image_sha256: of the container, where its operator has said so; nothing inside one knows it.
    """
    return Environment(
        platform=platform.platform(aliased=True, terse=True),
        accelerator=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        driver=_driver() if device.type == "cuda" else None,
        threads=torch.get_num_threads(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        image_sha256=image_sha256,
    )


def _driver() -> str | None:
    """Of the kernel module, where the system tells it."""
    told = Path("/proc/driver/nvidia/version")
    return told.read_text("utf-8").splitlines()[0][:200] if told.exists() else None


def device_name(device: torch.device) -> str:
    """A GPU's own name; else the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"
