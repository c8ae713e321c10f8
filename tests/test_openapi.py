"""The OpenAPI document holds together: what it refers to is there, requests take nothing that is not described, and
every operation says which errors it may have. (That the service does what it says is tests/bench/schemathesis_run.)"""
import json
import pathlib
import unittest

document = json.loads((pathlib.Path(__file__).parent.parent / "service/http/openapi.json").read_text(encoding="utf-8"))
operations = [(f"{method.upper()} {path}", operation) for path, methods in document["paths"].items()
              for method, operation in methods.items()]


def look_up(reference):
    found = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def walk(value, seen=None):
    """Every object in it, and in what it refers to."""
    seen = set() if seen is None else seen
    if isinstance(value, list):
        for one in value:
            yield from walk(one, seen)
    elif isinstance(value, dict):
        yield value
        reference = value.get("$ref")
        if reference and reference not in seen:
            seen.add(reference)
            yield from walk(look_up(reference), seen)
        for one in value.values():
            yield from walk(one, seen)


class Document(unittest.TestCase):
    def test_references(self):
        used = {one["$ref"] for one in walk(document) if "$ref" in one}
        there = {f"#/components/{kind}/{name}" for kind in ("schemas", "parameters", "responses")
                 for name in document["components"][kind]}
        self.assertEqual(used, there)  # none is missing, and none is for nothing

    def test_operations_have_names_of_their_own(self):
        names = [operation["operationId"] for _, operation in operations]
        self.assertEqual(len(set(names)), len(names))

    def test_requests_are_closed(self):
        closed = 0
        for name, operation in operations:
            contents = operation.get("requestBody", {}).get("content", {}).values()
            for schema in walk([content["schema"] for content in contents]):
                if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
                    self.assertIs(schema.get("additionalProperties"), False, (name, schema))
                    closed += 1
        self.assertGreater(closed, 30)

    def test_errors(self):
        for name, operation in operations:
            errors = {int(status) for status in operation["responses"]} - {200}
            expected = {400, 403, 413, 431}
            if operation.get("security") == []:
                self.assertNotIn(429, errors, name)  # a service that is busy is healthy
            else:
                expected |= {401, 429, 500, 503}
            if "requestBody" in operation:
                expected |= {415, 422}
            if "{id}" in name and name != "GET /v1/users/{id}":  # nobody is no error
                expected |= {404}
            self.assertLessEqual(expected, errors, name)
        for name, response in document["components"]["responses"].items():
            content = response["content"]["application/json"]
            self.assertEqual(content["schema"], {"$ref": "#/components/schemas/Error"}, name)
            self.assertEqual(set(content["example"]["error"]), {"code", "message", "field"})


if __name__ == "__main__":
    unittest.main()
