//! The busiest hour of a day, message by message.

use std::collections::HashMap;

use ::tests::chance::Chance;
use ::tests::load::partition::part_of;
use ::tests::load::record::church_id;

use super::message;

/// The volume of a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Day {
    pub(super) messages: u64,
    pub(super) churches: u64,
    /// Recipients of a message, on average.
    pub(super) recipients: u32,
    /// Connected clients of a church, on average.
    pub(super) clients: u64,
    /// The busiest hour's share, in per cent.
    pub(super) busiest: u64,
    /// Seconds of it that are simulated.
    pub(super) seconds: u64,
}

/// What happened in the simulated seconds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Busy {
    pub(super) seconds: u64,
    pub(super) churches: u64,
    pub(super) messages: u64,
    /// Requests to Telnyx, one for each recipient.
    pub(super) requests: u64,
    pub(super) webhooks: u64,
    /// Events in the streams, of which each gateway that follows their part gets one copy.
    pub(super) events: u64,
    pub(super) deliveries: u64,
    /// Events of the church with the most.
    pub(super) largest_church: u64,
    /// Events of the busiest part, for each number of parts.
    pub(super) busiest_parts: Vec<u64>,
}

impl Day {
    /// Simulates a part of the busiest hour. What begins in it is counted to its end.
    pub(super) fn busy(&self, parts: &[u32]) -> Busy {
        let mut chance = Chance::new(self.messages);
        let messages = (self.messages * self.busiest * self.seconds / (100 * 3_600)).max(1);
        let mut busy = Busy { seconds: self.seconds, churches: self.churches, messages, ..Busy::default() };
        let mut of_church: HashMap<u64, u64> = HashMap::new();
        for _ in 0..messages {
            let church = self.church(&mut chance);
            let recipients = message::recipients(self.recipients, &mut chance);
            let events = message::events(recipients, &mut chance);
            busy.requests += u64::from(recipients);
            busy.webhooks += 2 * u64::from(recipients);
            busy.events += events;
            *of_church.entry(church).or_default() += events;
        }
        busy.deliveries = busy.events * self.clients;
        busy.largest_church = of_church.values().copied().max().unwrap_or(0);
        busy.busiest_parts = parts.iter().map(|parts| busiest(&of_church, *parts)).collect();
        busy
    }

    /// The church of a message. A church's share falls with the square root of its place, so that the first of a
    /// thousand has 1.6 % of all messages, and the first of a million 0.05 %.
    fn church(&self, chance: &mut Chance) -> u64 {
        let share = chance.share();
        (self.churches as f64 * share * share) as u64
    }
}

/// The events of the busiest part.
fn busiest(of_church: &HashMap<u64, u64>, parts: u32) -> u64 {
    let mut of_part: HashMap<u32, u64> = HashMap::new();
    for (church, events) in of_church {
        let church = church_id(usize::try_from(*church).unwrap_or(usize::MAX));
        *of_part.entry(part_of(&church, parts)).or_default() += events;
    }
    of_part.values().copied().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Day =
        Day { messages: 1_000_000, churches: 100_000, recipients: 10, clients: 3, busiest: 20, seconds: 30 };

    #[test]
    fn parts_share_the_events_and_one_part_has_all() {
        let busy = DAY.busy(&[1, 4, 16]);
        assert_eq!(busy.busiest_parts[0], busy.events);
        let even = |parts: u64| busy.events / parts;
        assert!((even(4)..even(4) * 3 / 2).contains(&busy.busiest_parts[1]), "{busy:?}");
        assert!((even(16)..even(16) * 2).contains(&busy.busiest_parts[2]), "{busy:?}");
        assert_eq!(busy, DAY.busy(&[1, 4, 16]), "a simulation can be repeated");
    }

    #[test]
    fn the_busiest_hour_has_its_share_of_the_day() {
        let busy = DAY.busy(&[1]);
        assert_eq!(busy.messages, 1_000_000 / 5 / 120);
        assert_eq!(busy.webhooks, 2 * busy.requests);
        let each = busy.requests as f64 / busy.messages as f64;
        assert!((9.0..11.0).contains(&each), "{each} recipients");
    }
}
