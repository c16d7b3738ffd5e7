"""The clients of a project whose model is elsewhere: they upload what it says, and let versions of it serve."""

from tests.chaos import points
from tests.chaos.client import Client, Habits

MODEL = "theirs"
_GIVEN_UP = 0.05  # the share of uploads that are not repeated; their examples are left alone from then on
_FEWEST = 30


class ModelOwner(Client):
    """Uploads predictions of its own examples into the versions that it shares with the other owners."""

    _said = 0

    def predict(self) -> None:
        """Upload predictions of some examples, each with a number that was never told before."""
        if len(self.editions) < _FEWEST:
            self._upload(self._new(_FEWEST))
        ids = self._some(self.rng.randint(1, 12))
        numbers = range(self._said + 1, self._said + 1 + len(ids))
        self._said = numbers.stop
        rows = [{"id": i, "probabilities": points.prediction(n)} for i, n in zip(ids, numbers, strict=True)]
        noted = {"rows": [{"id": i, "number": n} for i, n in zip(ids, numbers, strict=True)]}
        call = ("predictions", f"{self.scene.path}/predictions?model={MODEL}", {"predictions": rows})
        if self.rng.random() < _GIVEN_UP:
            answer = self._caller.try_once(*call, patience=self.rng.uniform(0.01, 0.3), noted=noted)
        else:
            answer = self._caller.change(*call, noted=noted)
        if answer is None:
            self.editions = {each: edition for each, edition in self.editions.items() if each not in ids}
        elif answer.is_success and answer.json()["model_version"] not in self.scene.versions:
            self.scene.versions.append(answer.json()["model_version"])

    def activate_one(self) -> None:
        """Let a version of late serve."""
        if self.scene.versions:
            self.activate(self.rng.choice(self.scene.versions[-3:]))

    def activate(self, version: int) -> None:
        """Let a version serve; it takes no more predictions."""
        path = f"{self.scene.path}/models/{version}/activate"
        self._caller.change("activation", path, {}, noted={"version": version})

    def ask(self) -> None:
        """Ask for a batch, which tells what the serving version says, and wait for it."""
        self._wait_for_batch(self._ask({"k": self.rng.randint(1, 8), "strategy": "margin", "lease_seconds": 0}))

    def ask_for_all(self) -> str:
        """Ask for everything of which the serving version says something; the job."""
        return self._ask({"k": 10_000, "strategy": "margin", "lease_seconds": 0, "include_data": False})

    def look_at_version(self) -> None:
        """Read what is told of a version."""
        if self.scene.versions:
            version = self.rng.choice(self.scene.versions)
            answer = self._caller.read(f"{self.scene.path}/models/{version}")
            if answer is not None:
                told = {name: answer.json()[name] for name in ("name", "kind", "classes", "labels_used", "created_at")}
                self.scene.note("version", version=version, told=told)


OWNER = Habits(
    (ModelOwner.predict,),
    {
        ModelOwner.predict: 8,
        ModelOwner.activate_one: 1,
        ModelOwner.ask: 1,
        ModelOwner.look_at_version: 1,
        ModelOwner.look_again: 1,
        ModelOwner.replay: 1,
        ModelOwner.rest: 8,
    },
)
