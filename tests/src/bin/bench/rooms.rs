use crate::{Complaints, Place};
#[derive(Debug, clap::Args)]
pub(crate) struct Options {}
pub(crate) async fn run(_options: &Options, _place: &Place) -> anyhow::Result<Complaints> {
    Ok(Complaints::new())
}
