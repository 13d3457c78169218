"""The works behind the methods, found by the methods' names or by “Author year”, as sentences and as BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from suitecase.reports.latex_text import latex_text

__all__ = ["WORKS", "Work", "works_named"]


@dataclass(frozen=True)
class Work:
    """A published work.

    Attributes:
        authors: As "Surname, Given names", joined by " and ", as BibTeX has them.
        where: Journal, volume, number, pages; or the publisher of a book.
        names: Lower-case parts of the names of methods that it stands behind.
    """

    authors: str
    year: int
    title: str
    where: tuple[str, ...]
    doi: str = ""
    names: tuple[str, ...] = ()

    @property
    def surnames(self) -> list[str]:
        """Of all authors."""
        return [author.partition(",")[0] for author in self.authors.split(" and ")]

    @property
    def key(self) -> str:
        """Of the BibTeX entry: `welch1947`."""
        return f"{ascii_letters(self.surnames[0])}{self.year}"

    def sentence(self) -> str:
        """As a list of references has it."""
        who = ", ".join(self.surnames[:-1]) + " & " * (len(self.surnames) > 1) + self.surnames[-1]
        if len(self.surnames) > 4:
            who = f"{self.surnames[0]} et al."
        journal, *numbers = self.where
        volume = f" {numbers[0]}" + (f"({numbers[1]})" if numbers[1] else "") + f":{numbers[2]}" if numbers else ""
        return f"{who} ({self.year}). {self.title}. {journal}{volume}." + f" https://doi.org/{self.doi}" * bool(
            self.doi
        )

    def bibtex(self) -> str:
        """As a BibTeX entry, with everything escaped for LaTeX."""
        journal, *numbers = self.where
        fields = {"author": self.authors, "year": str(self.year), "title": self.title}
        if numbers:
            kind = "article"
            fields |= {
                "journal": journal,
                "volume": numbers[0],
                "number": numbers[1],
                "pages": numbers[2].replace("–", "--"),
            }
        else:
            kind = "book" if journal else "misc"
            fields["publisher"] = journal
        lines = [f"  {name} = {{{field_text(value)}}}," for name, value in fields.items() if value]
        lines += [f"  doi = {{{self.doi}}},"] * bool(self.doi)
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])


def field_text(value: str) -> str:
    """A field of BibTeX; letters beyond ASCII are written as modern BibTeX styles and biber read them: as they are."""
    return value if re.fullmatch(r"[\w\s.,:;()/'’–\-]*", value) else latex_text(value)


def works_named(names: Iterable[str]) -> tuple[Work, ...]:
    """The works behind some methods, each once; a reference in words that isn't known becomes a work of its own."""
    found: dict[str, Work] = {}
    for name in names:
        cited = cited_key(name)
        known = [work for work in WORKS if work.key == cited or any(part in name.lower() for part in work.names)]
        if not known and cited:
            known = [unknown(name)]
        for work in known:
            found.setdefault(work.key, work)
    return tuple(found.values())


def cited_key(name: str) -> str:
    """The key of a reference such as "Welch 1947, Biometrika 34" or "Miettinen & Nurminen (1985)"."""
    cited = re.match(r"([^\W\d_][\w\-’' ]*?)(?:,|\s+&|\s+et al\.?|\s+and\b|\s*\(|\s+(?=\d{4}))[^\d]*(\d{4})\b", name)
    return f"{ascii_letters(cited[1])}{cited[2]}" if cited else ""


def unknown(text: str) -> Work:
    """A work of which only a line is known: “Hyndman & Fan 1996, The American Statistician 50”."""
    year = re.search(r"\d{4}", text)
    who = text[: year.start()].strip(" (") if year else text
    rest = text[year.end() :].strip(" ,.)") if year else ""
    surnames = re.split(r"\s*(?:,|&|\band\b)\s*", who)
    return Work(" and ".join(each for each in surnames if each), int(year[0]) if year else 0, rest or "Untitled", ("",))


