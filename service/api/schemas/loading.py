"""Programs that load the files of models, for their cards."""

from service.actions.exports import has_encoder
from service.actions.models import features_of
from service.catalog.tasks import task_of
from service.db.tables import Model, Project

_TEXTS = """from sklearn.feature_extraction.text import HashingVectorizer
vectorizer = HashingVectorizer(
    n_features={n_features}, ngram_range=(1, {max_ngram}), lowercase={lowercase}, alternate_sign=False, norm=None
)
rows = vectorizer.transform(["A text."])
"""
_TABLES = """# The package of the service encodes rows as it does itself; both files are of one model.
from workers.learning.featurizers.tabular import TabularEncoder
with open("{file}", "rb") as kept:
    encoder = TabularEncoder.load(kept.read())
rows = encoder.encode([{row}])
"""
_VALUES = {"number": 1.5, "category": "a category", "text": "A text.", "date": "2026-01-31"}
_PREDICT = {
    "classification": "print([classes[code] for code in model.predict(rows)], model.predict_proba(rows))\n",
    "multi_label": "# One model of two classes for each class; a number where all labels said the same.\n"
    "print([m if isinstance(m, float) else m.predict_proba(rows)[:, 1] for m in model])\n",
    "regression": "print(model.predict(rows))\n",
}


def load_skops_in_python(project: Project, model: Model) -> str:
    """With scikit-learn and skops."""
    file = f"{project.id}-{model.version}.skops"
    return (
        f'import skops.io\ntypes = skops.io.get_untrusted_types(file="{file}")\n'
        f'print(types)  # look at them: arrays of trees and the like\nmodel = skops.io.load("{file}", trusted=types)\n'
        f"{_rows(project, model)}classes = {model.classes!r}\n{_PREDICT[task_of(project.task)]}"
    )


def _rows(project: Project, model: Model) -> str:
    features = features_of(project, model)
    if has_encoder(model):
        row = {field["name"]: _VALUES[field["type"]] for field in features["fields"]}
        return _TABLES.format(file=f"{project.id}-{model.version}.encoder", row=row)
    if (other := features.get("featurizer", "text")) != "text":
        return f"rows = ...  # as the featurizer {other} makes them\n"
    if features["type"] == "text":
        return _TEXTS.format(**{"n_features": 2**18, "max_ngram": 2, "lowercase": True, **features["params"]})
    return f"import numpy as np\nrows = np.zeros((1, {features['dimensions']}), dtype=np.float32)\n"


def load_onnx_in_python(project: Project) -> str:
    """With onnxruntime and numpy."""
    return f"""import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
rows = np.zeros((1, {project.features["dimensions"]}), dtype=np.float32)
labels, probabilities = session.run(["label", "probabilities"], {{"vector": rows}})
print(labels, probabilities)
"""


def load_onnx_in_javascript(project: Project) -> str:
    """With onnxruntime-node; in a browser with onnxruntime-web."""
    columns = project.features["dimensions"]
    return f"""import * as ort from "onnxruntime-node";  // in a browser "onnxruntime-web"
const session = await ort.InferenceSession.create("model.onnx");
const vector = new ort.Tensor("float32", new Float32Array({columns}), [1, {columns}]);
const {{ label, probabilities }} = await session.run({{ vector }});
console.log(label.data, probabilities.data);
"""
