"""Reads rendered Kubernetes objects and prints each Deployment's program, environment and times to stop as JSON. The
values of ConfigMaps are put in. Those of Secrets are taken from this process's environment, by their key.

    kubernetes.py < rendered.yaml
"""

import json
import os
import sys

import yaml

objects = [found for found in yaml.safe_load_all(sys.stdin) if found]
maps = {found["metadata"]["name"]: found["data"] for found in objects if found["kind"] == "ConfigMap"}


def value(entry):
    if "value" in entry:
        return entry["value"]
    source = entry["valueFrom"]
    if "configMapKeyRef" in source:
        return maps[source["configMapKeyRef"]["name"]][source["configMapKeyRef"]["key"]]
    return os.environ[source["secretKeyRef"]["key"]]


pods = []
for found in objects:
    if found["kind"] != "Deployment":
        continue
    pod = found["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    pods.append({
        "program": container["command"][0],
        "environment": {entry["name"]: value(entry) for entry in container["env"]},
        "grace": pod["terminationGracePeriodSeconds"],
        "pause": container["lifecycle"]["preStop"]["sleep"]["seconds"],
    })
print(json.dumps(pods))
