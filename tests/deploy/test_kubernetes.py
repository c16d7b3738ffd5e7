"""The manifests are valid, grant no more than is needed, and start what the containers of compose start."""

import os
import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from service.cli.configuration import load_settings, make_data_folder
from service.cli.roles import GRACEFUL_SHUTDOWN_SECONDS
from service.dispatcher.deliveries import STOP_SECONDS
from service.queue.messages import QUEUES
from service.security.addresses import AddressGuard
from service.settings import Settings
from tests.deploy.manifests import (
    DEPLOY,
    FOLDER,
    WORKLOADS,
    Manifest,
    component,
    containers,
    mebibytes,
    of_kind,
    one,
    pods,
    rendered,
    selectors,
    settings_of,
)
from workers.main import COLD_STOP_SECONDS

OLDEST = "1.30"  # as the README says
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
IMAGES = (DEPLOY / "Containerfile").read_text()
LONG_LIVED = {"api", "dispatcher", "worker-interactive", "worker"}
COMPONENTS = LONG_LIVED | {"migrate"}
WITH_ADMIN_KEY = {"api", "migrate"}
OF_OPERATORS = ("keda.sh/", "monitoring.coreos.com/")
WORKER_MIB = 240  # of a worker and the work-horse that waits, before the first job
SECRETS = {
    "gleaner_database_url": "postgresql+psycopg://gleaner:secret@db/gleaner",
    "gleaner_redis_url": "redis://:secret@redis:6379/0",
    "gleaner_secret_key": "Zk4vTq9sXw2mLc7pRd1yHb6nGf3jUe8aVo5iQt0x",
    "gleaner_admin_key": "gln_Hq3zWk8vYt5rNb2mJs9xLd6cPf1gEa4uRo7yTi0w",
}


