//! The API's document: its snapshot, and that its operations behave as it says.

use std::collections::{BTreeMap, BTreeSet};

use local::secrets::TokenClaims;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, client::send, system::token_in};

#[tokio::test]
async fn the_document_is_served_as_it_was_reviewed() {
    let system = System::start().await;
    let answer = system.anonymous().get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    assert_eq!(document, functions::document());
    assert_eq!(document["openapi"], "3.1.0");
    insta::assert_json_snapshot!(document, { ".info.version" => "[version]" });
}

/// A request that makes an operation succeed: with the document's example, if it takes a body.
struct Asked {
    method: Method,
    path: String,
    body: Option<Value>,
    /// A caller that may call it.
    by: String,
    /// Its responses by status.
    responses: Value,
}

fn asked(document: &Value, id: &str, ids: &BTreeMap<&str, String>) -> Asked {
    let paths = document["paths"].as_object().expect("paths").iter();
    let mut operations = paths.flat_map(|(path, item)| {
        let item = item.as_object().expect("operations").iter();
        item.map(move |(method, operation)| (path, method, operation))
    });
    let found = operations.find(|(_, _, operation)| operation["operationId"] == id);
    let (path, method, operation) = found.unwrap_or_else(|| panic!("no operation {id}"));
    let path = ids.iter().fold(path.clone(), |path, (name, id)| path.replace(name, id));
    assert!(!path.contains('{'), "{path}");
    let body = operation.get("requestBody").map(|body| {
        let example = body["content"]["application/json"]["example"].clone();
        assert!(example.is_object(), "{id} has no example");
        example
    });
    let by = operation["security"][0].as_object().and_then(|by| by.keys().next());
    Asked {
        method: method.to_uppercase().parse().expect("a method"),
        path,
        body,
        by: by.cloned().unwrap_or_default(),
        responses: operation["responses"].clone(),
    }
}

/// Each operation of the document succeeds with the document's example.
#[tokio::test]
async fn every_example_succeeds() {
    let system = System::start().await;
    let document = functions::document();
    let mum = system.caller(&TokenClaims::member("fam_1", "mum"));
    let mut ids = BTreeMap::from([
        ("{familyId}", "fam_1".to_owned()),
        ("{userId}", "mum".to_owned()),
        ("{file}", "swagger-ui.css".to_owned()),
    ]);
    let mut done = BTreeSet::new();
    // In an order in which each one's data exists.
    for id in [
        "putFamily",
        "putUser",
        "putUser",
        "resolveThread",
        "postMessage",
        "listMessages",
        "listThreads",
        "getThread",
        "getThreadPage",
        "getMessage",
        "listDeliveries",
        "markRead",
        "setTexts",
        "getLandingPage",
        "exchangeLink",
        "renewLink",
        "requestLink",
        "endSession",
        "listAuditEvents",
        "exportFamily",
        "deactivateUser",
        "deactivateFamily",
        "getHealth",
        "getDocument",
        "getDocs",
        "getDocsFile",
    ] {
        let Asked { method, path, mut body, by, responses } = asked(&document, id, &ids);
        if id == "exchangeLink" {
            system.deliver().await;
            let sms = system.stack.carrier.received(Some("+15550100003"));
            // An example can't hold a valid link.
            body = Some(json!({ "token": token_in(sms.last().expect("an SMS")) }));
        }
        let client = match by.as_str() {
            "service" => system.host(),
            "member" => mum.clone(),
            _ => system.anonymous(),
        };
        let request = client.request(method, &path);
        let answer = send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await;
        assert!((200..300).contains(&answer.status), "{id}: {}", answer.as_text());
        for (name, header) in responses[answer.status.to_string()]["headers"].as_object().expect(id)
        {
            if header["required"] == true {
                assert_ne!(answer.header(name), "", "{id}: {name}");
            }
        }
        match id {
            "putUser" => drop(ids.insert("{userId}", "grandma".to_owned())),
            "resolveThread" => drop(ids.insert("{threadId}", answer.text("/thread/id"))),
            "postMessage" => drop(ids.insert("{messageId}", answer.text("/message/id"))),
            _ => {}
        }
        done.insert(id);
    }
    let all = document["paths"].as_object().expect("paths").values();
    let all: BTreeSet<&str> = all
        .flat_map(|item| item.as_object().expect("operations").values())
        .map(|operation| operation["operationId"].as_str().expect("an id"))
        .collect();
    assert_eq!(done, all);
}

/// Each path allows the document's methods, and lists them in `Allow`.
#[tokio::test]
async fn every_address_takes_the_methods_of_the_document() {
    let system = System::start().await;
    let document = functions::document();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let mut documented: BTreeSet<String> =
            item.as_object().expect("operations").keys().map(|m| m.to_uppercase()).collect();
        if documented.contains("GET") {
            documented.insert("HEAD".to_owned());
        }
        let path = path.replace(['{', '}'], "");
        let answer = send(system.anonymous().request(Method::PATCH, &path)).await;
        assert_eq!(answer.problem(), "405 method_not_allowed", "{path}");
        let allowed = answer.header("allow").split(',').map(str::to_owned).collect();
        assert_eq!(documented, allowed, "{path}");
    }
}
