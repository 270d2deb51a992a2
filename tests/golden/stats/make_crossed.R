# Adds what R finds to crossed.json, which make_crossed.py wrote: lme4 (REML), lmerTest (Satterthwaite), pbkrtest
# (Kenward-Roger), limma (moderated variances), and power by the formula of a t test from lme4's components.
#     Rscript tests/golden/stats/make_crossed.R
suppressMessages({library(lmerTest); library(jsonlite)})
power <- function(variances, effect, n) {  # n: rows, columns; Satterthwaite's degrees of freedom of balanced cells
  noise <- variances[3] / prod(n)
  parts <- c(variances[1:2] / n + noise, noise)
  se <- sqrt(parts[1] + parts[2] - parts[3])
  df <- se^4 / sum(parts^2 / c(n - 1, prod(n - 1)))
  pt(effect / se - qt(0.975, df), df)
}
path <- file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE))), "crossed.json")
golden <- fromJSON(path, simplifyVector = FALSE)
golden$lme4 <- as.character(packageVersion("lme4"))
for (i in seq_along(golden$cases)) {
  case <- golden$cases[[i]]
  frame <- data.frame(y = unlist(case$values), rows = factor(unlist(case$rows)), columns = factor(unlist(case$columns)))
  fit <- lmer(y ~ 1 + (1 | rows) + (1 | columns), frame, REML = TRUE)
  variances <- as.data.frame(VarCorr(fit))
  golden$cases[[i]]$lme4 <- list(
    se = sqrt(vcov(fit)[1, 1]),
    rows_variance = variances$vcov[variances$grp == "rows"],
    cells = variances$vcov[variances$grp == "Residual"],
    df = coef(summary(fit))[1, "df"],
    kenward_roger_df = coef(summary(fit, ddf = "Kenward-Roger"))[1, "df"],
    power = sapply(c(3, 6, 12), function(n) {
      power(variances$vcov[match(c("rows", "columns", "Residual"), variances$grp)], 1, c(n, 40))
    })
  )
}
golden$limma <- lapply(list(c(1, 2, 4, 1, 3), c(0.1, 0.1, 9, 0.3, 2, 5), c(1, 1.1, 0.9)), function(variances) {
  found <- limma::squeezeVar(variances, df = 2)
  list(variances = variances, posterior = found$var.post, prior = min(found$df.prior, 1e6))
})
writeLines(toJSON(golden, auto_unbox = TRUE, digits = 10), path)
