"""Straight lines between the classes."""

from service.catalog.entries import EstimatorEntry, schema_of
from service.catalog.estimator_families.shared import CLASS_WEIGHT, CLASSES, COMMITTEE, LATENT, LATENT_ALONE, SCALING

ENTRIES: tuple[EstimatorEntry, ...] = (
    EstimatorEntry(
        name="logistic_regression",
        onnx=True,
        tasks=CLASSES,
        summary="Multinomial logistic regression with L2 penalty on scaled features. Fast, calibrated, the default.",
        parameters=schema_of(
            C={
                "type": ["number", "null"],
                "exclusiveMinimum": 0,
                "maximum": 1e6,
                "default": None,
                "description": "Inverse penalty, for features scaled to a mean squared length of 1. "
                "null: chosen by cross-validation on log-loss once there are 10 labels a class; "
                "10 x sqrt(classes / 2) before.",
            },
            **SCALING,
            **LATENT,
            **CLASS_WEIGHT,
            **COMMITTEE,
        ),
    ),
    EstimatorEntry(
        name="bayesian_ridge",
        tasks=("regression",),
        summary="Bayesian linear regression of numbers: the penalty and the noise are learnt, and the spread tells "
        "where labels lack. The quickest, and hard to beat with few labels.",
        parameters=schema_of(**SCALING, **LATENT_ALONE, **COMMITTEE),
    ),
    EstimatorEntry(
        name="linear_svm",
        onnx=True,
        tasks=CLASSES,
        summary="Linear support vector machine, its scores calibrated by temperature scaling on held-out labels. "
        "For text and many columns.",
        parameters=schema_of(
            C={
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1e6,
                "default": 1.0,
                "description": "Inverse penalty, for features scaled to a mean squared length of 1.",
            },
            **SCALING,
            **LATENT,
            **CLASS_WEIGHT,
            **COMMITTEE,
        ),
    ),
    EstimatorEntry(
        name="sgd",
        onnx=True,
        tasks=CLASSES,
        summary="Linear model by averaged stochastic gradient descent, calibrated by temperature scaling. For very "
        "many labels.",
        parameters=schema_of(
            loss={
                "type": "string",
                "enum": ["log_loss", "modified_huber", "hinge"],
                "default": "log_loss",
                "description": "`hinge` is a support vector machine; `modified_huber` bears wrong labels better.",
            },
            penalty={
                "type": "string",
                "enum": ["l2", "l1", "elasticnet"],
                "default": "l2",
                "description": "`l1` leaves few columns with a weight.",
            },
            alpha={
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1,
                "default": 1e-4,
                "description": "Weight of the penalty, for features scaled to a mean squared length of 1.",
            },
            max_iter={
                "type": "integer",
                "minimum": 5,
                "maximum": 1000,
                "default": 100,
                "description": "Most passes over the labels.",
            },
            **SCALING,
            **LATENT,
            **CLASS_WEIGHT,
            **COMMITTEE,
        ),
    ),
)
