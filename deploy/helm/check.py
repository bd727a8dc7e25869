"""Checks this chart with the library of Helm: lints it, renders it with several values, and checks each resource against the schema
of the Kubernetes API, strictly (unknown keys are errors). deploy/check-kubernetes runs it. Prints the configuration of the default
values with --config."""

import sys
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

VERSIONS = ["1.29", "1.34"]
CHART = Path(__file__).parent
KINDS = ["ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"]

# What is changed, and the kinds that are rendered then.
VALUES = [
    ({}, KINDS),
    (
        {"autoscaling": {"enabled": False}, "networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
        ["ConfigMap", "Deployment", "Service"],
    ),
    (
        {
            "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "annotations": {"a": "b"}},
            "imagePullSecrets": [{"name": "registry"}],
            "podLabels": {"team": "web"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"operator": "Exists"}],
            "config": "version = 1\n",
        },
        KINDS,
    ),
]
REFUSED = [{"replicaCount": "two"}, {"confg": ""}, {"service": {"type": "Public"}}, {"ports": {"https": 0}}]

problems = []


def rendered(chart, values):
    """The resources that the chart renders, without its notes."""
    files = chart.render(values, name="site", namespace="web")
    texts = [text for name, text in sorted(files.items()) if not name.endswith("NOTES.txt")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


findings = helm.lint(str(CHART))
for finding in findings if isinstance(findings, list) else findings.get("messages", []):
    if "icon is recommended" not in str(finding):
        problems.append(f"lint: {finding}")

with helm.Chart.load(str(CHART)) as chart:
    if "--config" in sys.argv:
        print(chart.values["config"])
        sys.exit()
    count = 0
    for values, kinds in VALUES:
        resources = rendered(chart, values)
        if sorted(one["kind"] for one in resources) != kinds:
            problems.append(f"{values}: renders {[one['kind'] for one in resources]}, not {kinds}")
        for one in resources:
            count += 1
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(one, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    where = "/".join(str(part) for part in error.path)
                    problems.append(f"{one['kind']}: {where}: {error.message} (Kubernetes {version})")
    for values in REFUSED:
        try:
            chart.validate_schema(values)
            problems.append(f"{values}: is accepted")
        except helm.HelmError:
            pass
    pod = next(one for one in rendered(chart, {}) if one["kind"] == "Deployment")["spec"]["template"]
    plain = next(one for one in rendered(chart, VALUES[2][0]) if one["kind"] == "Deployment")["spec"]["template"]
    if "checksum/config" in pod["metadata"]["annotations"] or "checksum/config" not in plain["metadata"]["annotations"]:
        problems.append("a changed configuration replaces the pods exactly if `reload.watch` is not set")
print("\n".join(problems) if problems else f"the chart is valid: {count} resources, Kubernetes {' and '.join(VERSIONS)}")
sys.exit(bool(problems))
