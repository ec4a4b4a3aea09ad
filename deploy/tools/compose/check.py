"""Checks a compose file with the schema that dclint brings, and what the schema can't see: that every volume and every
service that is named is declared. Prints, as JSON, each service's command and environment with the values of the
variables in it.

    check.py FILE SCHEMA    # the variables are this process's
"""

import json
import os
import re
import sys

import jsonschema
import yaml


def filled(value):
    """${NAME:?} must have a value, ${NAME:-other} has a default."""
    def of(match):
        name, other = match["name"], match["other"]
        found = os.environ.get(name) or other
        if found is None:
            sys.exit(f"{name} has no value")
        return found
    return re.sub(r"\$\{(?P<name>\w+)(?::\?|:-(?P<other>[^}]*))\}", of, value)


def undeclared(document):
    services, volumes = document["services"], document.get("volumes", {})
    for name, service in services.items():
        for needed in service.get("depends_on", []):
            if needed not in services:
                yield f"services.{name}: there is no service {needed}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source[0] not in "./" and source not in volumes:
                yield f"services.{name}: there is no volume {source}"
            if source[0] == "." and not os.path.exists(os.path.join(os.path.dirname(sys.argv[1]), source)):
                yield f"services.{name}: there is no file {source}"


document = yaml.safe_load(open(sys.argv[1]))
schema = jsonschema.Draft202012Validator(json.load(open(sys.argv[2])))
problems = [f"{error.json_path}: {error.message}" for error in schema.iter_errors(document)]
problems += undeclared(document)
if problems:
    sys.exit("\n".join(problems))
services = {
    name: {
        "command": service.get("command", []),
        "environment": {key: filled(str(value)) for key, value in service.get("environment", {}).items()},
    }
    for name, service in document["services"].items()
}
print(json.dumps(services))
