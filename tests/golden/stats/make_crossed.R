# Adds what R's lme4 (REML) and lmerTest (Satterthwaite) find to crossed.json, which make_crossed.py wrote.
#     Rscript tests/golden/stats/make_crossed.R
suppressMessages({library(lmerTest); library(jsonlite)})
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
    df = coef(summary(fit))[1, "df"]
  )
}
writeLines(toJSON(golden, auto_unbox = TRUE, digits = 10), path)
