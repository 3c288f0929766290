"""Kubernetes quantities as the API server writes them back: what is compared with what is there must look like it."""

from __future__ import annotations

from fractions import Fraction

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("m", "", "k", "M", "G", "T", "P", "E")


def canonical(text: str) -> str:
    """``text`` in the canonical form of apimachinery's resource.Quantity: no fraction, the largest suffix that fits.

    >>> canonical("0.5"), canonical("1024Mi"), canonical("1.5Gi"), canonical("1000m")
    ('500m', '1Gi', '1536Mi', '1')
    """
    suffix = text.lstrip("0123456789.")
    number = Fraction(text[: len(text) - len(suffix)])
    if not number:
        return "0"
    if suffix.endswith("i"):
        power = _BINARY.index(suffix)
        while power and number.denominator != 1:
            number, power = number * 1024, power - 1
        if number.denominator == 1:
            while power < len(_BINARY) - 1 and number % 1024 == 0:
                number, power = number / 1024, power + 1
            return f"{number}{_BINARY[power]}"
        suffix = ""
    power = _DECIMAL.index(suffix)
    while power and number.denominator != 1:
        number, power = number * 1000, power - 1
    if number.denominator != 1:
        # Finer than a thousandth: Kubernetes rounds up.
        number = Fraction(-(-number.numerator // number.denominator))
    while power < len(_DECIMAL) - 1 and number % 1000 == 0:
        number, power = number / 1000, power + 1
    return f"{number}{_DECIMAL[power]}"
