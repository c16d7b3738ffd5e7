"""Strategies that rank by what a label would change."""

from service.catalog.entries import StrategyEntry, schema_of
from service.catalog.families.limits import MAX_CANDIDATES

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name="expected_gradient_length",
        summary="The examples whose label would move the weights of a linear softmax model most.",
        paper="Settles, Craven and Ray 2008, Multiple-Instance Active Learning, NIPS 20",
        kind="scorer",
        parameters=schema_of(),
        needs=("predictions", "features"),
        cost="O(n (C + d)): one pass over the pool's probabilities and features.",
    ),
    StrategyEntry(
        name="expected_error_reduction",
        summary="The examples after whose label a model is expected to err least on the rest of the pool.",
        paper="Roy and McCallum 2001, Toward Optimal Active Learning through Sampling Estimation of Error Reduction, "
        "ICML",
        kind="selector",
        parameters=schema_of(
            max_candidates=MAX_CANDIDATES,
            shortlist={
                "type": "integer",
                "minimum": 10,
                "maximum": 200_000,
                "default": 10_000,
                "description": "Of the candidates, this many of smallest margin are judged by their expected error.",
            },
            evaluation_size={
                "type": "integer",
                "minimum": 10,
                "maximum": 10_000,
                "default": 250,
                "description": "Candidates, drawn at random, on which the error is expected.",
            },
            loss={
                "type": "string",
                "enum": ["log_loss", "zero_one"],
                "default": "log_loss",
                "description": "The error: the entropy of the prediction, or the chance that it is wrong.",
            },
        ),
        needs=("predictions", "features", "labels"),
        cost="O(s min(C, 10) C d (e + l)) for s = shortlist, e = evaluation_size, l labels, by Newton steps. "
        "Fewer are judged where classes or columns are many.",
    ),
)
