//! A real Prometheus that watches a stack with the files of `deploy/monitoring`.

use deploy::ports::Port;
use deploy::processes::Processes;
use deploy::program::Program;
use deploy::scratch::Scratch;
use deploy::tools;
use serde_json::Value;

use crate::eventually;
use crate::stack::TestStack;

/// How often the files let it look, and how often it looks here.
const PACE: (&str, &str) = ("15s", "1s");

/// A running Prometheus, ended when dropped.
pub struct Prometheus {
    url: String,
    http: reqwest::Client,
    _processes: Processes,
    _folder: Scratch,
}

impl Prometheus {
    /// Starts one that watches this stack.
    ///
    /// # Panics
    /// There is no Prometheus, or it does not start.
    pub async fn watching(stack: &TestStack) -> Self {
        let folder = crate::databases::folder();
        write_files(stack, &folder);
        let port = Port::free().expect("a free port");
        let file = tools::on_path("prometheus").expect("Prometheus is installed");
        let mut program = Program::new("prometheus", file);
        program.arguments = vec![
            format!("--config.file={}", folder.path().join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address=127.0.0.1:{}", port.number()),
        ];
        let mut processes = Processes::new(&folder.path().join("logs")).expect("processes can be started");
        let url = format!("http://127.0.0.1:{}", port.number());
        // Here it takes its port.
        drop(port);
        processes.start(program).expect("Prometheus starts");
        let prometheus = Self { url, http: reqwest::Client::new(), _processes: processes, _folder: folder };
        eventually("Prometheus is ready", async || {
            let answer = prometheus.http.get(format!("{}/-/ready", prometheus.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        prometheus
    }

    /// The samples of a query, now.
    ///
    /// # Panics
    /// Prometheus refuses the query.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let mut data = self.get("query", &[("query", query)]).await;
        data["result"].as_array_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The alerting rules, each with its health, state and query.
    ///
    /// # Panics
    /// Prometheus does not answer.
    pub async fn alerts(&self) -> Vec<Value> {
        let mut data = self.get("rules", &[("type", "alert")]).await;
        let groups = data["groups"].as_array_mut().map(std::mem::take).unwrap_or_default();
        groups
            .into_iter()
            .flat_map(|mut group| group["rules"].as_array_mut().map(std::mem::take))
            .flatten()
            .collect()
    }

    /// Waits until an alert's condition holds, whether or not it has to hold for a while until it fires.
    ///
    /// # Panics
    /// It does not, in time.
    pub async fn until_alerted(&self, name: &str) {
        eventually(&format!("Prometheus alerts: {name}"), async || {
            let alerts = self.alerts().await;
            let alert = alerts.iter().find(|alert| alert["name"] == name).expect("there is such an alert");
            (alert["state"] != "inactive").then_some(())
        })
        .await;
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.url), parameters);
        let answer = self.http.get(url.expect("a URL")).send().await.expect("Prometheus answers");
        let mut answer: Value = answer.json().await.expect("it answers in JSON");
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].take()
    }
}

/// The files as they are, with this stack's targets, and with a faster pace.
fn write_files(stack: &TestStack, folder: &Scratch) {
    let monitoring = tools::project().join("deploy/monitoring");
    let read = |name: &str| std::fs::read_to_string(monitoring.join(name)).expect("the file is there");
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it is written");
    let configuration = read("prometheus.yml");
    assert_eq!(configuration.matches(PACE.0).count(), 2, "{configuration}");
    write("prometheus.yml", &configuration.replace(PACE.0, PACE.1));
    write("alerts.yaml", &read("alerts.yaml"));
    let ops = &stack.stack.file().ops;
    let target = |job: &str, url: &str| {
        let address = url.trim_start_matches("http://");
        format!("- {{ labels: {{ job: {job} }}, targets: [\"{address}\"] }}\n")
    };
    let mut targets = target("message-api", &ops.api) + &target("webhook-ingest", &ops.ingest);
    targets.extend(ops.gateways.iter().map(|url| target("realtime-gateway", url)));
    write("targets.yaml", &targets);
}
