"""The report on annotators out."""

from typing import Literal

from pydantic import Field

from service.api.schemas.base import Schema
from service.api.schemas.jobs import JobOut

WhyNot = Literal["no_answers", "one_annotator", "no_overlap", "no_variation", "numbers"]


class Accuracy(Schema):
    """A share of `n` answers with its 95 % interval (Wilson)."""

    value: float
    low: float
    high: float
    n: int


class Mistake(Schema):
    """A wrong answer that is given often."""

    truth: str | list[str] = Field(description="A class, or those of an example that may have several.")
    answer: str | list[str]
    count: int


class AnnotatorQuality(Schema):
    """How good an annotator is. Only answers to examples that others have answered as well are judged."""

    annotator: str | None = Field(description="Null: the answers that name none.")
    answers: int
    agreement: float | None = Field(description="The share of others' answers to the same examples that say the same.")
    accuracy: Accuracy | None = Field(
        description="Against the truth by Dawid and Skene 1979, in which the annotator's own answers have a part."
    )
    confusions: list[Mistake] = Field(description="The most frequent mistakes, five at most.")


class GoldQuality(Schema):
    """How good an annotator's answers to gold questions are."""

    annotator: str | None
    accuracy: Accuracy = Field(description="`n` answers, of which so many are right; skips are none.")


class AgreementReport(Schema):
    """How much annotators agree. A figure that is not defined is null, and `reasons` tells why.

    Where an example may have several classes, answers agree that name the same ones. Numbers have Krippendorff's alpha.
    """

    answers: int
    examples: int = Field(description="Those that have an answer.")
    examples_compared: int = Field(description="Those that have two or more.")
    annotators_total: int
    annotators: list[AnnotatorQuality] = Field(description="Those with most answers first, a thousand at most.")
    percent: float | None = Field(
        description="The share of pairs of answers to one example that say the same, in [0, 1]: a mean over examples."
    )
    cohen_kappa: float | None = Field(description="Mean over pairs of annotators, weighted by the examples they share.")
    fleiss_kappa: float | None
    krippendorff_alpha: float | None = Field(
        description="With the nominal metric for classes and the interval metric for numbers."
    )
    gold: list[GoldQuality] = Field(
        description="Of those who answered gold questions, whoever answered most of them first, a thousand at most. "
        "The other figures are without gold questions."
    )
    reasons: dict[str, WhyNot] = Field(description="By the name of a figure that is null.")


class AgreementJob(JobOut):
    """A job of kind `agreement`."""

    result: AgreementReport | None  # type: ignore[assignment] # narrower than any job's
