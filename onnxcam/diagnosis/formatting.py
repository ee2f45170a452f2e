"""Numbers of a diagnosis as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxcam.diagnosis.diagnosis import Effect

__all__ = ["effect_text", "percent"]


def percent(share: float) -> str:
    """Return a share as a percentage: ``4.2 %``, ``42 %``."""
    return f"{100 * share:.1f} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def effect_text(objective: str, effect: Effect | None, digits: int = 1) -> str:
    """Return mean ± spread: of the score in its units, of others as a percentage of the change; "" for None."""
    if effect is None:
        return ""
    if objective == "score":
        return f"{effect.mean:+.2g} ± {effect.spread:.1g}"
    return f"{100 * effect.mean:+.{digits}f} ± {100 * effect.spread:.{digits}f} %"
