"""Strategies for numbers as labels."""

from service.catalog.entries import StrategyEntry, schema_of
from service.catalog.families.limits import MAX_CANDIDATES

_SAMPLED = {**MAX_CANDIDATES, "maximum": 100_000, "default": 10_000}

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name="predictive_deviation",
        summary="The examples whose predicted number is least certain, by the spread of a forest's trees or the "
        "model's own deviation. Alone often worse than random: it likes outliers.",
        paper="Burbidge, Rowland and King 2007, doi 10.1007/978-3-540-77226-2_22",
        kind="scorer",
        parameters=schema_of(),
        needs=("predictions",),
        tasks=("regression",),
        cost="O(n): one column of the pool's predictions.",
    ),
    StrategyEntry(
        name="committee_deviation",
        summary="The examples about whose number the committee's members differ most, by their standard deviation.",
        paper="RayChaudhuri and Hamey 1995, Minimisation of data collection by active learning, ICNN; Burbidge, "
        "Rowland and King 2007, doi 10.1007/978-3-540-77226-2_22",
        kind="scorer",
        parameters=schema_of(),
        needs=("committee",),
        tasks=("regression",),
        cost="O(n M) with M members: one pass over what they say.",
    ),
    StrategyEntry(
        name="expected_model_change",
        summary="The examples whose label would move a linear model most: spread times length of the features.",
        paper="Cai, Zhang and Zhou 2013, doi 10.1109/ICDM.2013.104",
        kind="scorer",
        parameters=schema_of(),
        needs=("features", "predictions"),
        tasks=("regression",),
        cost="O(n d): one pass over features and predictions.",
    ),
    StrategyEntry(
        name="greedy_x",
        summary="Greedy sampling of the inputs: again and again the example farthest from all labels and picks.",
        paper="Wu, Lin and Huang 2019, arXiv 1808.04245, as GSx",
        kind="selector",
        parameters=schema_of(max_candidates=_SAMPLED),
        needs=("features", "predictions", "labels"),
        tasks=("regression",),
        cost="O(n (m + k) d) for m labels, at most 5,000 of them.",
    ),
    StrategyEntry(
        name="greedy_y",
        summary="Greedy sampling of the outputs: the example whose predicted number is farthest from all known ones.",
        paper="Wu, Lin and Huang 2019, arXiv 1808.04245, as GSy",
        kind="selector",
        parameters=schema_of(max_candidates=_SAMPLED),
        needs=("features", "predictions", "labels"),
        tasks=("regression",),
        cost="O(n (m + k) d) for m labels, at most 5,000 of them.",
    ),
    StrategyEntry(
        name="greedy_xy",
        summary="Improved greedy sampling: far from all labels and picks in both the inputs and the predicted number.",
        paper="Wu, Lin and Huang 2019, arXiv 1808.04245, as iGS",
        kind="selector",
        parameters=schema_of(max_candidates=_SAMPLED),
        needs=("features", "predictions", "labels"),
        tasks=("regression",),
        cost="O(n (m + k) d) for m labels, at most 5,000 of them.",
    ),
    StrategyEntry(
        name="lcmd",
        summary="Largest cluster maximum distance: of the crowd that is covered worst, the farthest example.",
        paper="Holzmueller, Zaverkin, Kaestner and Steinwart 2023, arXiv 2203.09410",
        kind="selector",
        parameters=schema_of(max_candidates={**_SAMPLED, "default": 50_000}),
        needs=("features",),
        tasks=("regression",),
        cost="O(n (m + k) d) for m labels, at most 5,000 of them.",
    ),
)