def ascii_letters(text: str) -> str:
    """Lower-case ASCII letters of a name: Šidák is sidak."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c for c in plain.lower() if c.isascii() and c.isalpha())


WORKS: Final = (
    # Means
    Work(
        "Student",
        1908,
        "The probable error of a mean",
        ("Biometrika", "6", "1", "1–25"),
        "10.1093/biomet/6.1.1",
        ("student's t", "student’s t", "paired t", "one-sample t"),
    ),
    Work(
        "Welch, B. L.",
        1947,
        "The generalization of ‘Student’s’ problem when several different population variances are involved",
        ("Biometrika", "34", "1–2", "28–35"),
        "10.1093/biomet/34.1-2.28",
        ("welch's t", "welch’s t", "welch t"),
    ),
    Work(
        "Welch, B. L.",
        1951,
        "On the comparison of several mean values: an alternative approach",
        ("Biometrika", "38", "3–4", "330–336"),
        "10.1093/biomet/38.3-4.330",
        ("welch's anova", "welch anova"),
    ),
    Work(
        "Fisher, Ronald A.",
        1935,
        "The Design of Experiments",
        ("Oliver and Boyd",),
        "",
        ("permutation", "sign-flip"),
    ),
    Work(
        "Janssen, Arnold",
        1997,
        "Studentized permutation tests for non-i.i.d. hypotheses and the generalized Behrens–Fisher problem",
        ("Statistics & Probability Letters", "36", "1", "9–21"),
        "10.1016/S0167-7152(97)00043-6",
        ("studentised permutation", "studentized permutation"),
    ),
    Work(
        "Phipson, Belinda and Smyth, Gordon K.",
        2010,
        "Permutation P-values should never be zero: calculating exact P-values when permutations are randomly drawn",
        ("Statistical Applications in Genetics and Molecular Biology", "9", "1", "39"),
        "10.2202/1544-6115.1585",
        ("permutation", "sign-flip"),
    ),
    # Ranks
    Work(
        "Mann, H. B. and Whitney, D. R.",
        1947,
        "On a test of whether one of two random variables is stochastically larger than the other",
        ("The Annals of Mathematical Statistics", "18", "1", "50–60"),
        "10.1214/aoms/1177730491",
        ("mann–whitney", "mann-whitney"),
    ),
    Work(
        "Wilcoxon, Frank",
        1945,
        "Individual comparisons by ranking methods",
        ("Biometrics Bulletin", "1", "6", "80–83"),
        "10.2307/3001968",
        ("wilcoxon",),
    ),
    Work(
        "Hodges, J. L. and Lehmann, E. L.",
        1963,
        "Estimates of location based on rank tests",
        ("The Annals of Mathematical Statistics", "34", "2", "598–611"),
        "10.1214/aoms/1177704172",
        ("hodges–lehmann",),
    ),
    Work(
        "Kruskal, William H. and Wallis, W. Allen",
        1952,
        "Use of ranks in one-criterion variance analysis",
        ("Journal of the American Statistical Association", "47", "260", "583–621"),
        "10.1080/01621459.1952.10483441",
        ("kruskal",),
    ),
    Work(
        "Friedman, Milton",
        1937,
        "The use of ranks to avoid the assumption of normality implicit in the analysis of variance",
        ("Journal of the American Statistical Association", "32", "200", "675–701"),
        "10.1080/01621459.1937.10503522",
        ("friedman",),
    ),
    # Rates
    Work(
        "Wilson, Edwin B.",
        1927,
        "Probable inference, the law of succession, and statistical inference",
        ("Journal of the American Statistical Association", "22", "158", "209–212"),
        "10.1080/01621459.1927.10502953",
        ("wilson",),
    ),
    Work(
        "Clopper, C. J. and Pearson, E. S.",
        1934,
        "The use of confidence or fiducial limits illustrated in the case of the binomial",
        ("Biometrika", "26", "4", "404–413"),
        "10.1093/biomet/26.4.404",
        ("clopper",),
    ),
    Work(
        "Tango, Toshiro",
        1998,
        "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
        ("Statistics in Medicine", "17", "8", "891–908"),
        "10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B",
        ("tango",),
    ),
    Work(
        "McNemar, Quinn",
        1947,
        "Note on the sampling error of the difference between correlated proportions or percentages",
        ("Psychometrika", "12", "2", "153–157"),
        "10.1007/BF02295996",
        ("mcnemar",),
    ),
    Work(
        "Fagerland, Morten W. and Lydersen, Stian and Laake, Petter",
        2013,
        "The McNemar test for binary matched-pairs data: mid-p and asymptotic are better than exact conditional",
        ("BMC Medical Research Methodology", "13", "1", "91"),
        "10.1186/1471-2288-13-91",
        ("mid-p",),
    ),
    Work(
        "Miettinen, Olli and Nurminen, Markku",
        1985,
        "Comparative analysis of two rates",
        ("Statistics in Medicine", "4", "2", "213–226"),
        "10.1002/sim.4780040211",
        ("miettinen",),
    ),
    Work(
        "Newcombe, Robert G.",
        1998,
        "Interval estimation for the difference between independent proportions: comparison of eleven methods",
        ("Statistics in Medicine", "17", "8", "873–890"),
        "10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I",
        ("newcombe",),
    ),
    Work(
        "Cochran, W. G.",
        1950,
        "The comparison of percentages in matched samples",
        ("Biometrika", "37", "3–4", "256–266"),
        "10.1093/biomet/37.3-4.256",
        ("cochran's q", "cochran’s q", "cochran q"),
    ),
    Work(
        "Pearson, Karl",
        1900,
        "On the criterion that a given system of deviations from the probable in the case of a correlated system of "
        "variables is such that it can be reasonably supposed to have arisen from random sampling",
        ("Philosophical Magazine, Series 5", "50", "302", "157–175"),
        "10.1080/14786440009463897",
    ),
    Work(
        "Yates, Frank",
        1934,
        "Contingency tables involving small numbers and the χ² test",
        ("Supplement to the Journal of the Royal Statistical Society", "1", "2", "217–235"),
        "10.2307/2983604",
    ),
    Work(
        "Patefield, W. M.",
        1981,
        "Algorithm AS 159: An efficient method of generating random R × C tables with given row and column totals",
        ("Applied Statistics", "30", "1", "91–97"),
        "10.2307/2346669",
    ),
    Work(
        "Edwards, Allen L.",
        1948,
        "Note on the ‘correction for continuity’ in testing the significance of the difference between correlated "
        "proportions",
        ("Psychometrika", "13", "3", "185–187"),
        "10.1007/BF02289261",
    ),
    # Several comparisons
    Work(
        "Holm, Sture",
        1979,
        "A simple sequentially rejective multiple test procedure",
        ("Scandinavian Journal of Statistics", "6", "2", "65–70"),
        "",
        ("correction holm",),
    ),
    Work(
        "Benjamini, Yoav and Hochberg, Yosef",
        1995,
        "Controlling the false discovery rate: a practical and powerful approach to multiple testing",
        ("Journal of the Royal Statistical Society: Series B", "57", "1", "289–300"),
        "10.1111/j.2517-6161.1995.tb02031.x",
        ("correction bh",),
    ),
    Work(
        "Benjamini, Yoav and Yekutieli, Daniel",
        2001,
        "The control of the false discovery rate in multiple testing under dependency",
        ("The Annals of Statistics", "29", "4", "1165–1188"),
        "10.1214/aos/1013699998",
        ("correction by",),
    ),
    Work(
        "Hommel, G.",
        1988,
        "A stagewise rejective multiple test procedure based on a modified Bonferroni test",
        ("Biometrika", "75", "2", "383–386"),
        "10.1093/biomet/75.2.383",
        ("correction hommel",),
    ),
    Work(
        "Dunn, Olive Jean",
        1961,
        "Multiple comparisons among means",
        ("Journal of the American Statistical Association", "56", "293", "52–64"),
        "10.1080/01621459.1961.10482090",
        ("correction bonferroni",),
    ),
    Work(
        "Westfall, Peter H. and Young, S. Stanley",
        1993,
        "Resampling-Based Multiple Testing",
        ("Wiley",),
        "",
        ("max-t",),
    ),
    Work(
        "Dunnett, Charles W.",
        1955,
        "A multiple comparison procedure for comparing several treatments with a control",
        ("Journal of the American Statistical Association", "50", "272", "1096–1121"),
        "10.1080/01621459.1955.10501294",
        ("dunnett",),
    ),
    Work(
        "Games, Paul A. and Howell, John F.",
        1976,
        "Pairwise multiple comparison procedures with unequal N’s and/or variances",
        ("Journal of Educational Statistics", "1", "2", "113–125"),
        "10.3102/10769986001002113",
        ("games–howell",),
    ),
    Work(
        "Romano, Joseph P. and Wolf, Michael",
        2005,
        "Exact and approximate stepdown methods for multiple hypothesis testing",
        ("Journal of the American Statistical Association", "100", "469", "94–108"),
        "10.1198/016214504000000539",
    ),
    Work(
        "Tukey, John W.",
        1949,
        "Comparing individual means in the analysis of variance",
        ("Biometrics", "5", "2", "99–114"),
        "10.2307/3001913",
    ),
    Work(
        "Kramer, Clyde Young",
        1956,
        "Extension of multiple range tests to group means with unequal numbers of replications",
        ("Biometrics", "12", "3", "307–310"),
        "10.2307/3001469",
    ),
    Work(
        "Dunn, Olive Jean",
        1964,
        "Multiple comparisons using rank sums",
        ("Technometrics", "6", "3", "241–252"),
        "10.1080/00401706.1964.10490181",
    ),
    # Averages over strata
    Work(
        "Cochran, William G.", 1977, "Sampling Techniques", ("John Wiley & Sons",), "", ("stratified standard error",)
    ),
    Work(
        "Satterthwaite, Franklin E.",
        1946,
        "An approximate distribution of estimates of variance components",
        ("Biometrics Bulletin", "2", "6", "110–114"),
        "10.2307/3002019",
        ("satterthwaite",),
    ),
    # Quantiles, and what the bootstrap says of them
    Work(
        "Hyndman, Rob J. and Fan, Yanan",
        1996,
        "Sample quantiles in statistical packages",
        ("The American Statistician", "50", "4", "361–365"),
        "10.2307/2684934",
    ),
    Work(
        "Davison, Anthony C. and Hinkley, David V.",
        1997,
        "Bootstrap Methods and their Application",
        ("Cambridge University Press",),
    ),
    # Effects
    Work(
        "Cohen, Jacob",
        1988,
        "Statistical Power Analysis for the Behavioral Sciences",
        ("Lawrence Erlbaum Associates",),
        "",
        ("cohen",),
    ),
    Work(
        "Hedges, Larry V.",
        1981,
        "Distribution theory for Glass’s estimator of effect size and related estimators",
        ("Journal of Educational Statistics", "6", "2", "107–128"),
        "10.3102/10769986006002107",
        ("hedges",),
    ),
    Work(
        "Cliff, Norman",
        1993,
        "Dominance statistics: ordinal analyses to answer ordinal questions",
        ("Psychological Bulletin", "114", "3", "494–509"),
        "10.1037/0033-2909.114.3.494",
        ("cliff",),
    ),
    Work(
        "Romano, Jeanine and Kromrey, Jeffrey D. and Coraggio, Jesse and Skowronek, Jeff",
        2006,
        "Appropriate statistics for ordinal level data: should we really be using t-test and Cohen’s d for evaluating "
        "group differences on the NSSE and other surveys?",
        ("Annual Meeting of the Florida Association of Institutional Research",),
        "",
    ),
    Work(
        "Krippendorff, Klaus",
        2011,
        "Computing Krippendorff’s alpha-reliability",
        ("University of Pennsylvania, Departmental Papers (ASC)",),
        "",
    ),
    # Resampling, clusters
    Work(
        "Efron, Bradley",
        1987,
        "Better bootstrap confidence intervals",
        ("Journal of the American Statistical Association", "82", "397", "171–185"),
        "10.1080/01621459.1987.10478410",
        ("bca",),
    ),
    Work(
        "Efron, Bradley and Tibshirani, Robert J.",
        1993,
        "An Introduction to the Bootstrap",
        ("Chapman and Hall",),
        "",
        ("bootstrap",),
    ),
    Work(
        "Bell, Robert M. and McCaffrey, Daniel F.",
        2002,
        "Bias reduction in standard errors for linear regression with multi-stage samples",
        ("Survey Methodology", "28", "2", "169–181"),
        "",
        ("cr2",),
    ),
    Work(
        "Pustejovsky, James E. and Tipton, Elizabeth",
        2018,
        "Small-sample methods for cluster-robust variance estimation and hypothesis testing in fixed effects models",
        ("Journal of Business & Economic Statistics", "36", "4", "672–683"),
        "10.1080/07350015.2016.1247004",
        ("cr2",),
    ),
    Work(
        "Korn, Edward L. and Graubard, Barry I.",
        1998,
        "Confidence intervals for proportions with small expected number of positive counts estimated from survey data",
        ("Survey Methodology", "24", "2", "193–201"),
        "",
        ("korn",),
    ),
    # Equivalence, looks
    Work(
        "Schuirmann, Donald J.",
        1987,
        "A comparison of the two one-sided tests procedure and the power approach for assessing the "
        "equivalence of average bioavailability",
        ("Journal of Pharmacokinetics and Biopharmaceutics", "15", "6", "657–680"),
        "10.1007/BF01068419",
        ("two one-sided", "tost", "equivalence"),
    ),
    Work(
        "Lan, K. K. Gordon and DeMets, David L.",
        1983,
        "Discrete sequential boundaries for clinical trials",
        ("Biometrika", "70", "3", "659–663"),
        "10.1093/biomet/70.3.659",
        ("lan–demets", "alpha spending"),
    ),
    # Software
    Work(
        "Virtanen, Pauli and Gommers, Ralf and Oliphant, Travis E. and Haberland, Matt and Reddy, Tyler and others",
        2020,
        "SciPy 1.0: fundamental algorithms for scientific computing in Python",
        ("Nature Methods", "17", "3", "261–272"),
        "10.1038/s41592-019-0686-2",
        ("software scipy",),
    ),
    Work(
        "Seabold, Skipper and Perktold, Josef",
        2010,
        "statsmodels: econometric and statistical modeling with Python",
        ("Proceedings of the 9th Python in Science Conference", "", "", "92–96"),
        "10.25080/Majora-92bf1922-011",
        ("software statsmodels",),
    ),
    Work(
        "Hunter, John D.",
        2007,
        "Matplotlib: a 2D graphics environment",
        ("Computing in Science & Engineering", "9", "3", "90–95"),
        "10.1109/MCSE.2007.55",
        ("software matplotlib",),
    ),
)
