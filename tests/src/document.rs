//! Checks the responses that tests get against the API's document.

use std::sync::LazyLock;

use reqwest::Method;
use serde_json::Value;

use crate::Answer;

static DOCUMENT: LazyLock<Value> = LazyLock::new(functions::document);

/// Checks that the document lists this response: its status, its content type, and its error code.
/// Requests to other paths than the document's are not checked.
///
/// # Panics
/// When it does not.
pub fn check(method: &Method, path: &str, answer: &Answer) {
    let Some((template, item)) = path_item(path) else { return };
    let Some(operation) = item.get(method.as_str().to_lowercase()) else { return };
    let asked = format!("{method} {template}: {}", answer.status);
    let response = &operation["responses"][answer.status.to_string()];
    let response = match response["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).unwrap_or(&Value::Null),
        None => response,
    };
    assert!(response.is_object(), "{asked} is not in the document: {}", answer.as_text());
    let content = answer.header("content-type").split(';').next().unwrap_or_default();
    if content.is_empty() {
        return;
    }
    let documented = &response["content"][content];
    assert!(documented.is_object(), "{asked} in {content} is not in the document");
    if content == "application/problem+json" {
        let code = answer.text("/error");
        assert!(documented["examples"][&code].is_object(), "{asked} {code} is not in the document");
    }
}

/// The document's path that matches `path`; one without a parameter comes first.
fn path_item(path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object()?;
    let asked: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        let mut pairs = parts.iter().zip(&asked);
        parts.len() == asked.len()
            && pairs.all(|(part, asked)| part == asked || part.starts_with('{'))
    };
    let fitting = paths.iter().filter(|(template, _)| fits(template));
    fitting
        .min_by_key(|(template, _)| template.matches('{').count())
        .map(|(template, item)| (template.as_str(), item))
}
