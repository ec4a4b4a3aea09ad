//! What operators ask of the hub.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::subject::ChurchId;

use crate::rooms::emissions::Emission;
use crate::rooms::hub::Hub;

impl Hub {
    /// The events of a church that went out from one sequence to another, and the first sequence that is remembered.
    pub(crate) fn emitted(&self, church: &ChurchId, first: u64, last: u64) -> (Vec<Emission>, u64) {
        let state = self.state();
        (state.emissions.of(church, first, last), state.emissions.remembered_from())
    }

    /// The users of a church who are connected here, with their sockets.
    pub(crate) fn connected(&self, church: &ChurchId) -> BTreeMap<Arc<str>, usize> {
        let mut users = BTreeMap::new();
        for subscriber in self.state().rooms.get(church).into_iter().flat_map(|room| room.subscribers()) {
            *users.entry(subscriber.client.user.clone()).or_default() += 1;
        }
        users
    }
}
