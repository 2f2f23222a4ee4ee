//! The routes that the code declares, and the two files that repeat them: `Cargo.toml` for
//! `cargo lambda watch` and `infra/template.yaml` for AWS.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use serde_json::json;

use crate::template::{Template, read};

/// A route and the Lambda function that serves it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) method: String,
    pub(crate) function: String,
}

/// Every route of the code, with its name in the document.
pub(crate) fn declared() -> BTreeMap<Route, String> {
    let mut routes = BTreeMap::new();
    for (function, module) in functions::described() {
        let document = functions::openapi::document([module]);
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let (path, method) = (path.clone(), method.to_uppercase());
                let route = Route { path, method, function: function.to_owned() };
                let name = operation["operationId"].as_str().expect("a name").to_owned();
                assert!(routes.insert(route, name).is_none(), "declared twice");
            }
        }
    }
    routes
}

fn assert_same(differences: &[String]) {
    assert!(differences.is_empty(), "\n\n{}\n", differences.join("\n"));
}

const ROUTER: &str = "[workspace.metadata.lambda.watch.router]";

/// An entry of [`ROUTER`]: one function has all methods of a path, or each method has its own.
fn one_function(path: &str, function: &str) -> String {
    format!("\"{path}\" = \"{function}\"")
}

fn by_method(path: &str, functions: &BTreeMap<String, String>) -> String {
    let mut entry = format!("\"{path}\" = [\n");
    for (method, function) in functions {
        let _ = writeln!(entry, "    {{ method = \"{method}\", function = \"{function}\" }},");
    }
    entry + "]"
}

#[test]
fn cargo_lambda_routes_what_the_code_declares() {
    let mut paths = BTreeMap::<String, BTreeMap<String, String>>::new();
    for Route { path, method, function } in declared().into_keys() {
        paths.entry(path).or_default().insert(method, function);
    }
    let declared: BTreeMap<String, String> = paths
        .into_iter()
        .map(|(path, of)| {
            let distinct: BTreeSet<&String> = of.values().collect();
            let entry = match Vec::from_iter(distinct)[..] {
                [function] => one_function(&path, function),
                _ => by_method(&path, &of),
            };
            (path, entry)
        })
        .collect();

    let text = read("Cargo.toml");
    let manifest: toml::Value = toml::from_str(&text).expect("TOML");
    let router = &manifest["workspace"]["metadata"]["lambda"]["watch"]["router"];
    let mut written = BTreeMap::new();
    for (path, entry) in router.as_table().expect("a table") {
        let part = |entry: &toml::Value, name: &str| {
            entry.get(name).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
        };
        let entry = match entry {
            toml::Value::Array(entries) => {
                let of = entries.iter().map(|of| (part(of, "method"), part(of, "function")));
                by_method(path, &of.collect())
            }
            one => one_function(path, one.as_str().unwrap_or_default()),
        };
        written.insert(path.clone(), entry);
    }

    let mut differences = Vec::new();
    for (path, entry) in &written {
        if declared.get(path) != Some(entry) {
            let is_entry = |line: &str| line.starts_with(&format!("\"{path}\" "));
            let at = text.lines().position(is_entry).map_or(0, |at| at + 1);
            differences.push(format!("Cargo.toml:{at}: remove from {ROUTER}\n{entry}"));
        }
    }
    for (path, entry) in declared {
        if written.get(&path) != Some(&entry) {
            differences.push(format!("Cargo.toml: add to {ROUTER}\n{entry}"));
        }
    }
    assert_same(&differences);
}

#[test]
fn the_template_has_an_event_for_each_route_that_the_code_declares() {
    const FILE: &str = "infra/template.yaml";
    let template = Template::read();
    let text = read(FILE);
    // Where `  Resource:` stands, and `        Event:` after it.
    let line_of = |resource: &str, event: &str| {
        let lines = || text.lines().zip(1..);
        let after =
            lines().find(|(line, _)| *line == format!("  {resource}:")).map_or(0, |at| at.1);
        let event = format!("        {event}:");
        lines().skip(after).find(|(line, _)| line.starts_with(&event)).unwrap_or_default()
    };

    let mut missing = declared();
    let mut differences = Vec::new();
    for (function, (id, resource)) in template.functions() {
        for (name, event) in resource["Properties"]["Events"].as_object().into_iter().flatten() {
            if event["Type"] != "HttpApi" {
                continue;
            }
            let part = |part: &str| event["Properties"][part].as_str().unwrap_or_default();
            let (path, method) = (part("Path").to_owned(), part("Method").to_owned());
            let route = Route { path, method, function: function.to_owned() };
            let is_of_api = event["Properties"]["ApiId"] == json!({ "Ref": "Api" });
            // A repeated one is superfluous.
            if !is_of_api || missing.remove(&route).is_none() {
                let (line, at) = line_of(id, name);
                differences.push(format!("{FILE}:{at}: remove from the Events of {id}\n{line}"));
            }
        }
    }
    for (Route { path, method, function }, name) in missing {
        let functions = template.functions();
        let Some((id, _)) = functions.get(function.as_str()) else {
            differences.push(format!("{FILE}: add a function with `Binary: {function}`"));
            continue;
        };
        let event = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        differences.push(format!(
            "{FILE}: add to the Events of {id}\n        {event}: {{ Type: HttpApi, Properties: {{ \
             ApiId: !Ref Api, Method: {method}, Path: \"{path}\" }} }}"
        ));
    }
    assert_same(&differences);

    // A limit for a route that does not exist would fail the deployment.
    let limited = template.0["Resources"]["Api"]["Properties"]["RouteSettings"].as_object();
    for route in limited.expect("settings of routes").keys() {
        let is_it = |known: &Route| format!("{} {}", known.method, known.path) == *route;
        assert!(declared().keys().any(is_it), "{FILE}: remove {route} from RouteSettings");
    }
}
