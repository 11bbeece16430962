"""Numbers about scores, each with an interval.

- `ranking`: AUC, class-balanced average precision, equal error rate, TPR at 1 % FPR.
- `calibration`: threshold and probability from validation scores; ECE, Brier score, reliability curve.
- `conformal`: what a score can rule out; `likelihood`: what it is worth at a stated base rate.
- `intervals`: the cluster bootstrap and Wilson's interval.

`helpers.evaluation.report` puts them together into a report.
"""

from helpers.evaluation.metrics.calibration import (
    Accuracy,
    PlattScaling,
    accuracy_at,
    brier_score,
    calibration_error,
    fit_platt,
    reliability_curve,
    threshold_at_fpr,
    threshold_of_best_accuracy,
)
from helpers.evaluation.metrics.checks import MetricError, balanced_weights
from helpers.evaluation.metrics.conformal import Conformal, Verdict, fit_conformal
from helpers.evaluation.metrics.intervals import (
    Interval,
    cluster_bootstrap,
    cluster_weights,
    difference_interval,
    rate_interval,
    wilson_interval,
)
from helpers.evaluation.metrics.likelihood import likelihood_ratio, posterior
from helpers.evaluation.metrics.ranking import (
    auc,
    auc_interval,
    average_precision,
    equal_error_rate,
    ranking_intervals,
    tpr_at_fpr,
)

__all__ = [
    "Accuracy",
    "Conformal",
    "Interval",
    "MetricError",
    "PlattScaling",
    "Verdict",
    "accuracy_at",
    "auc",
    "auc_interval",
    "average_precision",
    "balanced_weights",
    "brier_score",
    "calibration_error",
    "cluster_bootstrap",
    "cluster_weights",
    "difference_interval",
    "equal_error_rate",
    "fit_conformal",
    "fit_platt",
    "likelihood_ratio",
    "posterior",
    "ranking_intervals",
    "rate_interval",
    "reliability_curve",
    "threshold_at_fpr",
    "threshold_of_best_accuracy",
    "tpr_at_fpr",
    "wilson_interval",
]
