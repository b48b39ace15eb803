"""What the chart installs: valid for Kubernetes, restricted, and such that a worker can drain."""

import copy
import stat
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

import streams
from streams.settings import POLL_INTERVAL_MAX_S, REVOKE_BOUND_S, load_settings

pytestmark = pytest.mark.chart

VARIANTS = ("bare", "full", "minimal")
ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"

# The oldest that Chart.yaml admits, and the newest that the validator knows.
KUBERNETES_VERSIONS = ("1.27", kubernetes_validate.latest_version())

# Resources of operators; their definitions do not come with Kubernetes.
CUSTOM_KINDS = frozenset({"PodMonitor"})


@pytest.fixture(params=VARIANTS)
def manifests(request, render, variants) -> dict[str, dict[str, Any]]:
    return by_kind(render(variants[request.param]))


@pytest.fixture
def minimal(variants) -> dict[str, Any]:
    return copy.deepcopy(variants["minimal"])


def by_kind(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    kinds = {manifest["kind"]: manifest for manifest in manifests}
    assert len(kinds) == len(manifests), "one object of each kind"
    return kinds


def pod_of(manifests: dict[str, dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = manifests["StatefulSet"]["spec"]["template"]["spec"]
    return pod


def containers_of(manifests: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    pod = pod_of(manifests)
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_all_variants_are_tried(variants) -> None:
    assert tuple(variants) == VARIANTS


@pytest.mark.parametrize("variant", VARIANTS)
def test_helm_finds_nothing_to_complain_about(chart_path, variants, variant) -> None:
    report = helm_python.lint(chart_path, variants[variant], strict=True)
    assert not report["errors"]
    assert {message["error"] for message in report["messages"]} <= {"icon is recommended"}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_takes_every_object(manifests, version) -> None:
    for kind, manifest in manifests.items():
        if kind not in CUSTOM_KINDS:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_validator_would_find_a_misspelt_field(render, minimal) -> None:
    stateful_set = by_kind(render(minimal))["StatefulSet"]
    stateful_set["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(stateful_set, KUBERNETES_VERSIONS[-1], strict=True)


def test_the_full_variant_switches_everything_on(render, variants) -> None:
    assert set(by_kind(render(variants["full"]))) == {
        "ConfigMap",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    }


def test_the_bare_variant_switches_everything_off(render, variants) -> None:
    assert set(by_kind(render(variants["bare"]))) == {"ConfigMap", "Service", "StatefulSet"}


def test_pods_are_restricted(manifests) -> None:
    pod = pod_of(manifests)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in containers_of(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_pods_run_as_the_images_user(render, minimal) -> None:
    context = pod_of(by_kind(render(minimal)))["securityContext"]
    recipe = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
    assert f"\nUSER {context['runAsUser']}:{context['runAsGroup']}\n" in recipe


def test_secrets_are_named_and_mounted_as_files_that_can_change(manifests) -> None:
    assert "Secret" not in manifests
    secrets = [volume["secret"] for volume in pod_of(manifests)["volumes"] if "secret" in volume]
    assert secrets
    assert all(secret["defaultMode"] == stat.S_IRUSR for secret in secrets)
    assert not any("subPath" in mount for container in containers_of(manifests) for mount in container["volumeMounts"])


def test_every_credential_file_is_below_a_mounted_secret(manifests) -> None:
    config = yaml.safe_load(manifests["ConfigMap"]["data"]["callstream.yaml"])
    volumes = {volume["name"] for volume in pod_of(manifests)["volumes"] if "secret" in volume}
    mounts = [mount for mount in containers_of(manifests)[-1]["volumeMounts"] if mount["name"] in volumes]
    for account in config["accounts"]:
        for key in ("key_id_file", "api_key_file"):
            assert str(Path(account[key]).parent) in {mount["mountPath"] for mount in mounts}


def test_an_account_may_have_a_secret_and_keys_of_its_own(render, variants) -> None:
    manifests = by_kind(render(variants["full"]))
    _, account = yaml.safe_load(manifests["ConfigMap"]["data"]["callstream.yaml"])["accounts"]
    assert account["key_id_file"] == "/etc/callstream/credentials/sales-account/id"
    assert account["api_key_file"] == "/etc/callstream/credentials/sales-account/key"


def test_a_worker_has_time_to_drain(manifests) -> None:
    grace_s = pod_of(manifests)["terminationGracePeriodSeconds"]
    assert REVOKE_BOUND_S < POLL_INTERVAL_MAX_S < grace_s


def test_a_worker_is_named_after_its_pod_and_sees_no_service_links(manifests) -> None:
    assert pod_of(manifests)["enableServiceLinks"] is False
    for container in containers_of(manifests):
        environment = {variable["name"]: variable for variable in container["env"]}
        source = environment["CALLSTREAM_KAFKA__INSTANCE"]["valueFrom"]
        assert source == {"fieldRef": {"fieldPath": "metadata.name"}}
    stateful_set = manifests["StatefulSet"]["spec"]
    assert stateful_set["podManagementPolicy"] == "Parallel"
    assert stateful_set["serviceName"] == manifests["Service"]["metadata"]["name"]
    assert manifests["Service"]["spec"]["clusterIP"] == "None"


def test_probes_ask_the_metrics_port(manifests) -> None:
    (worker,) = pod_of(manifests)["containers"]
    assert worker["args"] == ["worker"]
    asked = {name: worker[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in asked.values()} == {"metrics"}


@pytest.mark.parametrize(("variant", "port"), [("minimal", 9464), ("full", 9500)])
def test_the_metrics_port_is_the_setting(render, variants, variant, port) -> None:
    manifests = by_kind(render(variants[variant]))
    (worker,) = pod_of(manifests)["containers"]
    assert worker["ports"] == [{"name": "metrics", "containerPort": port}]
    (service_port,) = manifests["Service"]["spec"]["ports"]
    assert service_port == {"name": "metrics", "port": port, "targetPort": "metrics"}


def test_selectors_find_the_pods_and_only_these(manifests) -> None:
    labels = manifests["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    selectors = [manifests["StatefulSet"]["spec"]["selector"]["matchLabels"], manifests["Service"]["spec"]["selector"]]
    selectors += [
        manifests[kind]["spec"]["selector"]["matchLabels"]
        for kind in ("PodDisruptionBudget", "PodMonitor")
        if kind in manifests
    ]
    if "NetworkPolicy" in manifests:
        selectors.append(manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"])
    for selector in selectors:
        assert selector == selectors[0]
        assert selector.items() <= labels.items()
        assert selector["app.kubernetes.io/instance"] == "calls-eu"


def test_changed_settings_roll_the_workers(render, minimal) -> None:
    before, again = by_kind(render(minimal)), by_kind(render(minimal))
    minimal["config"]["statuses"] = "none"
    after = by_kind(render(minimal))
    sums = [
        each["StatefulSet"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for each in (before, again, after)
    ]
    assert sums[0] == sums[1] != sums[2]


def test_a_digest_wins_over_a_tag(render, minimal) -> None:
    digest = "sha256:" + "0" * 64
    minimal["image"] = {"repository": "r.example.com/c", "tag": "9", "digest": digest}
    assert pod_of(by_kind(render(minimal)))["containers"][0]["image"] == f"r.example.com/c@{digest}"
    minimal["image"].pop("digest")
    assert pod_of(by_kind(render(minimal)))["containers"][0]["image"] == "r.example.com/c:9"


def test_the_release_is_the_packages_version(chart, render, minimal) -> None:
    assert chart.metadata["appVersion"] == streams.__version__
    assert pod_of(by_kind(render(minimal)))["containers"][0]["image"] == f"callstream:{streams.__version__}"


def test_the_network_policy_keeps_metadata_services_out_of_reach(render, variants) -> None:
    policy = by_kind(render(variants["full"]))["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    wide = [peer["ipBlock"] for rule in policy["egress"] for peer in rule.get("to", [])]
    assert {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]} in wide
    assert {"cidr": "10.0.8.0/24"} in wide
    unbound = [{port["port"] for port in rule["ports"]} for rule in policy["egress"] if "to" not in rule]
    assert unbound == [{53}, {9093}]


def test_the_pod_monitor_scrapes_the_metrics_port(render, variants) -> None:
    monitor = by_kind(render(variants["full"]))["PodMonitor"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "metrics", "path": "/metrics", "interval": "15s"}]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_worker_accepts_its_settings(render, variants, variant, tmp_path) -> None:
    manifests = by_kind(render(variants[variant]))
    path = tmp_path / "callstream.yaml"
    path.write_text(manifests["ConfigMap"]["data"]["callstream.yaml"], encoding="utf-8")
    (worker,) = pod_of(manifests)["containers"]
    environment = {variable["name"]: variable.get("value", "calls-eu-0") for variable in worker["env"]}
    assert environment.pop("CALLSTREAM_CONFIG") == "/etc/callstream/config/callstream.yaml"
    settings = load_settings(path, environment)
    assert settings.kafka.instance == "calls-eu-0"
    assert settings.accounts[0].id == ACCOUNT


def test_large_numbers_stay_numbers(render, variants) -> None:
    text = by_kind(render(variants["full"]))["ConfigMap"]["data"]["callstream.yaml"]
    assert "worker_intents_max: 4000000\n" in text


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        pytest.param("minimal", "rollout status statefulset/calls-eu-callstream", id="the next command"),
        pytest.param("minimal", "--set topics.apply=true", id="the topics have to exist"),
        pytest.param("full", "calls-eu-0 9500", id="the port that was set"),
    ],
)
def test_the_notes_say_what_to_do_next(chart, variants, variant, said) -> None:
    texts = chart.render(variants[variant], name="calls-eu", namespace="calls")
    assert said in texts["callstream/templates/NOTES.txt"]


def test_the_notes_warn_of_workers_without_work(chart, minimal) -> None:
    minimal["replicas"] = 13
    texts = chart.render(minimal, name="calls-eu", namespace="calls")
    assert "WARNING: 13 workers share 12 partitions" in texts["callstream/templates/NOTES.txt"]
