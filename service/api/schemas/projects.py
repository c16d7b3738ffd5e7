"""Projects in and out."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from service.actions.goals import goal_of
from service.actions.projects import ProjectView
from service.api.schemas.base import Name, Patch, Schema, StrategyName, Text, Time, example
from service.catalog.estimators import DEFAULT_ESTIMATORS, ESTIMATORS
from service.catalog.featurizers import FEATURIZERS, why_missing
from service.catalog.names import known_are, meant
from service.catalog.parameters import resolve
from service.catalog.stopping_rules import RECALL
from service.catalog.strategies import STRATEGIES, unknown
from service.catalog.tasks import task_of
from service.errors import FieldError, InvalidRequestError, UnsupportedFeatureError

_MOST_TEXTS = 20

ClassName = Annotated[Text, Field(min_length=1, max_length=200)]
Params = Annotated[dict[str, Any], Field(default_factory=dict, max_length=50)]


class Task(Schema):
    """What is asked of annotators."""

    type: Literal["classification", "regression"] = Field(
        description="`classification`: a label is a class, or a list of them. `regression`: a label is a number."
    )
    classes: list[ClassName] | None = Field(
        default=None,
        min_length=1,
        max_length=10_000,
        description="Of classification: the classes, each name once; at least two where an example has just one.",
    )
    multi_label: bool = Field(default=False, description="Whether an example may have any number of the classes.")

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: list[str] | None) -> list[str] | None:
        if classes is not None and len(set(classes)) != len(classes):
            raise ValueError("each class is named once")
        return classes

    def check(self) -> None:
        """Refuse classes that do not fit the type."""
        fault: tuple[str, str, str] | None = None
        if self.type == "regression":
            if self.classes is not None:
                fault = "/task/classes", "unknown_field", "A regression has no classes: labels are numbers."
            elif self.multi_label:
                fault = "/task/multi_label", "invalid_value", "A regression has one number an example."
        elif self.classes is None:
            fault = "/task/classes", "missing_field", "Name the classes."
        elif not self.multi_label and len(self.classes) == 1:
            fault = "/task/classes", "too_short", "Name at least two classes, or set `multi_label`."
        if fault is not None:
            raise InvalidRequestError(f"{fault[0]}: {fault[2]}", errors=[FieldError(*fault)])


class TabularField(Schema):
    """A field of `data`, and what its values are."""

    name: Text = Field(min_length=1, max_length=200)
    type: Literal["number", "category", "text", "date"] = Field(
        description="`category`: text, a number or a boolean, which is only the same or another. `date`: RFC 3339, "
        "with or without a time; UTC where no offset is given. A field that is absent or null is a gap."
    )


class Features(Schema):
    """What a model sees of an example."""

    type: Literal["vector", "text", "tabular", "none"] = Field(
        description="`tabular`: columns of a table, in `data`. `none`: ranked by predictions of your own model only."
    )
    dimensions: int | None = Field(default=None, ge=1, le=100_000, description="Length of each `vector`.")
    field: Text | None = Field(
        default=None, min_length=1, max_length=200, description="The field of `data` for `text`."
    )
    fields: list[TabularField] | None = Field(
        default=None, min_length=1, max_length=1000, description="Of `tabular`: what models see of `data`."
    )
    featurizer: Text | None = Field(
        default=None,
        description="Of `text` and `tabular`: one of `GET /v1/featurizers` that serves it; that of the type's name "
        "when left out.",
    )
    params: Params = Field(description="Parameters of the featurizer, see `GET /v1/featurizers`.")

    def check_supported(self) -> None:
        """Refuse what does not fit the type."""
        wanted = {"vector": "dimensions", "text": "field", "tabular": "fields"}.get(self.type)
        for name in ("dimensions", "field", "fields"):
            given = getattr(self, name) is not None
            if given != (name == wanted):
                code = "unknown_field" if given else "missing_field"
                detail = f"Features of type {self.type} have {f'`{wanted}`' if wanted else 'no fields'}."
                raise InvalidRequestError(detail, errors=[FieldError(f"/features/{name}", code, detail)])
        serving = {name: entry for name, entry in FEATURIZERS.items() if entry.serves == self.type}
        check_name(serving, self.featurizer or self.type, "/features/featurizer")
        if (reason := why_missing(serving[self.featurizer or self.type])) is not None:
            bad = FieldError("/features/featurizer", "not_installed", reason)
            raise UnsupportedFeatureError(f"/features/featurizer: {reason}", errors=[bad])
        self._check_fields()

    def _check_fields(self) -> None:
        """Refuse a name that is there twice, and more fields of text than are condensed in reasonable time."""
        seen: set[str] = set()
        texts = 0
        for place, field in enumerate(self.fields or []):
            texts += field.type == "text"
            pointer = f"/features/fields/{place}"
            if field.name in seen:
                raise _wrong(FieldError(f"{pointer}/name", "duplicate_field", "Each field is named once."))
            if texts > _MOST_TEXTS:
                raise _wrong(FieldError(f"{pointer}/type", "too_many", f"At most {_MOST_TEXTS} fields are text."))
            seen.add(field.name)


class Estimator(Schema):
    """Which estimator is trained; see `GET /v1/estimators`."""

    name: Text | None = Field(default=None, description="Left out: the default of the task.")
    params: Params


class QueryDefaults(Schema):
    """What a query uses when it does not say otherwise; see `GET /v1/strategies`."""

    strategy: StrategyName = "auto"
    params: Params


class Retraining(Schema):
    """When a training starts by itself."""

    automatic: bool = True
    first_at: int = Field(default=10, ge=1, le=1_000_000, description="Labels before the first training.")
    every: int = Field(default=20, ge=1, le=1_000_000, description="Labels between trainings.")
    quiet_seconds: int = Field(default=0, ge=0, le=86_400, description="Wait until nobody labelled for so long.")
    idle_seconds: int = Field(default=60, ge=1, le=86_400, description="Train the rest after so long without labels.")
    learn_from: Literal["people", "programs", "everything"] = Field(
        default="programs",
        description="Whose labels models learn from: `people`; those of `programs` as well (source `automated`); or "
        "`everything`, with what models have labelled themselves (`autolabels`). A person's label of an example counts "
        "alone. Metrics on test and held-out rows rest on people's labels, whatever this says.",
    )


class Annotation(Schema):
    """How people label."""

    overlap: int = Field(default=1, ge=1, le=100, description="Annotators for each example.")
    lease_seconds: int = Field(default=1800, ge=0, le=604_800, description="How long a batch is reserved.")
    gold_share: float = Field(
        default=0.0,
        ge=0.0,
        le=0.5,
        description="Share of each person's examples that are gold questions: uploaded with `split` `gold` and their "
        "right answer as `label`. Each is answered once by everybody, and nothing is learnt of it.",
    )
    truth: Literal["majority", "dawid_skene"] = Field(
        default="majority",
        description="What models learn of an example with several answers: the most frequent one, or the most probable "
        "one when each annotator's answers weigh as much as they have earned (Dawid and Skene 1979). The newer answer "
        "on a tie. Of several classes an example each goes by majority, and of numbers the median counts.",
    )

    automatic: bool = Field(
        default=False, description="Send batches to the project's programs (`annotators`) one after another."
    )


class Goal(Schema):
    """When labelling may stop; see `GET /v1/stopping-rules` and `GET .../progress`. Empty: it is not told."""

    model_config = example({"metric": "macro_f1", "at_least": 0.9}, {"find": "bug", "recall": 0.95})

    metric: Text | None = Field(default=None, description="Of the models, to be reached.")
    at_least: float | None = Field(default=None, le=1, description="The target of the metric.")
    find: Text | None = Field(default=None, description="A class whose examples are to be found.")
    recall: float | None = Field(
        default=None, ge=0.01, le=1, description=f"Which share of them. Left out: {RECALL}. Needs a `holdout_fraction`."
    )

    def check(self) -> None:
        """Refuse halves of a goal."""
        for name, other in (("metric", "at_least"), ("at_least", "metric"), ("recall", "find")):
            if getattr(self, name) is not None and getattr(self, other) is None:
                raise _wrong(FieldError(f"/goal/{other}", "missing_field", f"`{name}` goes with `{other}`."))


_PAUSED = (
    "Whether no batch, no lease and no training begins. Labels and uploads are taken; trainings that they would have "
    "started are made up for when the project goes on."
)


class ProjectIn(Schema):
    """A new project."""

    model_config = example(
        {
            "name": "tickets",
            "task": {"type": "classification", "classes": ["bug", "praise", "question"]},
            "features": {"type": "vector", "dimensions": 384},
        },
        {
            "name": "messages",
            "task": {"type": "classification", "classes": ["ham", "spam"], "multi_label": False},
            "features": {"type": "text", "field": "text"},
            "estimator": {"name": "logistic_regression", "params": {}},
            "query": {"strategy": "auto", "params": {}},
            "retraining": {
                "automatic": True,
                "first_at": 10,
                "every": 20,
                "quiet_seconds": 0,
                "idle_seconds": 60,
            },
            "annotation": {"overlap": 1, "lease_seconds": 1800, "truth": "majority"},
            "holdout_fraction": 0.1,
            "seed": 0,
        },
        {
            "name": "customers",
            "task": {"type": "classification", "classes": ["stays", "leaves"]},
            "features": {
                "type": "tabular",
                "fields": [
                    {"name": "age", "type": "number"},
                    {"name": "plan", "type": "category"},
                    {"name": "since", "type": "date"},
                    {"name": "note", "type": "text"},
                ],
            },
        },
    )

    name: Name
    task: Task
    features: Features
    estimator: Estimator | None = Field(default=None, description="Left out: the default of the task.")
    query: QueryDefaults = Field(default_factory=lambda: QueryDefaults(params={}))
    retraining: Retraining = Field(default_factory=Retraining)
    annotation: Annotation = Field(default_factory=Annotation)
    holdout_fraction: float = Field(default=0.0, ge=0.0, le=0.5, description="Share drawn to measure.")
    seed: int = Field(default=0, ge=0, lt=2**63)
    paused: bool = Field(default=False, description=_PAUSED)
    goal: Goal = Field(default_factory=Goal)

    def config(self) -> dict[str, Any]:
        """The complete configuration, with parameters checked against the catalogue."""
        return _complete(self)


class ProjectPatch(Patch):
    """Sections to change; each replaces the section as a whole. The kind of task is fixed.

    Other `features` of the same type, read from the same fields, are made by a job. The project has them when it ends.
    """

    model_config = example({"query": {"strategy": "margin", "params": {}}}, {"paused": True})

    name: Name | None = None
    task: Task | None = None
    features: Features | None = None
    estimator: Estimator | None = None
    query: QueryDefaults | None = None
    retraining: Retraining | None = None
    annotation: Annotation | None = None
    holdout_fraction: float | None = Field(default=None, ge=0.0, le=0.5)
    paused: bool | None = Field(default=None, description=_PAUSED)
    goal: Goal | None = None
    rename_classes: dict[Text, ClassName] | None = Field(
        default=None, min_length=1, max_length=10_000, description="New names by old ones; labels and models follow."
    )
    merge_classes: dict[Text, Text] | None = Field(
        default=None,
        min_length=1,
        max_length=10_000,
        description="By the class that goes, the class that takes its labels. Models of before it serve no more.",
    )

    def changes(self) -> dict[str, Any]:
        """The sections that were sent."""
        return {name: value for name, value in _complete(self).items() if name in self.model_fields_set}


def _complete(body: ProjectIn | ProjectPatch) -> dict[str, Any]:
    """The sections as plain JSON, checked against what this release offers and the catalogue."""
    if body.task is not None:
        body.task.check()
    if body.goal is not None:
        body.goal.check()
    if isinstance(body, ProjectIn) and body.estimator is None:
        body = body.model_copy(update={"estimator": Estimator(params={})})
    config = body.model_dump(mode="json", exclude_none=True)
    if body.features is not None:
        body.features.check_supported()
        featurizer = FEATURIZERS[body.features.featurizer or body.features.type]
        config["features"]["params"] = resolve(featurizer.parameters, body.features.params, pointer="/features/params")
    if body.estimator is not None:
        name = body.estimator.name or _default_estimator(body.task)
        check_name(ESTIMATORS, name, "/estimator/name")
        entry = ESTIMATORS[name]
        params = resolve(entry.parameters, body.estimator.params, pointer="/estimator/params")
        _check_committee(entry.parameters, params)
        config["estimator"] = {"name": name, "params": params}
    if body.query is not None:
        if body.query.strategy not in STRATEGIES:
            raise _wrong(FieldError("/query/strategy", "unknown_name", unknown(body.query.strategy)))
        strategy = STRATEGIES[body.query.strategy]
        config["query"]["params"] = resolve(strategy.parameters, body.query.params, pointer="/query/params")
    return config


def _wrong(fault: FieldError) -> InvalidRequestError:
    return InvalidRequestError(f"{fault.pointer}: {fault.detail}", errors=[fault])


def _default_estimator(task: Task | None) -> str:
    return DEFAULT_ESTIMATORS["classification" if task is None else task_of(task.model_dump())]


def _check_committee(parameters: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Refuse a choice of members where there are none."""
    if params.get("committee") == 0 and params["committee_of"] != parameters["properties"]["committee_of"]["default"]:
        detail = "Set `committee` as well: without it there are no members."
        bad = FieldError("/estimator/params/committee_of", "no_committee", detail)
        raise InvalidRequestError(f"/estimator/params/committee_of: {detail}", errors=[bad])


