//! The API's document: what it says, and that it is true.

use std::collections::BTreeSet;

use tests::System;

/// The methods and paths of the document, as `GET /health`.
fn operations(document: &serde_json::Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("operations").keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

#[tokio::test]
async fn the_document_is_served_as_it_was_reviewed() {
    let system = System::start().await;
    let answer = system.nobody().get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    assert_eq!(document, functions::openapi::document());
    assert_eq!(document["openapi"], "3.1.0");
    insta::assert_json_snapshot!(document, { ".info.version" => "[version]" });
}

/// Each route of the Lambda functions is in the document, and the other way round.
#[test]
fn the_document_is_about_what_is_deployed() {
    let manifest = include_str!("../../Cargo.toml").parse::<toml::Table>().expect("a manifest");
    let routes = &manifest["workspace"]["metadata"]["lambda"]["watch"]["router"];
    let document = functions::openapi::document();
    let documented = operations(&document);
    let mut deployed = BTreeSet::new();
    for (path, functions) in routes.as_table().expect("routes") {
        if let Some(functions) = functions.as_array() {
            deployed.extend(functions.iter().map(|function| {
                format!("{} {path}", function["method"].as_str().expect("a method"))
            }));
        } else {
            // One function has all of its methods.
            let of_path = |route: &&String| route.split_once(' ').is_some_and(|(_, p)| p == path);
            let theirs: Vec<_> = documented.iter().filter(of_path).cloned().collect();
            assert!(!theirs.is_empty(), "{path} is not in the document");
            deployed.extend(theirs);
        }
    }
    assert_eq!(documented, deployed);
}
