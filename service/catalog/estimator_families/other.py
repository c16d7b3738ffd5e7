"""Estimators of other kinds."""

from service.catalog.entries import EstimatorEntry, schema_of
from service.catalog.estimator_families.shared import CLASS_WEIGHT, CLASSES, COMMITTEE, LATENT, LATENT_ALONE, SCALING
from service.catalog.tasks import EVERY_TASK

ENTRIES: tuple[EstimatorEntry, ...] = (
    EstimatorEntry(
        name="auto",
        tasks=("classification", "regression"),
        summary="The one of several that predicts held-out labels best, by cross-validated log-loss; of numbers by "
        "squared error. Logistic regression (of numbers, a random forest) while labels are few, and unless another is "
        "better by more than chance.",
        parameters=schema_of(
            budget_seconds={
                "type": "number",
                "minimum": 0.1,
                "maximum": 600,
                "default": 5.0,
                "description": "Processor time of the comparison. Estimators that it does not suffice for are left "
                "out; the model's `estimator.chosen` tells which, and the losses of the others.",
            },
            **SCALING,
            **LATENT,
            **CLASS_WEIGHT,
            **COMMITTEE,
        ),
    ),
    EstimatorEntry(
        name="naive_bayes",
        onnx=True,
        tasks=CLASSES,
        summary="Naive Bayes: Gaussian on vectors, multinomial on the weighted terms of text. The fastest; its "
        "probabilities are too sure.",
        parameters=schema_of(
            var_smoothing={
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1e3,
                "default": 0.01,
                "description": "Of vectors: added to each variance, as a share of the largest.",
            },
            alpha={
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1e3,
                "default": 0.1,
                "description": "Of text: added to the weight of each term in each class.",
            },
            **SCALING,
            **COMMITTEE,
        ),
    ),
    EstimatorEntry(
        name="knn",
        onnx=True,
        tasks=EVERY_TASK,
        summary="Votes of the nearest labelled examples. Each prediction compares with every label. Of numbers, ten "
        "means on samples of the labels.",
        parameters=schema_of(
            n_neighbors={
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "default": 10,
                "description": "How many vote; all labels where there are fewer.",
            },
            weights={
                "type": "string",
                "enum": ["distance", "uniform"],
                "default": "distance",
                "description": "Whether near ones count more.",
            },
            metric={
                "type": "string",
                "enum": ["euclidean", "cosine"],
                "default": "euclidean",
                "description": "What near means; of texts both order alike.",
            },
            **SCALING,
            **LATENT_ALONE,
            **COMMITTEE,
        ),
    ),
    EstimatorEntry(
        name="gaussian_process",
        tasks=EVERY_TASK,
        summary="Gaussian process with a smooth kernel chosen by marginal likelihood. For few labels and small pools: "
        "it learns from a random sample of at most `max_rows` labels.",
        parameters=schema_of(
            max_rows={
                "type": "integer",
                "minimum": 20,
                "maximum": 1000,
                "default": 300,
                "description": "Of more labels a random sample is used, with every class in it. Time grows with the "
                "cube: about 0.4 s for each class at 300, 10 s at 1,000.",
            },
            **SCALING,
            **LATENT_ALONE,
            **COMMITTEE,
        ),
    ),
    EstimatorEntry(
        name="mlp",
        onnx=True,
        tasks=EVERY_TASK,
        summary="Neural network of one to three small layers. For hundreds of labels or more. Of numbers, ten of them "
        "on samples of the labels.",
        parameters=schema_of(
            units={
                "type": "integer",
                "minimum": 2,
                "maximum": 1024,
                "default": 64,
                "description": "Units of each layer.",
            },
            layers={"type": "integer", "minimum": 1, "maximum": 3, "default": 1, "description": "Layers of units."},
            alpha={
                "type": "number",
                "minimum": 0,
                "maximum": 1e3,
                "default": 1e-3,
                "description": "L2 penalty on the weights.",
            },
            learning_rate={
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1,
                "default": 0.01,
                "description": "Length of the first steps.",
            },
            max_iter={
                "type": "integer",
                "minimum": 5,
                "maximum": 2000,
                "default": 200,
                "description": "Most passes over the labels.",
            },
            **SCALING,
            **LATENT_ALONE,
            **COMMITTEE,
        ),
    ),
)
