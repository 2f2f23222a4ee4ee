//! Completes the document with what all operations share: headers, problems by status, strict bodies.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::error::Problem;

/// Completes a document that was merged from the handlers' descriptions.
pub(super) fn finish(document: &mut Value) {
    let mut bodies = BTreeSet::new();
    for item in objects(&mut document["paths"]) {
        for operation in objects(item) {
            if let Some(responses) = operation["responses"].as_object_mut() {
                group_problems(responses);
                for response in responses.values_mut() {
                    response["headers"]["x-request-id"] =
                        json!({ "$ref": "#/components/headers/x-request-id" });
                }
            }
            named_schemas(&operation["requestBody"], &mut bodies);
        }
    }
    let shared = share_responses(&mut document["paths"]);
    document["components"]["responses"] = shared.into();
    document["components"]["headers"]["x-request-id"] = json!({
        "description": "Identifies this request in the server's log. A valid id of the request's is kept.",
        "required": true,
        "schema": { "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$" },
    });
    refuse_unknown_fields(&mut document["components"]["schemas"], bodies);
}

fn objects(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_object_mut().into_iter().flat_map(Map::values_mut)
}

/// Groups problems by status. Handlers name each as `404 thread_not_found`; a document has one
/// response for each status.
fn group_problems(responses: &mut Map<String, Value>) {
    let internal = super::problems::responses([Problem::internal()]);
    for (name, response) in internal {
        // It is made of maps and strings.
        responses.insert(name, serde_json::to_value(response).unwrap_or_default());
    }
    let named: Vec<String> = responses.keys().filter(|name| name.contains(' ')).cloned().collect();
    let mut by_status = BTreeMap::<String, Vec<(String, Value)>>::new();
    for name in named {
        let response = responses.remove(&name).unwrap_or_default();
        if let Some((status, code)) = name.split_once(' ') {
            by_status.entry(status.to_owned()).or_default().push((code.to_owned(), response));
        }
    }
    for (status, problems) in by_status {
        let described: Vec<String> = problems
            .iter()
            .map(|(code, response)| {
                format!("`{code}`: {}", response["description"].as_str().unwrap_or_default())
            })
            .collect();
        let codes: Vec<&str> = problems.iter().map(|(code, _)| code.as_str()).collect();
        let examples: Map<String, Value> = problems
            .iter()
            .map(|(code, response)| {
                let example = &response["content"][PROBLEM]["example"];
                (code.clone(), json!({ "value": example }))
            })
            .collect();
        let mut response = json!({
            "description": described.join("\n\n"),
            "content": { PROBLEM: {
                "schema": { "allOf": [
                    { "$ref": "#/components/schemas/Problem" },
                    { "type": "object", "properties": { "error": { "enum": codes } } },
                ] },
                "examples": examples,
            } },
        });
        if let Some(header) = header_of(&status) {
            response["headers"] = header;
        }
        responses.insert(status, response);
    }
}

/// Moves responses with one problem, which most operations share, to the components, and leaves
/// references.
fn share_responses(paths: &mut Value) -> Map<String, Value> {
    let mut shared = Map::new();
    for operation in objects(paths).flat_map(objects) {
        for response in objects(&mut operation["responses"]) {
            let examples = response["content"][PROBLEM]["examples"].as_object();
            let Some((code, _)) =
                examples.filter(|of| of.len() == 1).and_then(|of| of.iter().next())
            else {
                continue;
            };
            let code = code.clone();
            let known = shared.entry(&code).or_insert_with(|| response.clone());
            // The same code may have another detail elsewhere.
            if known == response {
                *response = json!({ "$ref": format!("#/components/responses/{code}") });
            }
        }
    }
    shared
}

pub(super) const PROBLEM: &str = "application/problem+json";

/// The header that each problem of a status has.
fn header_of(status: &str) -> Option<Value> {
    let header = |name: &str, description, schema| {
        Some(json!({ name: { "description": description, "required": true, "schema": schema } }))
    };
    match status {
        "401" => header(
            "WWW-Authenticate",
            "The authentication scheme (RFC 6750).",
            json!({ "type": "string", "const": "Bearer realm=\"kinline\"" }),
        ),
        "405" => {
            header("Allow", "The methods that this path accepts.", json!({ "type": "string" }))
        }
        "429" | "503" => header(
            "Retry-After",
            "Seconds to wait before trying again.",
            json!({ "type": "integer", "minimum": 1 }),
        ),
        _ => None,
    }
}

/// Moves rules about several fields, which the code has at one field as `x-rule`, to their schema.
fn lift_rules(schema: &mut Value) {
    let mut rules = Map::new();
    for property in schema.get_mut("properties").into_iter().flat_map(objects) {
        if let Some(Value::Object(rule)) = property.as_object_mut().and_then(|p| p.remove("x-rule"))
        {
            rules.extend(rule);
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.extend(rules);
    }
}

/// Adds the names of the component schemas that `value` refers to.
fn named_schemas(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(schema_name) {
                names.insert(name.to_owned());
            }
            map.values().for_each(|value| named_schemas(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| named_schemas(value, names)),
        _ => {}
    }
}

fn schema_name(reference: &str) -> Option<&str> {
    reference.strip_prefix("#/components/schemas/")
}

/// Allows only listed fields in request bodies and the schemas they refer to. (serde's
/// `deny_unknown_fields` would say so here by itself, but its error does not name the field.)
fn refuse_unknown_fields(schemas: &mut Value, mut left: BTreeSet<String>) {
    let mut done = BTreeSet::new();
    while let Some(name) = left.pop_first() {
        let schema = &mut schemas[&name];
        lift_rules(schema);
        if schema["properties"].is_object() {
            schema["additionalProperties"] = false.into();
        }
        let mut found = BTreeSet::new();
        named_schemas(schema, &mut found);
        done.insert(name);
        left.extend(found.difference(&done).cloned());
    }
}
