"""Checks the manifests in this folder: each resource against the schema of the Kubernetes API, strictly (unknown keys are errors),
and that kustomization.yaml names each of them. deploy/check-kubernetes runs it."""

import sys
from pathlib import Path

import kubernetes_validate
import yaml

VERSIONS = ["1.29", "1.34"]
FOLDER = Path(__file__).parent

problems = []
named = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
files = sorted(f.name for f in FOLDER.glob("*.yaml") if f.name != "kustomization.yaml")
if files != sorted(named):
    problems.append(f"kustomization.yaml: names {sorted(named)}, but the folder has {files}")
count = 0
for file in files:
    for resource in yaml.safe_load_all((FOLDER / file).read_text()):
        # Kustomize adds the labels, and the selectors that a schema requires.
        labels = {"app.kubernetes.io/name": "tokengate"}
        if resource["kind"] in ("Deployment", "PodDisruptionBudget"):
            resource["spec"].setdefault("selector", {"matchLabels": labels})
        count += 1
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = "/".join(str(part) for part in error.path)
                problems.append(f"{file}: {where}: {error.message} (Kubernetes {version})")
            except kubernetes_validate.SchemaNotFoundError as error:
                problems.append(f"{file}: {error}")
print("\n".join(problems) if problems else f"{count} resources are valid for Kubernetes {' and '.join(VERSIONS)}")
sys.exit(bool(problems))
