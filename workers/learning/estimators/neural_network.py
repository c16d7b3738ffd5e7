"""A small neural network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.preprocessing import Form, Preprocessed


def fit_neural_network(
    prepared: Preprocessed, y: NDArray[np.int64], params: Mapping[str, Any], seed: int
) -> tuple[MLPClassifier, dict[str, Any]]:
    """Layers of rectified units, trained by Adam (Kingma and Ba 2015) on the log-loss; O(epochs n d units)."""
    epochs = params.get("max_iter", 200)
    model = MLPClassifier(
        hidden_layer_sizes=(params.get("units", 64),) * params.get("layers", 1),
        alpha=params.get("alpha", 1e-3),
        learning_rate_init=params.get("learning_rate", 0.01),
        max_iter=epochs,
        random_state=np.random.RandomState(seed % 2**32),
    )
    model.fit(prepared.X, y)
    return model, {"converged": bool(model.n_iter_ < epochs)}


# The optimiser's moments, which stay in the model: arrays and numbers.
MLP = Implementation(
    fit_neural_network, Form(text="latent"), ("sklearn.neural_network._stochastic_optimizers.AdamOptimizer",)
)
