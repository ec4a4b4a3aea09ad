//! The API's committed document, and whether it knows an answer.

use std::path::Path;
use std::sync::LazyLock;

use reqwest::StatusCode;
use serde_json::Value;

/// The committed document, from the workspace's folder.
pub(crate) const COMMITTED: &str = "docs/openapi.json";

/// The committed document.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(COMMITTED);
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
});

/// Whether the document lists the answer's status at this path, and among its codes the answer's code.
pub(crate) fn allows(path: &str, status: StatusCode, body: &Value) -> bool {
    let operations = DOCUMENT["paths"].as_object().unwrap().iter().filter(|(route, _)| matches(route, path));
    let mut operations = operations.flat_map(|(_, item)| item.as_object().unwrap().values());
    operations.any(|operation| {
        let answer = &operation["responses"][status.as_str()];
        let code = body["code"].as_str().map(|code| format!("`{code}`"));
        answer["description"].as_str().is_some_and(|said| code.is_none_or(|code| said.contains(&code)))
    })
}

fn matches(route: &str, path: &str) -> bool {
    let (route, path): (Vec<_>, Vec<_>) = (route.split('/').collect(), path.split('/').collect());
    route.len() == path.len()
        && route.iter().zip(path).all(|(part, given)| part.starts_with('{') || *part == given)
}
