# Prints what R finds in the data of the file given: lines of a name and a value. Read by test_stats_against_r.py.
say <- function(name, value) cat(sprintf("%s %.17g\n", name, value))
test <- function(name, found, what = c("statistic", "p", "low", "high")) {
  if ("statistic" %in% what) say(paste0(name, "/statistic"), found$statistic)
  if ("df" %in% what) say(paste0(name, "/df"), tail(found$parameter, 1))
  if ("p" %in% what) say(paste0(name, "/p"), found$p.value)
  if ("low" %in% what) say(paste0(name, "/low"), found$conf.int[1])
  if ("high" %in% what) say(paste0(name, "/high"), found$conf.int[2])
}
source(commandArgs(TRUE)[1])
options(warn = -1)  # of ties: the same approximation is ours
bare <- c("statistic", "p")

test("welch", t.test(a, b), c("statistic", "df", "p", "low", "high"))
test("welch less", t.test(a, b, alternative = "less"), c("p", "high"))
test("student", t.test(a, b, var.equal = TRUE))
test("paired", t.test(a, d, paired = TRUE))
test("one", t.test(a, mu = 0.3))
test("f", var.test(a, b))
test("rank sum", wilcox.test(a, b), bare)
test("rank sum greater", wilcox.test(a, b, alternative = "greater"), "p")
test("rank sum ties", wilcox.test(round(a), round(b)), bare)
test("signed rank", wilcox.test(a, d, paired = TRUE), bare)
say("sign/p", binom.test(sum(a > d), length(a))$p.value)
test("shapiro", shapiro.test(a), bare)
test("bartlett", bartlett.test(values, groups), bare)
test("fligner", fligner.test(values, groups), bare)
for (centre in c("mean", "median")) {
  deviations <- abs(values - ave(values, groups, FUN = get(centre)))
  found <- anova(lm(deviations ~ groups))
  say(paste0("levene ", centre, "/statistic"), found[1, 4])
  say(paste0("levene ", centre, "/p"), found[1, 5])
}
found <- anova(lm(values ~ groups))
say("anova/statistic", found[1, 4])
say("anova/p", found[1, 5])
test("welch anova", oneway.test(values ~ groups), c("statistic", "df", "p"))
test("kruskal", kruskal.test(values, groups), bare)
found <- TukeyHSD(aov(values ~ groups))$groups
for (row in rownames(found)) {
  say(paste0("tukey ", row, "/p"), found[row, "p adj"])
  say(paste0("tukey ", row, "/low"), found[row, "lwr"])
}
found <- summary(aov(measured ~ factor(condition) + Error(factor(subject))))[[2]][[1]]
say("repeated/statistic", found[1, 4])
say("repeated/p", found[1, 5])
test("friedman", friedman.test(measured, condition, subject), bare)
found <- anova(lm(crossed ~ first * second))
for (i in 1:3) say(paste0("two-way ", i, "/statistic"), found[i, 4])
for (i in 1:3) say(paste0("two-way ", i, "/p"), found[i, 5])
test("pearson", cor.test(a, d), c("statistic", "p", "low", "high"))
say("spearman/estimate", cor.test(a, d, method = "spearman")$estimate)
say("kendall/estimate", cor.test(a, d, method = "kendall")$estimate)
say("kendall/p", cor.test(a, d, method = "kendall")$p.value)
say("spearman small/p", cor.test(a[1:8], d[1:8], method = "spearman")$p.value)

test("chi", chisq.test(counts, correct = FALSE), bare)
test("chi corrected", chisq.test(square, correct = TRUE), bare)
test("fisher", fisher.test(square), "p")
test("mcnemar", mcnemar.test(square, correct = FALSE), bare)
test("mcnemar corrected", mcnemar.test(square, correct = TRUE), bare)
say("mcnemar exact/p", binom.test(square[1, 2], square[1, 2] + square[2, 1])$p.value)
test("binomial", binom.test(k, n, 0.6), c("p", "low", "high"))
test("wilson", prop.test(k, n, 0.6, correct = FALSE), c("low", "high"))
found <- prop.test(c(k, j), c(n, m), correct = FALSE)$statistic
say("two rates/p", pchisq(found * (n + m - 1) / (n + m), 1, lower.tail = FALSE))
one <- prop.test(k, n, correct = FALSE)$conf.int
other <- prop.test(j, m, correct = FALSE)$conf.int
say("newcombe/low", k / n - j / m - sqrt((k / n - one[1])^2 + (j / m - other[2])^2))
for (method in c("holm", "hommel", "bonferroni", "BH", "BY")) {
  adjusted <- p.adjust(raw, method)
  for (i in seq_along(raw)) say(paste0("adjust ", tolower(method), " ", i, "/p"), adjusted[i])
}

say("power two/p", power.t.test(n = 17, delta = 0.7, strict = TRUE)$power)
say("power paired/p", power.t.test(n = 17, delta = 0.7, type = "paired", strict = TRUE)$power)
say("power anova/p", power.anova.test(groups = 4, n = 12, between.var = 1, within.var = 5)$power)
say("power rates/p", power.prop.test(n = 80, p1 = 0.75, p2 = 0.6, strict = TRUE)$power)

# Intervals by the noncentral t and F distributions.
t <- unname(t.test(a, b, var.equal = TRUE)$statistic)
df <- length(a) + length(b) - 2
scale <- sqrt(1 / length(a) + 1 / length(b))
end <- function(chance) uniroot(function(ncp) pt(t, df, ncp) - chance, c(-20, 20), tol = 1e-12)$root * scale
say("cohens d/low", end(0.975))
say("cohens d/high", end(0.025))

say("tost/p", max(
  t.test(a, d, mu = -1, paired = TRUE, alternative = "greater")$p.value,
  t.test(a, d, mu = 1, paired = TRUE, alternative = "less")$p.value
))
small <- c(a[1:6], b[1:6])
welch <- apply(combn(12, 6), 2, function(i) unname(t.test(small[i], small[-i])$statistic))
say("permutation/p", mean(abs(welch) >= abs(welch[1]) - 1e-9))
signs <- as.matrix(expand.grid(rep(list(c(-1, 1)), 10)))
flipped <- abs(signs %*% (a - d)[1:10])
say("sign flips/p", mean(flipped >= abs(sum((a - d)[1:10])) - 1e-9))
summed <- tapply(values - mean(values), cluster, sum)
g <- length(summed)
say("clustered/se_cr1", sqrt(sum(summed^2) * g / (g - 1)) / length(values))
seeds <- tapply(values, cluster, mean)
say("nested/p", t.test(seeds)$p.value)
say("dunn/p", {
  r <- rank(values)
  ties <- table(values)
  v <- length(r) * (length(r) + 1) / 12 - sum(ties^3 - ties) / (12 * (length(r) - 1))
  mean_rank <- tapply(r, groups, mean)
  size <- tapply(r, groups, length)
  2 * pnorm(-abs(mean_rank[1] - mean_rank[2]) / sqrt(v * (1 / size[1] + 1 / size[2])))
})
say("games-howell/p", {
  m <- tapply(values, groups, mean)
  e <- tapply(values, groups, var) / tapply(values, groups, length)
  freedom <- (e[1] + e[2])^2 / sum(e[1:2]^2 / (tapply(values, groups, length)[1:2] - 1))
  ptukey(abs(m[1] - m[2]) / sqrt((e[1] + e[2]) / 2), 3, freedom, lower.tail = FALSE)
})
say("quantile/q1", quantile(a, 0.25))
say("median interval/low", sort(a)[qbinom(0.025, length(a), 0.5)])
