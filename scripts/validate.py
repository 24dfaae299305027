#!/usr/bin/env python3
"""Holds documents against a JSON Schema. For the tests of the configuration's schema.

Standard input: the schema, and then a document a line, all as JSON. Standard output: a line for each document, `ok` or what is
wrong with it. A schema that is none ends it. Run it with .tools/jsonschema/bin/python.
"""
import json
import sys

from jsonschema import Draft202012Validator

schema, *documents = (json.loads(line) for line in sys.stdin)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for document in documents:
    error = next(validator.iter_errors(document), None)
    print("ok" if error is None else f"{error.json_path}: {error.message}".replace("\n", " "))
