//! docs/frontend.md, docs/protocol.md and the client package's `events.d.ts` match the gateway: the TypeScript compiler
//! checks the documents' code and the gateway's golden packets against the types.

use std::collections::BTreeSet;
use std::fs;

use common::claims::TokenError;
use common::subject::InvalidChurchId;
use serde_json::{Map, Value, json};
use tests::frontend::{Block, Code, document};

/// The blocks that these tests compile or run.
const BLOCKS: [(&str, &str); 6] = [
    ("ts", "page.ts"),
    ("diff", "useMessages.ts"),
    ("ts", "sending.ts"),
    ("js", "connect.js"),
    ("py", "connect.py"),
    ("ts", "send.ts"),
];
/// Optional fields of packets.
const OPTIONAL: [&str; 10] = [
    "cancelledCount",
    "conversationId",
    "failureReason",
    "changed",
    "changedMore",
    "userId",
    "occurredAt",
    "cursor",
    "replay",
    "optOut",
];

/// Name and body of every golden packet, and of `auth:expiring`, which has no golden file but a story.
fn packets() -> Vec<(String, Map<String, Value>)> {
    let files = fs::read_dir(deploy::tools::project().join("realtime-gateway/golden")).unwrap();
    let expiring = json!({"type": "auth:expiring", "exp": 1_795_564_581});
    let mut packets = vec![("auth:expiring".to_owned(), expiring.as_object().unwrap().clone())];
    for file in files {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for packet in serde_json::from_str::<Vec<Value>>(&text).unwrap() {
            let name = packet["name"].as_str().unwrap().to_owned();
            packets.push((name, packet["body"].as_object().unwrap().clone()));
        }
    }
    assert!(packets.len() > 10, "{packets:?}");
    packets
}

/// A file with the packets as literals, so that a field unknown to the types is an error.
struct Literals(String);

impl Literals {
    fn new() -> Self {
        let head = "import type { MessageEvent, ReceivedEvent, ServerToClientEvents as Events } from \"./events\"\n\
                    type Body<Name extends keyof Events> = Parameters<Events[Name]>[0]\n\
                    export const packets = [\n";
        Self(head.into())
    }

    fn right(&mut self, name: &str, body: &Map<String, Value>) {
        self.0 += &format!("{} satisfies Body<{name:?}>,\n", Value::Object(body.clone()));
    }

    /// Adds a packet that the compiler must reject.
    fn wrong(&mut self, name: &str, body: &Map<String, Value>) {
        self.0 += "// @ts-expect-error\n";
        self.right(name, body);
    }

    /// Adds wrong variants of a packet.
    fn wrong_ones(&mut self, name: &str, body: &Map<String, Value>) {
        let with = |field: &str, value: &str| {
            let mut body = body.clone();
            body.insert(field.into(), value.into());
            body
        };
        self.wrong(name, &with("undocumented", "x"));
        for field in ["type", "kind", "status"].into_iter().filter(|field| body.contains_key(*field)) {
            self.wrong(name, &with(field, "gone"));
        }
        for field in body.keys().filter(|field| !OPTIONAL.contains(&field.as_str())) {
            let mut body = body.clone();
            body.remove(field);
            self.wrong(name, &body);
        }
    }

    /// Checks that a type has exactly these keys.
    fn all_of<'a>(&mut self, of: &str, keys: impl Iterator<Item = &'a str>) {
        let keys: Map<String, Value> = keys.map(|key| (key.to_owned(), true.into())).collect();
        self.0 += &format!("{} satisfies Record<keyof {of}, true>,\n", Value::Object(keys));
    }

    fn end(self) -> String {
        self.0 + "]\n"
    }
}

#[test]
fn the_tests_run_every_code_block_of_the_documents() {
    let documents = document("frontend.md") + &document("protocol.md");
    let is_code = |block: &Block| {
        ["js", "jsx", "ts", "tsx", "javascript", "typescript", "diff", "mjs", "py", "python", ""]
            .contains(&block.language.as_str())
    };
    let blocks: Vec<_> = Block::all(&documents).into_iter().filter(is_code).collect();
    let names: Vec<_> = blocks.iter().map(|block| (block.language.as_str(), block.file.as_str())).collect();
    assert_eq!(names, BLOCKS);
}

#[test]
fn the_document_names_every_event_and_every_refusal() {
    let document = document("protocol.md");
    for (name, _) in packets() {
        assert!(document.contains(&format!("\n| `{name}` |")), "{name} is in no table");
    }
    use TokenError::{ChurchMalformed, ChurchMissing, Expired, Invalid, Missing, Revoked};
    for error in [ChurchMalformed(InvalidChurchId), ChurchMissing, Expired, Invalid, Missing, Revoked] {
        let row = format!("\n| `connect_error` `Authentication error: {error}` |");
        assert!(document.contains(&row), "{error} is in no table");
    }
}

#[tokio::test]
async fn the_types_match_the_gateways_packets_and_the_documents_code() {
    let code = Code::unpacked().await;
    let packets = packets();
    let mut literals = Literals::new();
    for (name, body) in &packets {
        literals.right(name, body);
        literals.wrong_ones(name, body);
    }
    let names: BTreeSet<_> = packets.iter().map(|(name, _)| name.as_str()).collect();
    literals.all_of("Events", names.into_iter());
    let (texts, others): (Vec<_>, Vec<_>) = packets.iter().partition(|(name, _)| name == "message:received");
    let messages = others.into_iter().filter(|(name, _)| name.starts_with("message:"));
    literals.all_of("MessageEvent", messages.flat_map(|(_, body)| body.keys().map(String::as_str)));
    literals.all_of("ReceivedEvent", texts.into_iter().flat_map(|(_, body)| body.keys().map(String::as_str)));
    code.write("packets.ts", &literals.end());
    let complaints = code.complaints().await;
    assert!(complaints.is_empty(), "{complaints}");

    // A wrong packet shows that the compiler checks them.
    let mut literals = Literals::new();
    let (name, mut body) = packets.into_iter().find(|(name, _)| name == "message:delivered").unwrap();
    body.insert("status".into(), "gone".into());
    literals.right(&name, &body);
    code.write("packets.ts", &literals.end());
    let complaints = code.complaints().await;
    assert!(complaints.contains("packets.ts(4,"), "{complaints}");
}
