"""The kinds of task: what labels are, and what a model says of a row."""

from typing import Literal

Task = Literal["classification", "multi_label", "regression"]
"""Labels `y` and predictions P by task.

`classification`: class codes [n]; probabilities [n, classes] that add up to 1.
`multi_label`: whether each class applies [n, classes]; the probability of each by itself [n, classes].
`regression`: numbers [n]; mean and spread (one standard deviation) [n, 2].
"""
