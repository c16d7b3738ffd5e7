"""`gleaner bench crowd`: how often the answers of a crowd lead to the truth, on examples whose label is known."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from service.cli.bench_figures import machine
from workers.learning.agreement import krippendorff_alpha
from workers.learning.answers import Answers
from workers.learning.truth import TRUTHS

_SUFFIX = ".answers.parquet"
_SOME = (1, 2, 3, 5, 10)


class CrowdError(ValueError):
    """Files that the benchmark cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """The answers to some examples, and the class code of each [n]."""

    name: str
    answers: Answers
    y: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Accuracies by the name of the truth, as means over draws of at most `most` answers an example (None: all)."""

    most: int | None
    answers: int
    accuracy: dict[str, float]


def read(path: Path) -> Crowd:
    """The answers in NAME.answers.parquet (`id`, `worker`, `answer`), and the labels in NAME.parquet (`id`, `label`).

    Raises:
        CrowdError: what is wrong with them.
    """
    if not path.name.endswith(_SUFFIX):
        raise CrowdError(f"{path} is not called NAME{_SUFFIX}.")
    said = _columns(path, "id", "worker", "answer")
    labels = dict(
        zip(*_columns(path.with_name(path.name.removesuffix(_SUFFIX) + ".parquet"), "id", "label"), strict=True)
    )
    ids, examples = np.unique(said[0], return_inverse=True)
    unknown = [example for example in ids.tolist() if example not in labels]
    if unknown:
        raise CrowdError(f"{path} has answers to {len(unknown)} examples without a label.")
    truths = [labels[example] for example in ids.tolist()]
    _, codes = np.unique(np.array([*truths, *said[2]]), return_inverse=True)
    order = np.argsort(examples, kind="stable")
    answers = Answers(
        examples=examples[order],
        annotators=np.unique(said[1], return_inverse=True)[1][order],
        codes=codes[ids.size :][order],
        count=ids.size,
    )
    return Crowd(name=path.name.removesuffix(_SUFFIX), answers=answers, y=codes[: ids.size])


def _columns(path: Path, *names: str) -> list[list[str]]:
    try:
        table = pq.read_table(path, columns=list(names))
    except (OSError, pa.ArrowException) as error:
        raise CrowdError(f"{path} cannot be read as Parquet with the columns {', '.join(names)}: {error}") from error
    columns = [[str(value) for value in table[name].to_pylist()] for name in names]
    if table.num_rows == 0:
        raise CrowdError(f"{path} has no rows.")
    return columns


def measure(crowd: Crowd, *, draws: int) -> list[Found]:
    """The accuracies for growing numbers of answers, each drawn anew; their order decides ties, so it is drawn too."""
    largest = int(crowd.answers.given.max())
    return [_measured(crowd, most, draws) for most in (*(most for most in _SOME if most < largest), None)]


def _measured(crowd: Crowd, most: int | None, draws: int) -> Found:
    drawn = [_draw(crowd.answers, most, np.random.default_rng(draw)) for draw in range(draws)]
    accuracy = {
        name: float(np.mean([np.mean(truth(answers) == crowd.y) for answers in drawn]))
        for name, truth in TRUTHS.items()
    }
    return Found(most=most, answers=drawn[0].codes.size, accuracy=accuracy)


def _draw(answers: Answers, most: int | None, rng: np.random.Generator) -> Answers:
    mixed = rng.permutation(answers.codes.size)
    order = mixed[np.argsort(answers.examples[mixed], kind="stable")]
    nth = np.arange(order.size) - np.searchsorted(answers.examples, answers.examples)
    order = order if most is None else order[nth < most]
    return Answers(
        examples=answers.examples[order],
        annotators=answers.annotators[order],
        codes=answers.codes[order],
        count=answers.count,
    )


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--draws", default=5, show_default=True, type=click.IntRange(min=1), help="Draws of answers.")
@click.option("--json", "path", default="crowd.json", show_default=True, type=click.Path(path_type=Path))
def crowd(files: tuple[Path, ...], draws: int, path: Path) -> None:
    """Measure how often majority and Dawid-Skene find the truth.

    FILES are NAME.answers.parquet with the columns `id`, `worker` and `answer`, each beside a NAME.parquet with `id`
    and `label`. Accuracies are means over draws of one, two, ... and all answers to each example.
    """
    try:
        crowds = [read(file) for file in files]
    except CrowdError as error:
        raise click.ClickException(str(error)) from error
    found = {each.name: measure(each, draws=draws) for each in crowds}
    Console().print(_table(crowds, found))
    sets = {name: [asdict(line) for line in lines] for name, lines in found.items()}
    path.write_text(json.dumps({"machine": machine(), "draws": draws, "sets": sets}, indent=2) + "\n")
    click.echo(f"Written to {path.absolute()}")


def _table(crowds: list[Crowd], found: dict[str, list[Found]]) -> Table:
    made = Table("crowd", "answers an example", *TRUTHS)
    made.caption = "Accuracy of the truth that is found, in which ties go to the answer that happened to be last."
    for each in crowds:
        alpha = krippendorff_alpha(each.answers)
        told = "" if alpha is None else f", alpha {alpha:.3f}"
        for i, line in enumerate(found[each.name]):
            name = "" if i else f"{each.name} ({each.y.size:,} examples{told})"
            made.add_row(name, _most(line), *(f"{line.accuracy[truth]:.4f}" for truth in TRUTHS))
        made.add_section()
    return made


def _most(line: Found) -> str:
    return f"{'all' if line.most is None else line.most} ({line.answers:,} in all)"
