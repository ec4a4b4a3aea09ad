//! The running API stays within its OpenAPI document.

use deploy::tools;
use tests::databases::Kind;
use tests::stack::TestStack;
use tokio::process::Command;

/// Schemathesis makes up requests from the document, valid and invalid, and checks each answer against it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python 3.11 for Schemathesis; `make check` runs it"]
async fn requests_made_up_from_the_document_get_documented_answers_and_no_5xx() {
    let packages = tokio::task::spawn_blocking(|| tools::python_packages("schemathesis")).await.unwrap();
    let stack = TestStack::start(Kind::Sqlite).await;
    let api = &stack.stack.file().api;
    let mut program = Command::new("python3");
    // It keeps a folder of failed requests where it runs.
    program.current_dir(stack.stack.state());
    program.env("PYTHONPATH", packages.unwrap()).args(["-m", "schemathesis.cli"]);
    program.arg("--config-file").arg(tools::project().join("tests/python/schemathesis.toml"));
    program.args([
        "run",
        &format!("{api}/api/openapi.json"),
        "--url",
        api,
        "--max-examples",
        "30",
        "--max-time",
        "60",
    ]);
    program.args(["-H", &format!("Authorization: Bearer {}", stack.token("grace", "u1"))]);
    let checked = program.output().await.unwrap();
    let told = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{told}{}", String::from_utf8_lossy(&checked.stderr));
    stack.stack.stop().await;
}
