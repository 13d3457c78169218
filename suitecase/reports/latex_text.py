"""Any text as LaTeX that prints it, whatever it has and whichever engine reads it."""

from __future__ import annotations

import re
from typing import Final

from suitecase.tables.formats import LATEX

__all__ = ["UNICODE_MACRO", "latex_text"]

UNICODE_MACRO: Final = r"""\newcommand{\unicodecharacter}[1]{% prints a character if the font has it, else its number
  \ifdefined\directlua \iffontchar\font"#1 \symbol{"#1}\else {\footnotesize\ttfamily U+#1}\fi
  \else {\footnotesize\ttfamily U+#1}\fi}"""
"""pdfTeX stops at a character that nobody told it about, and LuaTeX leaves out one that the font lacks."""

# fmt: off
GREEK: Final = (
    "alpha", "beta", "gamma", "delta", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "pi", "rho", "sigma", "tau", "upsilon", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda",
    "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega",
)
# fmt: on

SPECIAL: Final[dict[int, str]] = {
    **{code: str(text) for code, text in LATEX.items()},
    **str.maketrans(
        {
            "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", '"': r"\textquotedbl{}", "|": r"\textbar{}",
            "/": r"\slash{}",  # a line may end there
            "–": r"\textendash{}", "—": r"\textemdash{}", "‘": r"\textquoteleft{}", "’": r"\textquoteright{}",
            "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}", "…": r"\dots{}", "\u00a0": "~",
            "°": r"\textdegree{}",
            "−": r"\ensuremath{-}", "×": r"\ensuremath{\times}", "±": r"\ensuremath{\pm}", "·": r"\ensuremath{\cdot}",
            "≤": r"\ensuremath{\le}", "≥": r"\ensuremath{\ge}", "≠": r"\ensuremath{\neq}", "≈": r"\ensuremath{\approx}",
            "∞": r"\ensuremath{\infty}", "→": r"\ensuremath{\rightarrow}", "⇔": r"\ensuremath{\Leftrightarrow}",
            "√": r"\ensuremath{\surd}", "²": r"\textsuperscript{2}", "³": r"\textsuperscript{3}",
            "µ": r"\ensuremath{\mu}", "₁": r"\textsubscript{1}", "₂": r"\textsubscript{2}", "₀": r"\textsubscript{0}",
            **{
                letter: rf"\ensuremath{{\{name}}}"
                for letter, name in zip(
                    "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ",
                    GREEK,
                    strict=True,
                )
            },
        }
    ),
}  # fmt: skip

LETTERS: Final = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿŒœŠšŽžŁłĀāČčĆćĘęŃńŚśŹźŻżŘřŮůĐđ")
"""Letters beyond ASCII that the encoding T1 has."""


LIGATURE: Final = re.compile(r"([-,])(?=\1)")
"""Two hyphens would become a dash, two commas a quote."""


def latex_text(text: str) -> str:
    """A text whose every character is printed and none obeyed; what fonts lack by `UNICODE_MACRO`."""
    made = "".join(map(latex_character, text))
    return LIGATURE.sub(r"\1{}", made)


def latex_character(character: str) -> str:
    special = SPECIAL.get(ord(character))
    if special is not None:
        return special
    if character in LETTERS or (character.isascii() and character.isprintable()):
        return character
    return " " if character.isspace() else rf"\unicodecharacter{{{ord(character):04X}}}"
