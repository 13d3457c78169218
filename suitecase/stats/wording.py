"""Numbers in words: one way to write them, in sentences, tables and reports."""

from __future__ import annotations

import math

__all__ = ["interval_text", "level_text", "number_text", "p_text"]


def number_text(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, with a real minus sign: `0.0123`, `−1.86`, `12,300`."""
    if math.isnan(value):
        return "not known"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 10**15:
        text = f"{int(value):,}"
    elif 1e-4 <= abs(value) < 10**15:
        decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
        text = f"{value:,.{decimals}f}"
    else:
        text = f"{value:.{digits - 1}e}"
    return text.replace("-", "−")


def p_text(p: float) -> str:
    """A p-value as APA style writes it: `p = .079`, `p < .001`."""
    if math.isnan(p):
        return "p not known"
    if p < 0.001:
        return "p < .001"
    text = f"{p:.3f}"
    return f"p = {text}" if text.startswith("1") else f"p = {text[1:]}"


def level_text(level: float) -> str:
    """A confidence level: `95 %`, `99.9 %`."""
    return f"{100 * level:.4g} %"


def interval_text(low: float, high: float, level: float) -> str:
    """An interval as APA style writes it: `95 % CI [0.0469, 0.0931]`."""
    return f"{level_text(level)} CI [{number_text(low)}, {number_text(high)}]"
