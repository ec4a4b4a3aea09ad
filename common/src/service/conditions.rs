//! The readiness as metrics: the same conditions that `GET /readyz` reports.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::health::{Health, Weight};

/// The readiness of a service.
pub(super) struct Conditions(Health);

impl Conditions {
    pub(super) fn new(health: Health) -> Self {
        Self(health)
    }
}

impl fmt::Debug for Conditions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Conditions")
    }
}

impl Collector for Conditions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ready = ConstGauge::new(i64::from(self.0.report().0));
        let help = "1 while the service is ready, as its readiness says";
        ready.encode(encoder.encode_descriptor("ready", help, None, MetricType::Gauge)?)?;
        let help = "1 while a condition of the readiness is met";
        let mut family = encoder.encode_descriptor("condition_met", help, None, MetricType::Gauge)?;
        for (condition, weight, is_met) in self.0.conditions() {
            let labels = [("condition", condition), ("weight", label(weight))];
            ConstGauge::new(i64::from(is_met)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn label(weight: Weight) -> &'static str {
    match weight {
        Weight::Required => "required",
        Weight::Degrading => "degrading",
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::Context;
    use super::*;

    #[test]
    fn each_condition_is_shown_as_the_readiness_says() {
        let context = Context::new();
        let (database, nats) = (
            context.health.condition("database", Weight::Required),
            context.health.condition("nats", Weight::Degrading),
        );
        let shows = |line: &str| {
            let text = context.metrics.encode();
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        };
        let (database_line, nats_line) = (
            "church_condition_met{condition=\"database\",weight=\"required\"}",
            "church_condition_met{condition=\"nats\",weight=\"degrading\"}",
        );
        for line in [format!("{database_line} 0"), format!("{nats_line} 0"), "church_ready 0".into()] {
            shows(&line);
        }
        database.met();
        shows(&format!("{database_line} 1"));
        shows("church_ready 1");
        nats.met();
        shows(&format!("{nats_line} 1"));
        context.health.stop();
        shows("church_ready 0");
    }
}
