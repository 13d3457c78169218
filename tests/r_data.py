"""Data sets that come with R or with its help pages, for tests that hold R's values."""

from __future__ import annotations

import numpy as np

__all__ = [
    "INSECT_SPRAYS",
    "MPG",
    "PLANT_GROWTH",
    "ROUNDING_TIMES",
    "SLEEP_1",
    "SLEEP_2",
    "TOOTH_GROWTH",
    "WEIGHT",
    "numbers",
]


def numbers(text: str) -> list[float]:
    return [float(each) for each in text.split()]


SLEEP_1 = numbers("0.7 -1.6 -0.2 -1.2 -0.1 3.4 3.7 0.8 0.0 2.0")
SLEEP_2 = numbers("1.9 0.8 1.1 0.1 -0.1 4.4 5.5 1.6 4.6 3.4")

PLANT_GROWTH = {
    "ctrl": numbers("4.17 5.58 5.18 6.11 4.50 4.61 5.17 4.53 5.33 5.14"),
    "trt1": numbers("4.81 4.17 4.41 3.59 5.87 3.83 6.03 4.89 4.32 4.69"),
    "trt2": numbers("6.31 5.12 5.54 5.50 5.37 5.29 4.92 6.15 5.80 5.26"),
}

INSECT_SPRAYS = {
    "A": numbers("10 7 20 14 14 12 10 23 17 20 14 13"),
    "B": numbers("11 17 21 11 16 14 17 17 19 21 7 13"),
    "C": numbers("0 1 7 2 3 1 2 1 3 0 1 4"),
    "D": numbers("3 5 12 6 4 3 5 5 5 5 2 4"),
    "E": numbers("3 5 3 5 3 6 1 1 3 2 6 4"),
    "F": numbers("11 9 15 22 15 16 13 10 26 26 24 13"),
}

# Length by supplement and dose.
TOOTH_GROWTH = {
    ("VC", 0.5): numbers("4.2 11.5 7.3 5.8 6.4 10 11.2 11.2 5.2 7"),
    ("VC", 1.0): numbers("16.5 16.5 15.2 17.3 22.5 17.3 13.6 14.5 18.8 15.5"),
    ("VC", 2.0): numbers("23.6 18.5 33.9 25.5 26.4 32.5 26.7 21.5 23.3 29.5"),
    ("OJ", 0.5): numbers("15.2 21.5 17.6 9.7 14.5 10 8.2 9.4 16.5 9.7"),
    ("OJ", 1.0): numbers("19.7 23.3 23.6 26.4 20 25.2 25.8 21.2 14.5 27.3"),
    ("OJ", 2.0): numbers("25.5 26.4 22.4 24.5 24.8 30.9 26.4 27.3 29.4 23"),
}

# mtcars
MPG = numbers(
    "21.0 21.0 22.8 21.4 18.7 18.1 14.3 24.4 22.8 19.2 17.8 16.4 17.3 15.2 10.4 10.4 14.7 32.4 30.4 33.9 21.5 15.5 "
    "15.2 13.3 19.2 27.3 26.0 30.4 15.8 19.7 15.0 21.4"
)
WEIGHT = numbers(
    "2.62 2.875 2.32 3.215 3.44 3.46 3.57 3.19 3.15 3.44 3.44 4.07 3.73 3.78 5.25 5.424 5.345 2.2 1.615 1.835 2.465 "
    "3.52 3.435 3.84 3.845 1.935 2.14 1.513 3.17 2.77 3.57 2.78"
)

# ?friedman.test, Hollander & Wolfe: 22 players, three ways to round first base.
ROUNDING_TIMES = np.array(
    numbers(
        "5.40 5.50 5.55 5.85 5.70 5.75 5.20 5.60 5.50 5.55 5.50 5.40 5.90 5.85 5.70 5.45 5.55 5.60 5.40 5.40 5.35 5.45 "
        "5.50 5.35 5.25 5.15 5.00 5.85 5.80 5.70 5.25 5.20 5.10 5.65 5.55 5.45 5.60 5.35 5.45 5.05 5.00 4.95 5.50 5.50 "
        "5.40 5.45 5.55 5.50 5.55 5.55 5.35 5.45 5.50 5.55 5.50 5.45 5.25 5.65 5.60 5.40 5.70 5.65 5.55 6.30 6.30 6.25"
    )
).reshape(22, 3)
