"""The manifests for Kubernetes, as `kubectl apply -k` would send them."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
FOLDER = DEPLOY / "kubernetes"
WORKLOADS = ("Deployment", "Job")

Manifest = dict[str, Any]


@cache
def rendered(folder: str) -> list[Manifest]:
    """The objects that a folder of `deploy/kubernetes` stands for."""
    kubectl = Path(sys.executable).with_name("kubectl")  # the one of the lock file
    command = [str(kubectl), "kustomize", str(FOLDER / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(*kinds: str, folder: str = "example") -> list[Manifest]:
    """The objects of these kinds."""
    return [manifest for manifest in rendered(folder) if manifest["kind"] in kinds]


def component(manifest: Manifest) -> str:
    """Which part of the service an object is of."""
    name: str = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
    return name


def pods() -> dict[str, Manifest]:
    """The specification of each component's pods."""
    return {component(found): found["spec"]["template"]["spec"] for found in of_kind(*WORKLOADS)}


def containers() -> dict[str, Manifest]:
    """The container of each component."""
    return {name: one(pod["containers"]) for name, pod in pods().items()}


def settings_of(name: str) -> dict[str, str]:
    """The variables of a component's container."""
    (config,) = of_kind("ConfigMap")
    container = containers()[name]
    assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    found = dict(config["data"])
    for variable in container["env"]:
        found[variable["name"]] = variable.get("value") or _looked_up(variable["valueFrom"], container, config)
    return found


def _looked_up(source: dict[str, Any], container: Manifest, config: Manifest) -> str:
    if "configMapKeyRef" in source:
        assert source["configMapKeyRef"]["name"] == config["metadata"]["name"]
        return str(config["data"][source["configMapKeyRef"]["key"]])
    kind, _, resource = source["resourceFieldRef"]["resource"].partition(".")
    return str(container["resources"][kind][resource])


def mebibytes(quantity: str) -> int:
    """A quantity of memory in MiB."""
    factors = {"Mi": 1, "Gi": 1024}
    return int(quantity[:-2]) * factors[quantity[-2:]]


def selectors(node: Any) -> Iterator[dict[str, str]]:
    """Every set of labels that pods are picked by, wherever it is."""
    if isinstance(node, list):
        for part in node:
            yield from selectors(part)
    elif isinstance(node, dict):
        for key, part in node.items():
            if key in {"selector", "podSelector", "labelSelector"}:
                yield part.get("matchLabels", part)
            elif key != "namespaceSelector":
                yield from selectors(part)


def one(found: list[Any]) -> Any:
    """The only one."""
    (only,) = found
    return only
