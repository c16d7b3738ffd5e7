import multiprocessing
import stat
from pathlib import Path

import pytest

from service.security.sealing import Sealer, SealError, load_or_create
from tests.support.redis_server import PATIENCE_SECONDS


def test_what_is_sealed_opens_again_and_is_not_readable() -> None:
    sealer = Sealer("a secret")
    sealed = sealer.seal("whsec_é")
    assert sealer.open(sealed) == "whsec_é"
    assert Sealer("a secret").open(sealed) == "whsec_é"
    assert "whsec" not in sealed
    assert sealer.seal("whsec_é") != sealed


def test_another_secret_or_a_changed_text_does_not_open() -> None:
    sealed = Sealer("a secret").seal("text")
    with pytest.raises(SealError, match="GLEANER_SECRET_KEY"):
        Sealer("another").open(sealed)
    with pytest.raises(SealError):
        Sealer("a secret").open(sealed[:-10] + "AAAAAAAAAA")


def test_an_earlier_secret_opens_and_seals_no_more() -> None:
    both = Sealer("new", ["old"])
    assert both.open(Sealer("old").seal("text")) == "text"
    assert Sealer("new").open(both.seal("text")) == "text"


def test_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        load_or_create(path)


def test_key_file_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret-key"
    secret = load_or_create(path)
    assert len(secret) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create(path, make=lambda: "another") == secret
    assert [file.name for file in path.parent.iterdir()] == ["secret-key"]


def test_empty_key_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    path.touch()
    with pytest.raises(ValueError, match="is empty"):
        load_or_create(path)


def test_processes_that_race_for_the_key_file_agree(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    paths = [tmp_path / str(number) / "key" for number in range(50)]
    barrier, answers = context.Barrier(4), context.SimpleQueue()

    def race() -> None:
        barrier.wait(PATIENCE_SECONDS)
        answers.put([load_or_create(path) for path in paths])

    racers = [context.Process(target=race) for _ in range(4)]
    for racer in racers:
        racer.start()
    seen = [answers.get() for _ in racers]
    for racer in racers:
        racer.join(PATIENCE_SECONDS)
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert len(set(seen[0])) == 50
