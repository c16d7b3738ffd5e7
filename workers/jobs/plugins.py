"""Whether what plug-ins add to the catalogue is what workers find behind it."""

from service.catalog.estimators import ESTIMATORS as ESTIMATOR_ENTRIES
from service.catalog.featurizers import FEATURIZERS as FEATURIZER_ENTRIES
from service.catalog.strategies import STRATEGIES
from workers.learning.estimators.auto import AUTO
from workers.learning.estimators.registry import ESTIMATORS
from workers.learning.featurizers.registry import FEATURIZERS
from workers.learning.plugins import PluginError
from workers.learning.strategies.registry import NAMES, SELECTORS, needs_of


def check() -> None:
    """Compare names, kinds and needs.

    Raises:
        PluginError: they differ.
    """
    texts = {name for name, entry in FEATURIZER_ENTRIES.items() if entry.serves == "text"}
    pairs = (
        (set(ESTIMATOR_ENTRIES), {AUTO, *ESTIMATORS}),
        (texts, set(FEATURIZERS)),
        (set(STRATEGIES), set(NAMES)),
    )
    for entries, implementations in pairs:
        for name in sorted(entries ^ implementations):
            raise PluginError(f"{name!r} has an entry or an implementation, but not both.")
    for name, entry in STRATEGIES.items():
        if entry.kind == "scorer" and name in SELECTORS:
            raise PluginError(f"The entry of the strategy {name!r} says that it is a scorer; it is a selector.")
        if set(entry.needs) != set(needs_of(name)):
            needs = ", ".join(needs_of(name)) or "nothing"
            raise PluginError(f"The entry of the strategy {name!r} tells other needs than it has: {needs}.")