def test_every_file_has_its_place() -> None:
    kustomizations = {path: yaml.safe_load(path.read_text()) for path in FOLDER.glob("*/kustomization.yaml")}
    named = {
        path.parent / (part["path"] if isinstance(part, dict) else part)
        for path, kustomization in kustomizations.items()
        for part in (*kustomization["resources"], *kustomization.get("patches", ()))
        if isinstance(part, str) or "path" in part
    }
    assert set(FOLDER.rglob("*.yaml")) - set(kustomizations) == {path for path in named if path.is_file()}
    assert all(path.exists() for path in named)


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_field(version: str) -> None:
    own = [manifest for manifest in rendered("example") if not manifest["apiVersion"].startswith(OF_OPERATORS)]
    assert len(own) > len(COMPONENTS)
    for manifest in own:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    api = next(found for found in of_kind("Deployment") if component(found) == "api")
    wrong = {**api, "spec": {**api["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)


def test_the_base_names_no_registry_and_holds_no_secret() -> None:
    images = {
        one(found["spec"]["template"]["spec"]["containers"])["image"] for found in of_kind(*WORKLOADS, folder="base")
    }
    assert images == {"gleaner-api", "gleaner-worker"}
    assert of_kind("Secret", folder="base") == of_kind("Secret") == []


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_a_pod_may_do_nothing_but_its_work(name: str) -> None:
    pod, container = pods()[name], containers()[name]
    user, group = re.findall(r"USER (\d+):(\d+)", IMAGES)[0]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "fsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all({"emptyDir", "projected"} & set(volume) for volume in pod["volumes"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    account = one(of_kind("ServiceAccount"))
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_a_pod_takes_no_more_than_it_says(name: str) -> None:
    resources = containers()[name]["resources"]
    assert {"cpu", "memory", "ephemeral-storage"} <= set(resources["requests"])
    assert {"memory", "ephemeral-storage"} <= set(resources["limits"])
    assert mebibytes(resources["requests"]["memory"]) <= mebibytes(resources["limits"]["memory"])
    disks = {
        volume["name"]: mebibytes(volume["emptyDir"]["sizeLimit"])
        for volume in pods()[name]["volumes"]
        if "emptyDir" in volume
    }
    assert sum(disks.values()) <= mebibytes(resources["limits"]["ephemeral-storage"])
    if name in LONG_LIVED - {"dispatcher"}:
        assert disks["data"] >= 2 * int(settings_of(name)["GLEANER_CACHE_MIB"])


def test_a_job_ends_at_its_own_limit_before_that_of_its_container() -> None:
    for name in ("worker-interactive", "worker"):
        settings = settings_of(name)
        limit = mebibytes(containers()[name]["resources"]["limits"]["memory"])
        most = [int(settings[key]) for key in settings if key.endswith(("QUERY_MEMORY_MIB", "JOB_MEMORY_MIB"))]
        assert most
        assert max(most) + 2 * WORKER_MIB <= limit
    assert settings_of("worker")["GLEANER_JOB_MEMORY_MIB"]


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_the_settings_are_those_that_gleaner_reads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("GLEANER_")]:
        monkeypatch.delenv(variable)
    variables = settings_of(name)
    assert set(variables) <= {f"GLEANER_{field.upper()}" for field in Settings.model_fields}
    mounted = {mount["name"]: mount["mountPath"] for mount in containers()[name]["volumeMounts"]}
    assert variables["GLEANER_SECRETS_DIR"] == mounted["secrets"]
    files = _secret_files(pods()[name], optional=False)
    assert files == set(SECRETS) - (set() if name in WITH_ADMIN_KEY else {"gleaner_admin_key"})
    for file in files:
        (tmp_path / file).write_text(f"{SECRETS[file]}\n")
    for variable, value in {**variables, "GLEANER_SECRETS_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert settings.sql_url == SECRETS["gleaner_database_url"]
    assert settings.queue_url == SECRETS["gleaner_redis_url"]
    assert (settings.admin_key is not None) == (name in WITH_ADMIN_KEY)
    assert settings.secret_key is not None
    assert settings.bucket == ("my-bucket", "gleaner/")


@pytest.mark.parametrize("optional", [False, True])
def test_secrets_are_settings_that_the_readme_tells_of(*, optional: bool) -> None:
    files = {file for pod in pods().values() for file in _secret_files(pod, optional=optional)}
    assert files
    assert {file.removeprefix("gleaner_") for file in files} <= set(Settings.model_fields)
    text = (DEPLOY / "README.md").read_text()
    assert [file for file in files if f"`{file}`" not in text] == []


def _secret_files(pod: Manifest, *, optional: bool) -> set[str]:
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "secrets")
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    assert {source["name"] for source in sources} == {"gleaner"}
    items = [item for source in sources if source.get("optional", False) == optional for item in source["items"]]
    assert all(item["key"] == item["path"] for item in items)
    return {item["path"] for item in items}


def test_the_data_folder_can_be_made_in_a_volume_that_is_open_to_all(tmp_path: Path) -> None:
    data, volume = settings_of("api")["GLEANER_DATA_DIR"], _mounted("data")
    assert f"VOLUME {volume}\n" in IMAGES
    tmp_path.chmod(0o2777)  # as Kubernetes makes one for a group
    folder = make_data_folder(Settings(data_dir=tmp_path / Path(data).relative_to(volume)))
    assert folder.stat().st_mode & 0o007 == 0


def _mounted(volume: str) -> str:
    return str(next(mount["mountPath"] for mount in containers()["api"]["volumeMounts"] if mount["name"] == volume))


def test_the_commands_are_those_of_compose() -> None:
    serve = yaml.safe_load(re.findall(r'CMD (\["serve".*\])', IMAGES)[0])  # compose leaves it to the image
    expected = {name: COMPOSE[name].get("command", serve) for name in COMPONENTS}
    assert {name: container["args"] for name, container in containers().items()} == expected
    served = [expected[name][2].split(",") for name in ("worker-interactive", "worker")]
    assert {queue for queues in served for queue in queues} == set(QUEUES)
    images = {name: "worker" if name.startswith("worker") else "api" for name in COMPONENTS}
    assert {name: container["image"] for name, container in containers().items()} == {
        name: f"registry.example/gleaner-{image}:0.1.0" for name, image in images.items()
    }


def test_what_serves_is_asked_whether_it_lives_and_is_ready() -> None:
    api = containers()["api"]
    ports = {port["name"]: port["containerPort"] for port in api["ports"]}
    assert ports == {
        "http": int(re.findall(r"EXPOSE (\d+)", IMAGES)[0]),
        "metrics": int(settings_of("api")["GLEANER_METRICS_ADDRESS"].rpartition(":")[2]),
    }
    probes = {kind: api[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert probes == {
        "startup": {"path": "/readyz", "port": "http"},
        "liveness": {"path": "/livez", "port": "http"},
        "readiness": {"path": "/livez", "port": "http"},
    }
    service = one(of_kind("Service"))
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    assert not any("ports" in containers()[name] for name in COMPONENTS - {"api"})


def test_a_pod_has_the_time_to_stop_in_good_order() -> None:
    drained = containers()["api"]["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = {
        "api": drained + GRACEFUL_SHUTDOWN_SECONDS,
        "dispatcher": STOP_SECONDS,
        "worker-interactive": COLD_STOP_SECONDS,
        "worker": COLD_STOP_SECONDS,
    }
    for name, seconds in needed.items():
        assert pods()[name]["terminationGracePeriodSeconds"] >= seconds + 5


def test_the_api_and_the_dispatcher_are_there_twice_and_no_drain_takes_both() -> None:
    replicas = {component(found): found["spec"].get("replicas") for found in of_kind("Deployment")}
    assert replicas == {"api": 2, "dispatcher": 2, "worker-interactive": None, "worker": None}
    budgets = {component(found): found["spec"]["maxUnavailable"] for found in of_kind("PodDisruptionBudget")}
    assert budgets == dict.fromkeys(LONG_LIVED, 1)
    api = next(found for found in of_kind("Deployment") if component(found) == "api")
    assert api["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_every_selector_picks_the_pods_of_its_component() -> None:
    labels = {
        component(found): found["spec"]["template"]["metadata"]["labels"] for found in of_kind("Deployment", "Job")
    }
    assert set(labels) == COMPONENTS
    for manifest in rendered("example"):
        of = manifest["metadata"]["labels"].get("app.kubernetes.io/component")
        for selector in selectors(manifest):
            picked = {name for name, found in labels.items() if selector.items() <= found.items()}
            assert picked == ({of} if of else COMPONENTS), manifest["metadata"]["name"]


class TestNetwork:
    def policies(self) -> dict[str, Manifest]:
        return {found["metadata"]["name"]: found["spec"] for found in of_kind("NetworkPolicy")}

    def test_nothing_is_open_unless_it_is_said(self) -> None:
        everything = self.policies()["gleaner"]
        assert everything["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "gleaner"}
        assert everything["policyTypes"] == ["Ingress", "Egress"]
        assert [name for name, spec in self.policies().items() if "ingress" in spec] == ["gleaner-api"]

    def test_each_port_of_the_api_is_for_one_namespace(self) -> None:
        rules = self.policies()["gleaner-api"]["ingress"]
        ports = {port["name"] for port in containers()["api"]["ports"]}
        assert {one(rule["ports"])["port"] for rule in rules} == ports
        assert all(one(rule["from"])["namespaceSelector"]["matchLabels"] for rule in rules)

    def test_webhooks_reach_no_address_that_the_dispatcher_refuses(self) -> None:
        blocks = [to["ipBlock"] for to in one(self.policies()["gleaner-dispatcher"]["egress"])["to"]]
        guard = AddressGuard()
        for private in (
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "fd00::1",
        ):
            assert not guard.permits(ip_address(private))
            assert not any(_reaches(block, private) for block in blocks)
        for public in ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"):
            assert guard.permits(ip_address(public))
            assert any(_reaches(block, public) for block in blocks)


def _reaches(block: Manifest, address: str) -> bool:
    there = ip_address(address)
    return there in ip_network(block["cidr"]) and not any(there in ip_network(cidr) for cidr in block.get("except", ()))
