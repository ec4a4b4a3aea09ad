//! `stack check`: the files of `deploy/`, checked by the programs that read them in production.

mod compose;
mod environment;
mod image;
mod kubernetes;
mod monitoring;
mod proxies;
mod sample;
mod units;

use clap::Subcommand;

use crate::programs::nats;

/// What is checked.
#[derive(Subcommand)]
pub(crate) enum Check {
    /// nats.conf, by nats-server
    Broker,
    /// deploy/systemd, by systemd-analyze
    Units,
    /// deploy/proxy/nginx.conf, by nginx
    Nginx,
    /// deploy/proxy/Caddyfile, by Caddy
    Caddy,
    /// deploy/docker/Dockerfile, by hadolint
    Dockerfile,
    /// The image, built by buildah
    Image,
    /// deploy/compose, by its schema and the services
    Compose,
    /// deploy/kubernetes, by its schemas and the services
    Kubernetes,
    /// deploy/monitoring, by promtool
    Monitoring,
}

/// Runs one check.
pub(crate) fn run(check: &Check) -> anyhow::Result<()> {
    match check {
        Check::Broker => nats::check(),
        Check::Units => units::check(),
        Check::Nginx => proxies::check_nginx(),
        Check::Caddy => proxies::check_caddy(),
        Check::Dockerfile => image::lint(),
        Check::Image => image::build(),
        Check::Compose => compose::check(),
        Check::Kubernetes => kubernetes::check(),
        Check::Monitoring => monitoring::check(),
    }
}