def check_name(catalogue: Any, name: str, pointer: str) -> None:
    """Refuse a name that the catalogue does not have, and tell those that it has."""
    if name not in catalogue:
        detail = known_are(sorted(catalogue)) + meant(name, list(catalogue))
        raise InvalidRequestError(f"{pointer}: {detail}", errors=[FieldError(pointer, "unknown_name", detail)])


class ExampleCounts(Schema):
    """Examples by what became of them."""

    total: int
    unlabeled: int = Field(description="Neither labelled nor skipped; leased ones are among them.")
    labeled: int
    leased: int
    skipped: int


class LabelCounts(Schema):
    """Labels by who made them."""

    total: int
    human: int
    automated: int


class Counts(Schema):
    """What a project holds."""

    examples: ExampleCounts
    labels: LabelCounts
    model_version: int | None = Field(description="The serving model; null before the first.")
    labels_since_model: int = Field(description="Changes of labels that no finished training has seen.")


class ProjectOut(Schema):
    """A project."""

    id: str
    name: str
    task: dict[str, Any]
    features: dict[str, Any]
    featurization_job_id: str | None = Field(
        description="The job that makes other features, which the project has when it has ended."
    )
    estimator: dict[str, Any]
    query: dict[str, Any]
    retraining: dict[str, Any]
    annotation: dict[str, Any]
    holdout_fraction: float
    seed: int
    paused: bool
    goal: dict[str, Any]
    counts: Counts
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, view: ProjectView) -> "ProjectOut":
        """From the action's view."""
        derived: dict[str, Any] = {
            "counts": counts_of(view),
            "goal": goal_of(view.project),
            "featurization_job_id": view.featurization,
        }
        fields = {name: getattr(view.project, name) for name in cls.model_fields if name not in derived}
        return cls(**fields, **derived)


def counts_of(view: ProjectView) -> Counts:
    """The counters of a project."""
    pool = view.pool
    human, automated = pool.labels_human, pool.labels_automated
    return Counts(
        examples=ExampleCounts(
            total=pool.examples,
            unlabeled=pool.examples - pool.examples_labeled - pool.examples_skipped,
            labeled=pool.examples_labeled,
            leased=view.leased,
            skipped=pool.examples_skipped,
        ),
        labels=LabelCounts(total=human + automated, human=human, automated=automated),
        model_version=pool.model_version or None,
        labels_since_model=pool.label_generation - pool.trained_generation,
    )
