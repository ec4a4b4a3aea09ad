//! One message, from its first request to Telnyx to its last receipt.

use ::tests::chance::Chance;

/// Most recipients that the API accepts.
const MOST: u32 = 10_000;
/// Milliseconds from one recipient's request to the next one's: ten a second and sender.
const PACE_MS: u64 = 100;
/// Milliseconds from a request until its receipt, at least, and how much more it may be.
const RECEIPT_MS: (u64, usize) = (600, 4_000);
/// The relay announces progress of a message at most this often.
const PROGRESS_MS: u64 = 200;

/// Recipients of a message: many have few, few have many.
pub(super) fn recipients(average: u32, chance: &mut Chance) -> u32 {
    let many = -f64::from(average) * (1.0 - chance.share()).ln();
    (many.round() as u32).clamp(1, MOST)
}

/// Events of a message: `message:sent`, the first change, progress that is not passed over, and the end.
pub(super) fn events(recipients: u32, chance: &mut Chance) -> u64 {
    let receipt = |number: u32| {
        let (least, more) = RECEIPT_MS;
        u64::from(number) * PACE_MS + least + chance.below(more) as u64
    };
    let mut receipts: Vec<u64> = (0..recipients).map(receipt).collect();
    receipts.sort_unstable();
    1 + announced(&receipts)
}

/// Changes that are announced: the first and the last at once, those between at most once in an interval. A change that
/// comes too soon waits for the interval's end, and a newer one takes its place.
fn announced(receipts: &[u64]) -> u64 {
    let [first, later @ ..] = receipts else { return 0 };
    let (mut events, mut latest, mut waits) = (1, *first, false);
    for (number, at) in later.iter().enumerate() {
        let due = latest + PROGRESS_MS;
        if waits && due <= *at {
            events += 1;
            latest = due;
        }
        if number + 1 == later.len() || *at >= latest + PROGRESS_MS {
            events += 1;
            (latest, waits) = (*at, false);
        } else {
            waits = true;
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_change_are_announced_and_of_those_between_one_an_interval() {
        assert_eq!(announced(&[5]), 1);
        assert_eq!(announced(&[5, 6]), 2);
        // All between within one interval of the first, and the end comes before it is over.
        assert_eq!(announced(&[0, 10, 20, 30, 40]), 2);
        // Far apart: each.
        assert_eq!(announced(&[0, 300, 600, 900]), 4);
        // 10 waits until 200; 250 waits until 400; then the end.
        assert_eq!(announced(&[0, 10, 250, 900]), 4);
    }
}
