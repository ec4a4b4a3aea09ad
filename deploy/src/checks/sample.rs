//! Values for what a deployment leaves to its operator.

/// Secrets and names, of the form that the services want.
pub(super) const VALUES: [(&str, &str); 13] = [
    ("CHURCH_HOST", "church.example.org"),
    ("BACK_END", "back-end:3000"),
    ("JWT_SECRET", "a-secret-of-at-least-thirty-two-bytes"),
    ("TELNYX_API_KEY", "KEY"),
    ("TELNYX_PUBLIC_KEY", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
    ("POSTGRES_PASSWORD", "p1"),
    ("DATABASE_URL", "postgres://church:p1@postgres/church"),
    ("NATS_INGEST_PASSWORD", "p2"),
    ("NATS_MESSAGE_API_PASSWORD", "p3"),
    ("NATS_GATEWAY_PASSWORD", "p4"),
    ("NATS_OPS_PASSWORD", "p5"),
    ("NATS_PROVISIONER_PASSWORD", "p6"),
    ("NATS_SYS_PASSWORD", "p7"),
];
